insert into a values(1,'v');
update a set id=2;
delete from a;
