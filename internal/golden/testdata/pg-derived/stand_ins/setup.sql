create extension hstore;
create type color as enum('red','green');
create table a(id int primary key, i int not null, s smallint not null, l bigint not null, f real not null, d float8 not null, n numeric not null, n2 numeric(5,2) not null, t text not null, c char(3) not null, b bool not null, by bytea not null, u uuid not null, j jsonb not null, e color not null, dt date not null, ti time not null, ts timestamp not null, tz timestamptz not null, tt timetz not null, iv interval not null, m money not null, h hstore not null, a int[] not null, bi bit(3) not null, p point not null, ip inet not null, dflt int not null default 7, nl text);
create publication ref_pub for all tables;
