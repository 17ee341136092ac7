insert into a values(1,B'1',B'100',B'1',B'100000001',B'1',B'1',B'110',B'1');
insert into a(id,v1) values(3,B'0');
