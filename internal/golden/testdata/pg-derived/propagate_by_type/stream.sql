insert into a values(1,'v',1.5,2,'t');
