package mysql

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// typeNames are the names of types that a server's own help lists, and those of geometries, which it describes elsewhere.
func typeNames(d *testDB) []string {
	d.Helper()
	rows, err := d.conn.rows("SELECT t.name FROM mysql.help_topic t JOIN mysql.help_category c USING (help_category_id) WHERE UPPER(c.name) LIKE '%DATA TYPE%'")
	if err != nil {
		d.Fatal(err)
	}
	names := []string{"GEOMETRY", "POINT", "LINESTRING", "POLYGON", "MULTIPOINT", "MULTILINESTRING", "MULTIPOLYGON", "GEOMETRYCOLLECTION",
		"JSON", "NCHAR", "NVARCHAR", "NATIONAL VARCHAR", "REAL", "BOOL", "NUMERIC", "FIXED", "SERIAL", "INT1", "INT2", "INT3", "INT4", "INT8", "MIDDLEINT", "LONG VARCHAR", "LONG VARBINARY"}
	for _, r := range rows {
		name := strings.TrimSuffix(strings.ToUpper(strings.ReplaceAll(r[0], `\`, "")), " DATA TYPE")
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// sample declares a column of a type that the server knows, with a value for it; false where the name is none of a type.
func sample(d *testDB, name string) (declared, value string, ok bool) {
	d.Helper()
	for _, args := range []string{"", "(6)", "('a','b')"} {
		if _, err := d.conn.Execute("CREATE OR REPLACE TABLE probe (c " + name + args + ")"); err != nil {
			d.exec("DROP TABLE IF EXISTS probe")
			if _, err := d.conn.Execute("CREATE TABLE probe (c " + name + args + ")"); err != nil {
				continue
			}
		}
		for _, value := range []string{"1", "'a'", "'12:34:56'", "'2024-02-29'", "'::1'", "'10.0.0.1'", "'123e4567-e89b-12d3-a456-426655440000'", `'{"a": 1}'`,
			"ST_GeomFromText('POINT(1 2)')", "ST_GeomFromText('LINESTRING(0 0,1 1)')", "ST_GeomFromText('POLYGON((0 0,1 0,1 1,0 0))')", "ST_GeomFromText('MULTIPOINT(0 0,1 1)')",
			"ST_GeomFromText('MULTILINESTRING((0 0,1 1))')", "ST_GeomFromText('MULTIPOLYGON(((0 0,1 0,1 1,0 0)))')", "ST_GeomFromText('GEOMETRYCOLLECTION(POINT(1 1))')",
			"STRING_TO_VECTOR('[1,2,3,4,5,6]')"} {
			if _, err := d.conn.Execute("INSERT INTO probe VALUES (" + value + ")"); err == nil {
				return name + args, value, true
			}
		}
		d.Errorf("no value for a column of type %s%s", name, args)
	}
	return "", "", false
}

// TestEveryType: rows of every type that a server has, under every name for it, look the same copied and streamed, whether the binary log
// has the structure of tables or it is followed through the statements.
func TestEveryType(t *testing.T) {
	onEach(t, all(), func(t *testing.T, addr string) {
		d := newDB(t, addr, "SET sql_mode = 'STRICT_TRANS_TABLES'")
		var columns, values []string
		for _, name := range typeNames(d) {
			if declared, value, ok := sample(d, name); ok {
				columns = append(columns, fmt.Sprintf("`%s` %s", strings.ToLower(name), declared))
				values = append(values, value)
			}
		}
		d.exec("DROP TABLE probe")
		table := " (id int PRIMARY KEY, " + strings.Join(columns, ", ") + ")"
		metadata, err := d.conn.row("SHOW GLOBAL VARIABLES LIKE 'binlog_row_metadata'")
		if err != nil {
			t.Fatal(err)
		}
		modes := []string{"MINIMAL", "FULL"}
		if metadata == nil {
			modes = modes[:1]
		} else {
			t.Cleanup(func() { d.exec("SET GLOBAL binlog_row_metadata = '" + metadata[1] + "'") })
		}
		for _, mode := range modes {
			if metadata != nil {
				d.exec("SET GLOBAL binlog_row_metadata = '" + mode + "'")
			}
			src := d.open("column.propagate.source.type", ".*")
			stream, err := src.Stream(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			readEmpty(d, stream)
			d.exec("CREATE TABLE every" + table)
			d.exec("INSERT INTO every VALUES (1, " + strings.Join(values, ", ") + ")")
			d.exec("INSERT INTO every (id) VALUES (2)")
			compareWays(d, src, stream, 2)
			d.checkTypes("every")
			stream.Close()
			d.exec("DROP TABLE every")
		}
	})
}

// checkTypes fails if a type that the server is known to have was found under no name.
func (d *testDB) checkTypes(table string) {
	d.Helper()
	rows, err := d.conn.rows("SELECT DISTINCT DATA_TYPE FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = '" + table + "'")
	if err != nil {
		d.Fatal(err)
	}
	have := map[string]bool{}
	for _, r := range rows {
		have[strings.ToLower(strings.Replace(r[0], "geomcollection", "geometrycollection", 1))] = true
	}
	want := strings.Fields("tinyint smallint mediumint int bigint decimal float double bit year date time datetime timestamp char varchar binary varbinary tinyblob blob " +
		"mediumblob longblob tinytext text mediumtext longtext enum set geometry point linestring polygon multipoint multilinestring multipolygon geometrycollection")
	switch version := d.text("SELECT VERSION()"); {
	case strings.Contains(version, "MariaDB"):
		want = append(want, "inet4", "inet6", "uuid")
	case strings.HasPrefix(version, "9."):
		want = append(want, "json", "vector")
	default:
		want = append(want, "json")
	}
	for _, name := range want {
		if !have[name] {
			d.Errorf("type %s was not tried", name)
		}
	}
	for name := range have {
		if !slices.Contains(want, name) {
			d.Errorf("the server has type %s, of which nothing is known here", name)
		}
	}
}
