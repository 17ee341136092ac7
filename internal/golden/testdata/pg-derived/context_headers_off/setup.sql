create table a(id int primary key);
create publication ref_pub for all tables;
