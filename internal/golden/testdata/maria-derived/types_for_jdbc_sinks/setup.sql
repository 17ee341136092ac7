create table js(id int primary key, b boolean, f float, g float(7,3), s varchar(10) character set latin1, t text character set utf8mb4);
