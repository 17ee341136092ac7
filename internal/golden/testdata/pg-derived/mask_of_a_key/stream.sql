insert into a values('key','value');
update a set k='kk';
delete from a;
