insert into a values(1,'v');
update a set v='w';
update a set id=3;
delete from a;
truncate a;
