insert into a values(1,12.34),(2,12.50),(3,-0.51);
