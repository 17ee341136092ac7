set sql_mode=''; insert into z(id,c) values(1,'2020-01-01'); insert into z values(2,'2020-00-00','2020-01-00','2020-01-01','2020-00-01','0000-00-00','0000-00-00');
