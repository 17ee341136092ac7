insert into b values(1,'text','v','c','a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11','{"a":1}','red','\x010203','{abc}',1,'1 day');
insert into b(id,t) values(2,'');
