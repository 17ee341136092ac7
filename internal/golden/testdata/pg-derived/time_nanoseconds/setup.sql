create table a(id int primary key, d date, t time, t3 time(3), ts timestamp, ts0 timestamp(0), tz timestamptz, tt timetz, iv interval, ta time[], tsa timestamp(3)[]);
create publication ref_pub for all tables;
