insert into m values(1,'text','Ci','10.0.0.1');
insert into c values(1,'text','{"a":1}','a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11','2020-01-01 00:00:00+00');
