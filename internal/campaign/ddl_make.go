package main

import (
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/tailrace/tailrace/source/mysql/ddl"
)

// A ddlMaker makes random DDL statements about the tables that there are. Not all of them are valid.
type ddlMaker struct {
	random *rand.Rand
	tables []ddl.Name
	known  *ddl.Schemas
}

func (m *ddlMaker) pick(of ...string) string { return of[m.random.IntN(len(of))] }

func (m *ddlMaker) chance(percent int) bool { return m.random.IntN(100) < percent }

// table names a table that is there, in most cases.
func (m *ddlMaker) table() ddl.Name {
	if len(m.tables) == 0 || m.chance(3) {
		return ddl.Name{Database: m.pick(ddlDatabases...), Table: m.fresh()}
	}
	return m.tables[m.random.IntN(len(m.tables))]
}

func (m *ddlMaker) fresh() string { return m.pick("t", "u", "v", "W", "x y", "é`q", "select", "t1") }

func (m *ddlMaker) quote(name string) string {
	q := "`" + strings.ReplaceAll(name, "`", "``") + "`"
	if strings.Trim(name, "tuvabcdefgWh1") == "" && m.chance(60) {
		return name
	}
	return q
}

func (m *ddlMaker) full(n ddl.Name) string {
	return m.pick("", "/* a comment with 'quotes */ ") + m.quote(n.Database) + m.pick(".", " . ", ".") + m.quote(n.Table)
}

// column names a column of a table that is there, in most cases.
func (m *ddlMaker) column(n ddl.Name) string {
	if t := m.known.Table(n); t != nil && len(t.Columns) > 0 && !m.chance(4) {
		c := t.Columns[m.random.IntN(len(t.Columns))].Name
		if m.chance(10) {
			c = strings.ToUpper(c)
		}
		return m.quote(c)
	}
	return m.quote(m.name())
}

func (m *ddlMaker) name() string {
	return m.pick("a", "b", "c", "d", "e", "f", "g", "h", "key", "from to", "ü", "c`q", "comment", "first")
}

func (m *ddlMaker) typ() string {
	charset := m.pick("", "", "", " character set latin1", " charset utf8mb4", " character set = utf8", " collate utf8mb4_bin", " charset ucs2", " charset binary", " collate latin1_bin",
		" character set utf8mb3 collate utf8mb3_bin", " ascii", " binary", " unicode")
	switch m.random.IntN(9) {
	case 0:
		return m.pick("tinyint", "smallint", "mediumint", "int", "integer", "bigint", "int(5)", "int4", "bool", "boolean", "int8", "middleint") + m.pick("", " unsigned", " zerofill", " unsigned zerofill", " signed")
	case 1:
		return m.pick("decimal", "decimal(5)", "numeric(12,3)", "dec(7, 2)", "fixed(3)", "float", "float(7,3)", "float(24)", "float(25)", "double", "double precision", "real", "double(9,2)") + m.pick("", " unsigned")
	case 2:
		return m.pick("date", "time", "time(3)", "datetime", "datetime(6)", "timestamp", "timestamp(2)", "timestamp null", "year", "year(4)")
	case 3, 4:
		return m.pick("char", "char(10)", "varchar(20)", "varchar(300)", "character varying(30)", "national varchar(5)", "nchar(3)") + charset
	case 5:
		return m.pick("tinytext", "text", "mediumtext", "longtext", "text(100)", "text(20000)", "text(70000)", "long varchar", "long") + charset
	case 6:
		return m.pick("binary(8)", "varbinary(300)", "blob", "tinyblob", "mediumblob", "longblob", "blob(300)", "bit", "bit(13)", "long varbinary", "char(3) byte", "binary")
	case 7:
		return m.pick("enum('a','b,c','it''s','d)')", "set('x','y ','z')", `enum("q", 'w', 'it\'s')`, "enum('é','ж')") + charset
	}
	return m.pick("json", "inet6", "inet4", "uuid", "point", "geometry", "multipolygon", "serial")
}

// attributes follow a type. A generated column has few.
func (m *ddlMaker) attributes() string {
	if m.chance(4) {
		return m.pick(" as (1 + 2)", " generated always as (concat('a)', ',')) stored", " as (1) virtual")
	}
	return m.pick("", "", "", " not null", " null") + m.pick("", "", "", " default null", " comment 'a, (comment) with ''quotes'' -- and /* more'", " default '1'", " invisible default 1",
		" check (1 > 0)", " /* why */ ", " default (1 + (2))")
}

func (m *ddlMaker) definition() string { return m.quote(m.name()) + " " + m.typ() + m.attributes() }

func (m *ddlMaker) options() string {
	return m.pick("", "", " engine=innodb", " engine innodb comment 'x, y'", " default charset=latin1", " charset utf8mb4 collate utf8mb4_bin", " collate latin1_german2_ci", " character set = ucs2 row_format=dynamic",
		" auto_increment 5 default character set utf8", " /*!50100 partition by hash (1) partitions 2 */")
}

