create table q(id int primary key, v int);
