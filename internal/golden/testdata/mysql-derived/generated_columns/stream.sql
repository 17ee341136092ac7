insert into gn(id,a) values(1,2); update gn set a=3; delete from gn;
