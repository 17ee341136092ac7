create extension ltree;
create type color as enum('red','gr,een');
create domain ints as int[];
create table a(id int primary key, t3 time(3)[], tz timetz[], ts3 timestamp(3)[], tz0 timestamptz(0)[], o oid[], lt ltree[], r4 int4range[], tr tsrange[], mac macaddr[], m8 macaddr8[], cd cidr[], di ints, n0 numeric(5,0)[], e color);
create publication ref_pub for all tables;
