create table ii(id int primary key, u decimal(65,30), v decimal(5), w decimal(10,2) unsigned, x numeric(4,4));
