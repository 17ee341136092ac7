create table a(id int primary key, v text, n int);
create table b(id int primary key, x text);
alter table a replica identity full;
alter table b replica identity full;
create publication ref_pub for all tables;
