create table a(id int primary key, t time, t3 time(3), ts timestamp, ts0 timestamp(0), ts3 timestamp(3), ta time(2)[], tsa timestamp(3)[]);
create publication ref_pub for all tables;
