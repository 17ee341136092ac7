insert into o values(1,'eu',7,1); update o set region='us' where id=1; update o set v=2; delete from o;
