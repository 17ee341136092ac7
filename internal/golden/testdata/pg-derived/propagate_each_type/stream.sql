insert into a(s) values(1);
