insert into a values(1,'v');
update a set v='w';
update a set id=2;
delete from a;
insert into b values(1,2,'v');
