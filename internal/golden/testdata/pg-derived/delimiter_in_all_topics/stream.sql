insert into a values(1);
delete from a;
