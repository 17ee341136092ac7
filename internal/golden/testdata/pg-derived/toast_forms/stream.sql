update a set n=2;
