create domain flag as bit(1);
create domain bits3 as bit(3);
create domain vbits as varbit(9);
create table a(id int primary key, b bit, b3 bit(3), v1 varbit(1), v9 varbit(9), v varbit, f flag, g bits3, h vbits, d3 bit(3) default B'101', d1 bit default B'1');
create publication ref_pub for all tables;
