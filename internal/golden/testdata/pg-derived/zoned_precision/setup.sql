create table a(id int primary key, tz timestamptz, tz3 timestamptz(3), tz0 timestamptz(0), tt timetz, ta3 timestamptz(3)[]);
create publication ref_pub for all tables;
