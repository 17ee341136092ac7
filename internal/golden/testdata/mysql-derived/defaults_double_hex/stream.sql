insert into df(id,x,y) values(1,'2020-01-01','2020-01-01 00:00:01');
