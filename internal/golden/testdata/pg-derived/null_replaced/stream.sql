insert into a values(1,null,7,null,null,null);
update a set v=null where id=1;
delete from a;
