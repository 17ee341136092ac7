insert into a values(1,'v',1);
update a set w=2;
update a set v='w';
insert into b values(1,'v');
update b set v='v';
delete from a;
