insert into js values(1,2,1.5,2.5,'é','x'),(2,null,null,null,null,null),(3,0,0.5,0,'','');
