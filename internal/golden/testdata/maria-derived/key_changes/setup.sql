create table k1(a int, b varchar(5), v int, primary key(b,a)); create table k2(a int not null, b int, unique key(a)); create table k3(id int primary key, v int);
