create table a(id int primary key, n numeric(6,2)[], nn numeric[], md money, z numeric(10,0));
create publication ref_pub for all tables;
