insert into a values(1,'v',2,'x');
insert into b values(1,'w');
update a set x='y';
delete from a;
