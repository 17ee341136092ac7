insert into a values(1,'t','v',1.50,1.5,'2020-01-01 00:00:00.5','a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11','{"a":1}','c','red','2020-01-01','01:02:03','vv',7);
insert into a(id) values(2);