func (m *ddlMaker) create() string {
	n := ddl.Name{Database: m.pick(ddlDatabases...), Table: m.fresh()}
	head := m.pick("create table ", "create table ", "create table if not exists ", "create or replace table ", "CREATE TABLE /*!50000 IF NOT EXISTS */ ", "create /*M!100000 or replace */ table ",
		"create /*! table */ ") + m.full(n)
	if m.chance(12) {
		return head + m.pick(" like "+m.full(m.table()), " (like "+m.full(m.table())+")")
	}
	if m.chance(8) {
		return head + m.options() + " as select 1 as a, 'x' as b, now(3) as c"
	}
	if m.chance(6) {
		return head + " (a int, z varchar(5)) select 1 as a, cast('2' as char(3)) as b"
	}
	var defs, names []string
	for i := range 1 + m.random.IntN(6) {
		name := []string{"a", "b", "c", "d", "e f", "g"}[i]
		names = append(names, m.quote(name))
		defs = append(defs, m.quote(name)+" "+m.typ()+m.attributes())
	}
	switch {
	case m.chance(30):
		defs = append(defs, "primary key ("+m.pick(names...)+")")
	case m.chance(10):
		defs[0] = m.quote("a") + " int " + m.pick("primary key", "auto_increment primary key", "not null key", "unsigned zerofill primary key comment 'k'")
	}
	if m.chance(15) {
		defs = append(defs, m.pick("key (", "unique (", "index `i, x` using btree (", "constraint u unique (")+m.pick(names...)+")")
	}
	if m.chance(5) {
		defs = append(defs, m.pick("check (1 < 2)", "constraint c1 check (1 in (1, 2))"))
	}
	return head + " (" + strings.Join(defs, ", ") + ")" + m.options()
}

func (m *ddlMaker) place(n ddl.Name) string { return m.pick("", "", " first", " after "+m.column(n)) }

func (m *ddlMaker) action(n ddl.Name) string {
	switch m.random.IntN(17) {
	case 0, 1, 2:
		return m.pick("add ", "add column ", "add column if not exists ") + m.definition() + m.place(n)
	case 3:
		return "add (" + m.definition() + ", " + m.definition() + ")"
	case 4, 5:
		return m.pick("drop ", "drop column ", "drop column if exists ") + m.column(n)
	case 6, 7:
		return m.pick("change ", "change column ", "change if exists ") + m.column(n) + " " + m.definition() + m.place(n)
	case 8, 9:
		return m.pick("modify ", "modify column ", "modify column if exists ") + m.column(n) + " " + m.typ() + m.attributes() + m.place(n)
	case 10:
		return "rename column " + m.column(n) + " to " + m.quote(m.name())
	case 11:
		return m.pick("add primary key (", "add constraint primary key using btree (") + m.column(n) + ")"
	case 12:
		return m.pick("drop primary key", "drop primary key, add primary key ("+m.column(n)+", "+m.column(n)+")")
	case 13:
		return m.pick("convert to character set latin1", "convert to charset utf8mb4 collate utf8mb4_general_ci", "convert to character set utf8", "default character set latin1", "character set = utf8mb4 collate = utf8mb4_bin", "collate latin1_bin")
	case 14:
		return m.pick("alter ", "alter column ") + m.column(n) + m.pick(" set default 3", " drop default", " set default (1 + 1)")
	case 15:
		return m.pick("add index (", "add unique key uq (", "add key `k` (") + m.column(n) + ")"
	}
	return m.pick("comment 'new, comment'", "engine = innodb", "row_format = compact", "auto_increment = 100", "force", "order by "+m.column(n), "algorithm = copy", "stats_persistent=0 comment='x'")
}

func (m *ddlMaker) alter() string {
	n := m.table()
	var actions []string
	for range 1 + m.random.IntN(1+m.random.IntN(4)) {
		actions = append(actions, m.action(n))
	}
	// MariaDB 10.11.19 leaves the old table behind when an ALTER that copies it also renames it, and its name has characters
	// that are escaped in names of files.
	if plain := strings.Trim(n.Table, "abcdefghijklmnopqrstuvwxyzW1") == ""; plain && m.chance(6) {
		actions = append(actions, m.pick("rename ", "rename to ", "rename as ")+m.full(ddl.Name{Database: m.pick(ddlDatabases...), Table: m.fresh()}))
	}
	return m.pick("alter table ", "alter table ", "ALTER ONLINE TABLE ", "alter ignore table ", "alter table if exists ", "/* x */ alter -- y\n table # z\n ") + m.full(n) + " " + strings.Join(actions, ", ")
}

// statement makes the next statement.
func (m *ddlMaker) statement() string {
	s := ""
	switch k := m.random.IntN(100); {
	case k < 22 || len(m.tables) < 3:
		s = m.create()
	case k < 80:
		s = m.alter()
	case k < 86:
		s = m.pick("drop table ", "drop table if exists ") + m.full(m.table()) + m.pick("", ", "+m.full(m.table()))
	case k < 92:
		s = "rename table " + m.full(m.table()) + " to " + m.full(ddl.Name{Database: m.pick(ddlDatabases...), Table: m.fresh()})
		if m.chance(20) {
			n := m.table()
			s = fmt.Sprintf("rename table %s to ddl_a.swap, ddl_a.swap to %s", m.full(n), m.full(n))
		}
	case k < 94:
		s = "create index i" + m.pick("1", "2", "3") + " on " + m.full(m.table()) + " (a)"
	case k < 96:
		s = "truncate table " + m.full(m.table())
	case k < 97:
		d := m.pick(ddlDatabases...)
		return "create or replace database " + d + " character set " + m.pick("latin1", "utf8mb4", "utf8mb3 collate utf8mb3_bin")
	case k < 98:
		return "alter database " + m.pick(ddlDatabases...) + m.pick(" character set latin1", " default charset = utf8mb4 collate utf8mb4_bin", " collate latin1_bin")
	default:
		return m.pick("set session explicit_defaults_for_timestamp = 0", "set session explicit_defaults_for_timestamp = 1", "set session sql_mode = 'ANSI_QUOTES'", "set session sql_mode = ''", "set session sql_mode = 'NO_BACKSLASH_ESCAPES'")
	}
	if m.chance(5) {
		s = "set statement max_statement_time = 100, sort_buffer_size = 100000 for " + s
	}
	return s
}
