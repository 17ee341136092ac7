create table g(id int primary key, a point, b linestring, c polygon, d multipoint, e geometry, f geometrycollection, g point not null);
