insert into a values(1,'v',null);
update a set id=2;
update a set v='x';
delete from a;
