create type color as enum('red','green');
create domain posint as int;
create domain dn2 as numeric(6,3);
create table a(id serial primary key, s smallint, r real, d double precision, t text, v varchar, n numeric, by bytea, u uuid, jb jsonb, ip inet, e color, p posint, dn dn2, ia int[], va varchar(3)[], na numeric(5,2)[], bi bit, vb varbit, vb5 varbit(5), ti time, ti3 time(3), ti0 time(0), ttz timetz, ts timestamp, tz3 timestamptz(3), iv interval, iv2 interval(2), o oid, bo boolean);
create publication ref_pub for all tables;
