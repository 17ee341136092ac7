create table a(id int primary key, b bytea, bn bytea not null default '\xff');
create publication ref_pub for all tables;
