create table a(id int primary key, v text not null, w int);
alter table a replica identity full;
create publication ref_pub for all tables;
