insert into a values(1);
insert into other.c values(1);
