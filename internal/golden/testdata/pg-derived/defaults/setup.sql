create extension citext;
create type color as enum('red','green');
create sequence sq;
create table a(id int primary key, s smallint default -3, l bigint default 9223372036854775807, r real default 1.5, d float8 default '-Infinity', v varchar(3) default 'a''b', c char(4) default 'ab', t text default '', b bool default false, n numeric default 1.50, n2 numeric(6,3) default 1, nneg numeric(5,2) default -1.5, by bytea default '\x01', e color default 'red', ci citext default 'x', x xml default '<a/>', u uuid default gen_random_uuid(), ti time default '01:02:03', ts timestamp default '2020-01-01 01:02:03', m money default 1.5, ip inet default '10.0.0.1', nx bigint default nextval('sq'), ex int default 1+2, ab int default abs(-5), up text default lower('A')||'b', o oid default 5, bi bit(3) default B'101', ia int[] default '{1}', rg int4range default '[1,2)', g int generated always as identity, jb jsonb not null default '{}', i2 int default (5));
insert into a(id) values(0);
create publication ref_pub for all tables;
