insert into par values(1,'p');
insert into chi values(2,'c',3);
update par set v='u';
delete from par where id=2;
