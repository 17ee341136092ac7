insert into a values(1,12.34),(2,-0.01);
