insert into n2 values(1,'x','y');
insert into n3 values(1,2);
update n3 set b=3;
update n3 set a=2;
delete from n3;
insert into n5 values(1,'x');
insert into n6 values(1,2,'v');
