create type color as enum('red','green');
create domain posint as int;
create table a(c char(4), u uuid, n numeric(5,2), t timestamptz, e color, p posint, v text, primary key(u,n,t,e,p,c));
create table b(n numeric primary key, v text);
create publication ref_pub for all tables;
