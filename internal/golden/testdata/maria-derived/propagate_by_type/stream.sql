insert into pr(a,b) values('x',1.5);
