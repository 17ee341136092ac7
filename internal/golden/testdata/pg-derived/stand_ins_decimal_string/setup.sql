create table a(id int primary key, n numeric not null, n2 numeric(5,2) not null, m money not null);
create publication ref_pub for all tables;
