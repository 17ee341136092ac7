insert into k3 values(1,1),(2,2); update k3 set id=3 where id=1; delete from k3 where id=2;
