insert into "my-s"."my tab$1" values(1,'x',3);
update "my-s"."my tab$1" set id=2;
