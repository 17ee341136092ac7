insert into `we-ird` values(1,2,'x');
