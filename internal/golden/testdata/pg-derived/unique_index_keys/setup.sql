create table n2(a int not null unique, b text, c text not null);
create table n3(a int not null unique, b int not null, unique(b));
alter table n3 replica identity full;
create table n5(a int unique, b text);
create table n6(a int not null, b int not null, v text);
create unique index on n6(b,a);
create publication ref_pub for all tables;
