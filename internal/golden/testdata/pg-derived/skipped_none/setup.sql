create table a(id int primary key, v text);
create table b(id int primary key, a int references a);
create publication ref_pub for all tables;
