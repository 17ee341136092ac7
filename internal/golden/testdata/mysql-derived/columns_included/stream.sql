insert into s values(1,1,1); update s set w=2; delete from s;
