insert into q values(1,1),(2,2); update q set v=v+1; delete from q where id=1;
