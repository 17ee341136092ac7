create table a(id int primary key, v text, w int);
alter table a replica identity full;
create table b(id int primary key, v text);
create publication ref_pub for all tables;
