insert into a values(1,'v',1);
update a set n=2;
update a set v='w';
delete from a;
insert into b values(1,'x');
delete from b;
