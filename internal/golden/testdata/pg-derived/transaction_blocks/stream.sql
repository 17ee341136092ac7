begin; insert into a values(1,'v'); insert into b values(1); insert into a values(2,'w'); commit;
insert into b values(3);
delete from a where id=1;
begin; update a set id=9 where id=2; truncate b; commit;
