create type color as enum('red','green');
create table b(id int primary key, t text, v varchar(2), c char(3), u uuid, j jsonb, e color, by bytea, ta text[], i int, iv interval);
create publication ref_pub for all tables;
