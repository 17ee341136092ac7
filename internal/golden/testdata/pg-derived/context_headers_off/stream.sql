insert into a values(1);
update a set id=2;
delete from a;
