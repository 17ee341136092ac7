create table par(id int primary key, v text);
create table chi(x int, primary key(id)) inherits(par);
create publication ref_pub for all tables;
