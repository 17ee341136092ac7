package ddl

import (
	"fmt"
	"strings"
	"testing"
)

// shape writes a structure in one line.
func shape(t *Table) string {
	if t == nil {
		return "none"
	}
	var parts []string
	for _, c := range t.Columns {
		s := c.Name + " " + c.TypeName()
		switch {
		case c.Base == "decimal":
			s += fmt.Sprintf("(%d,%d)", c.Precision, c.Scale)
		case c.Precision > 0:
			s += fmt.Sprintf("(%d)", c.Precision)
		case c.Length > 0:
			s += fmt.Sprintf("(%d)", c.Length)
		}
		if len(c.Labels) > 0 {
			s += fmt.Sprintf("%q", c.Labels)
		}
		if c.Charset != "" {
			s += " " + c.Charset
		}
		if !c.Nullable {
			s += "!"
		}
		if c.Invisible {
			s += "?"
		}
		parts = append(parts, s)
	}
	return strings.Join(parts, ", ") + " key " + strings.Join(t.Key, ",")
}

func TestApply_case61(t *testing.T) {
	const made = "create table t (a int primary key, b varchar(10), c text)"
	for _, tt := range []struct {
		statements string // separated by ;;
		want       string // of table d.t
		effect     string // of the last one
	}{
		{made, "a int!, b varchar(10) utf8mb4, c text utf8mb4 key a", "changed d.t"},
		{"CREATE TABLE `d`.`t` (`a` INT UNSIGNED NOT NULL AUTO_INCREMENT COMMENT 'it''s, (odd)', `b` enum('x,y','it''s','\\\\') CHARACTER SET latin1 DEFAULT 'x,y', PRIMARY KEY (`a`), KEY k (b(3), a DESC)) ENGINE=InnoDB DEFAULT CHARSET=latin1",
			`a int unsigned!, b enum["x,y" "it's" "\\"] latin1 key a`, "changed d.t"},
		{"create table if not exists t (id serial, n national varchar(5), dp double precision default -1.5e3, d dec(5), x long varchar, key (n)) collate utf8mb3_bin",
			"id bigint unsigned!, n varchar(5) utf8mb3, dp double, d decimal(5,0), x mediumtext utf8mb3 key ", "changed d.t"},
		{made + ";;alter table t add d datetime(3) not null default current_timestamp(3) on update now(3) after a, drop column c, add (e json, f bit(3))",
			"a int!, d datetime(3)!, b varchar(10) utf8mb4, e json, f bit(3) key a", "changed d.t"},
		{made + ";;alter table t change a b int, change b a varchar(10) charset latin1", "b int!, a varchar(10) latin1, c text utf8mb4 key b", "changed d.t"},
		{made + ";;alter table t modify c text first, rename column b to bb, alter a set default 5", "c text utf8mb4, a int!, bb varchar(10) utf8mb4 key a", "changed d.t"},
		{made + ";;alter table t drop primary key, add primary key (b, a)", "a int!, b varchar(10) utf8mb4!, c text utf8mb4 key b,a", "changed d.t"},
		{made + ";;alter table t convert to character set latin1", "a int!, b varchar(10) latin1, c text latin1 key a", "changed d.t"},
		{strings.Replace(made, "text)", "text) charset latin1", 1) + ";;alter table t convert to character set utf8mb4 collate utf8mb4_bin", "a int!, b varchar(10) utf8mb4, c mediumtext utf8mb4 key a", "changed d.t"},
		{made + ";;alter table t default charset latin1 comment 'x', add z char(2)", "a int!, b varchar(10) utf8mb4, c text utf8mb4, z char(2) latin1 key a", "changed d.t"},
		{made + ";;alter table t engine=innodb, add index i (b), add unique key u (b), add constraint fk foreign key (a) references o (x) on delete cascade", "a int!, b varchar(10) utf8mb4, c text utf8mb4 key a", "changed d.t"},
		{made + ";;alter table t add z int /* c */ -- d\n, add y int # e\n /*!50100 , add x int */ /*!99999 , add w int */ /*M!100100 , add v int*/", "a int!, b varchar(10) utf8mb4, c text utf8mb4, z int, y int, x int key a", "changed d.t"},
		{made + ";;set statement max_statement_time=5, sql_mode='a for b' for alter table t add z int", "a int!, b varchar(10) utf8mb4, c text utf8mb4, z int key a", "changed d.t"},
		{made + ";;rename table t to u, u to t", "a int!, b varchar(10) utf8mb4, c text utf8mb4 key a", "changed d.t dropped d.u"},
		{made + ";;create table u like t;;rename table t to v, u to t;;alter table t rename to x.t", "none", "changed x.t dropped d.t"},
		{made + ";;create or replace table t (z int)", "z int key ", "changed d.t"},
		{made + ";;create table if not exists t (z int)", "a int!, b varchar(10) utf8mb4, c text utf8mb4 key a", ""},
		{made + ";;drop table if exists x.y, t", "none", "dropped x.y d.t"},
		{made + ";;drop database d", "none", "dropped d.t databases d"},
		{made + ";;alter table t frobnicate the columns (a, b), somehow", "none", "unknown d.t"},
		{made + ";;alter table t add z frob(3)", "none", "unknown d.t"},
		{made + ";;alter table t add system versioning", "none", "unknown d.t"},
		{"create table t (a int) as select 1 as a, 2 as b", "none", "unknown d.t"},
		{"create table t select 1", "none", "unknown d.t"},
		{made + ";;create index i on t (b)", "a int!, b varchar(10) utf8mb4, c text utf8mb4 key a", ""},
		{made + ";;truncate table t", "a int!, b varchar(10) utf8mb4, c text utf8mb4 key a", ""},
		{made + ";;create temporary table t (z int)", "a int!, b varchar(10) utf8mb4, c text utf8mb4 key a", ""},
		{"create table t (a int generated always as (b + concat('),', 1)) stored, b varchar(3) binary invisible, c char(3) charset binary, check (a > 0), constraint x check (b), fulltext (c)) partition by hash(a) partitions 4",
			"a int, b varchar(3) utf8mb4?, c binary(3) binary key ", "changed d.t"},
		{"alter database d charset latin1;;create table t (a char)", "a char(1) latin1 key ", "changed d.t"},
	} {
		s := &Schemas{}
		s.SetDatabase("d", "utf8mb4")
		var e Effect
		for statement := range strings.SplitSeq(tt.statements, ";;") {
			e = s.Apply(Statement{Text: statement, Database: "d"}, Dialect{Version: 80015, Charset: "utf8mb4"})
		}
		if got := shape(s.Table(Name{"d", "t"})); got != tt.want {
			t.Errorf("%s\ngot  %s\nwant %s", tt.statements, got, tt.want)
		}
		if got := effectText(e); got != tt.effect {
			t.Errorf("%s\neffect %q, want %q", tt.statements, got, tt.effect)
		}
	}
}

