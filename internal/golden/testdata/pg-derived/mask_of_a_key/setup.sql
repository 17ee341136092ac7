create table a(k text primary key, v varchar(30));
create publication ref_pub for all tables;
