create table a(id int primary key, d date[], t3 time(3)[], ts3 timestamp(3)[], tz timestamptz[], iv interval, tzz timestamptz(3));
create publication ref_pub for all tables;
