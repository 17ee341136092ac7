create table o(id int primary key, region varchar(5), code int, v int);
