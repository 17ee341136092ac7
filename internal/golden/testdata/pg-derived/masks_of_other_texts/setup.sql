create extension citext;
create table m(id int primary key, t text, ci citext, ip inet);
create table c(id int primary key, t text, j jsonb, u uuid, tz timestamptz);
create publication ref_pub for all tables;
