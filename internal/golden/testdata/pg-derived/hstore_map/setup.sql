create extension hstore;
create table a(id int primary key, h hstore, hn hstore not null default 'k=>v');
create publication ref_pub for all tables;
