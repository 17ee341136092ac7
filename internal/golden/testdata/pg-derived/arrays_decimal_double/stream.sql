insert into a values(1,'{1.5,-0.01,null,NaN}','{1.50,100,0.001}',12.5,7);
