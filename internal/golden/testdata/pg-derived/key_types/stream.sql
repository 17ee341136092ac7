insert into a values('ab','a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11',1.5,'2020-01-01 00:00+00','red',5,'v');
update a set v='w';
delete from a;
insert into b values(1.50,'x');
update b set n=2;
