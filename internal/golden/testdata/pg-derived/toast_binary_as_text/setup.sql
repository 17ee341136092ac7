create table a(id int primary key, n int, b bytea);
alter table a alter b set storage external;
insert into a values(1,1,decode(repeat('ab',9000),'hex'));
create publication ref_pub for all tables;
