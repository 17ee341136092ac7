create table a(id int primary key, v varchar(5), n numeric(5,2), i int, t text);
create publication ref_pub for all tables;
