create table a(id int primary key, v text, n int, x text);
create table b(id int primary key, v text);
create publication ref_pub for all tables;
