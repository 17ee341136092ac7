create table ms(id int primary key, a varchar(20), b text, c int, d varchar(30) not null, e varchar(40));
