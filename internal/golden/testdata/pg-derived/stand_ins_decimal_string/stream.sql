insert into a values(1,1,1,1);
delete from a;
