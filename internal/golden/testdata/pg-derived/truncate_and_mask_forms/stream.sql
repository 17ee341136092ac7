insert into c values(1,'text','v','c','\x010203',1,'1 year 2 mons',B'10000001',12.5);
insert into m values(1,'text','v');
