insert into a values(1,'v');
truncate a cascade;
