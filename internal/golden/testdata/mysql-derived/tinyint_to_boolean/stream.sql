insert into fl values(1,1,0,1,0),(2,null,true,5,1),(3,0,2,0,-1);
