create table a(id int primary key, c char(5), v varchar(5), t text, k char(3), cc char(3)[]);
create table b(c char(5) primary key, v int);
create publication ref_pub for all tables;
