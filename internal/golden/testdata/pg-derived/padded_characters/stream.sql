insert into a values(1,'ab','ab ','ab  ','','{a,"b "}');
insert into b values('k',1);
update b set v=2;
delete from b;
