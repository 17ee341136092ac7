create table gn(id int primary key, a int, b int as (a*2) stored, c int as (a+1) virtual);
