create table c(id int primary key, t text not null, v varchar(2), c char(3), b bytea, i int, iv interval, bi bit(8), n numeric(9,2));
create table m(id int primary key, t text, v varchar(20));
create publication ref_pub for all tables;
