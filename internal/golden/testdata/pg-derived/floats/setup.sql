create table a(id int primary key, r real, d double precision);
create publication ref_pub for all tables;
