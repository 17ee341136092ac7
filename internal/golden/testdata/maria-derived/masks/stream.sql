insert into ms values(1,'secret','a long text here',5,'d','Margaret'),(2,null,null,null,'',null); update ms set a='other' where id=1; delete from ms where id=1;
