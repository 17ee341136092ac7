create table fl(id int primary key, a tinyint(1), b boolean not null default true, c tinyint(2), d tinyint);