// A statement that failed half-way leaves nothing behind that may be wrong.
func TestFailedStatement_case61(t *testing.T) {
	s := &Schemas{}
	s.SetDatabase("d", "utf8mb4")
	s.Apply(Statement{Text: "create table t (a int)", Database: "d"}, Dialect{})
	e := s.Apply(Statement{Text: "create or replace table t (a int, b int, primary key (c))", Database: "d", Failed: true}, Dialect{})
	if got := effectText(e); got != "unknown d.t" || s.Table(Name{"d", "t"}) != nil {
		t.Errorf("%s, %s", got, shape(s.Table(Name{"d", "t"})))
	}
	if e := s.Apply(Statement{Text: "create table if not exists t (a int)", Database: "d"}, Dialect{}); effectText(e) != "unknown d.t" {
		t.Errorf("a table that may be there: %s", effectText(e))
	}
}

func effectText(e Effect) string {
	var parts []string
	add := func(what string, names []Name) {
		if len(names) > 0 {
			parts = append(parts, what)
		}
		for _, n := range names {
			parts = append(parts, n.String())
		}
	}
	add("changed", e.Changed)
	add("dropped", e.Dropped)
	add("unknown", e.Unknown)
	if len(e.DroppedDatabases) > 0 {
		parts = append(append(parts, "databases"), e.DroppedDatabases...)
	}
	return strings.Join(parts, " ")
}

// Whatever the text, nothing panics, and what is held has columns and a key among them.
func FuzzApply(f *testing.F) {
	for _, s := range []string{"create table t (a int, b enum('x') charset latin1, primary key (a))", "alter table t add b int after a, drop c, change a b int",
		"rename table a to b, b to a", "drop table a, b", "set statement a=1 for alter table t rename to u", "create table t like u", "/*!50100 alter table t add (x int, y int) */",
		"alter table t convert to character set utf8", "create table t ((((", "alter table t modify a enum('", "drop database d", "alter table t add primary key (a, b(3) desc)"} {
		f.Add(s, true)
		f.Add(s, false)
	}
	f.Fuzz(func(t *testing.T, statement string, maria bool) {
		s := &Schemas{}
		s.SetDatabase("d", "utf8mb4")
		s.Apply(Statement{Text: "create table t (a int primary key, b varchar(3), c text)", Database: "d"}, Dialect{})
		s.Apply(Statement{Text: statement, Database: "d"}, Dialect{MariaDB: maria, Version: 101119, Charset: "latin1"})
		for _, n := range s.Tables() {
			table := s.Table(n)
			for _, k := range table.Key {
				if table.find(k) < 0 {
					t.Fatalf("%s: key column %q of %s is none of its columns", statement, k, n)
				}
			}
		}
	})
}
