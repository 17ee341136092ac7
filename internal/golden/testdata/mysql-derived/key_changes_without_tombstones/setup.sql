create table k3(id int primary key, v int);
