create table a(id int primary key, n numeric, n0 numeric(10,0), n5 numeric(5), nb numeric(38,10), dd decimal, m money);
create publication ref_pub for all tables;
