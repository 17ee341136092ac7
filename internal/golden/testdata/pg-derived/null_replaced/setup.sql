create table a(id int primary key, v text default 'x', n int not null default 5, ts timestamp default now(), d numeric(5,2) default 1.5, nod text);
insert into a values(0,null,7,null,null,null);
create publication ref_pub for all tables;
