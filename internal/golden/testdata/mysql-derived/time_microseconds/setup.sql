create table tt(id int primary key, d date, t time, t3 time(3), t6 time(6), dt datetime, dt3 datetime(3), dt6 datetime(6), ts timestamp null, ts3 timestamp(3) null, ts6 timestamp(6) null, y year);
