begin; insert into a values(1),(2),(3); update b set v=1; insert into b values(1,1); delete from a where id>1; commit; insert into b values(2,2);
