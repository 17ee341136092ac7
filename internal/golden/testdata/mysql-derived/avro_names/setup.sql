create table `we-ird`(`i-d` int primary key, `1st` int, `naïve` varchar(5));
