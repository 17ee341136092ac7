insert into a values(1,'\xfbff00');
insert into a(id) values(2);
delete from a where id=1;
