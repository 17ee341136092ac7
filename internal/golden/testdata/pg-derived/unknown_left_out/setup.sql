create domain posint as int check (value>0);
create type pair as (a int, b text);
create table a(id int primary key, m money[], iv interval[], vb varbit[], x xml[], pt point[], d posint[], pr pair[], bx box[], mr int4multirange[], tq tsquery, o pair, ln line, last text);
create publication ref_pub for all tables;
