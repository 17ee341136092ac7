insert into a values(1,'a=>1,b=>NULL,"q\"x"=>"y"','c=>d');
delete from a where id=1;
