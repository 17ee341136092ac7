create schema "my-s";
create table "my-s"."my tab$1"(id int primary key, "a b" text, "x.y" int);
create publication ref_pub for all tables;
