create table a(id int primary key, m money);
create publication ref_pub for all tables;
