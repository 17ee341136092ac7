create table s(id int primary key, v int, w int);
