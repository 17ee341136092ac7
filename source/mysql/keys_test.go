package mysql

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/tailrace/tailrace/change"
)

// chunks reads a table chunk by chunk and returns its rows in the order in which they came.
func chunks(t *testing.T, s *Source, table *change.Table, limit int) (rows []string) {
	t.Helper()
	var after []byte
	for {
		var b change.Batch
		if _, err := s.Scan(t.Context(), table, after, limit, &b); err != nil {
			t.Fatalf("after %s: %v", change.KeyText(after), err)
		}
		for i := range b.Events {
			rows = append(rows, show(&b.Events[i]))
		}
		if len(b.Events) < limit {
			return rows
		}
		if after = slices.Clone(b.Events[limit-1].Key); len(rows) > 1000 {
			t.Fatalf("rows come again: %s", rows[:10])
		}
	}
}

// Chunks by keys of all kinds, with limits that cut anywhere, copy each row once, and each row is found by its key.
func TestScanKeys(t *testing.T) {
	texts := "('a', 1), ('B', 2), ('c', 3), ('ß', 4), ('é', 5), ('', 6), ('a b', 7), ('z\\'\"\\\\', 8), ('日本', 9), ('😀', 10)"
	kinds := map[string]string{
		"case36_unsigned_bigint":    "id bigint unsigned PRIMARY KEY, v int| (0, 1), (9223372036854775807, 2), (9223372036854775808, 3), (18446744073709551615, 4)",
		"case36_bigint":             "id bigint PRIMARY KEY, v int| (-9223372036854775808, 1), (-1, 2), (0, 3), (9223372036854775807, 4)",
		"case36_small_unsigned":     "id tinyint unsigned PRIMARY KEY, v int| (0, 1), (127, 2), (128, 3), (255, 4)",
		"case36_case_insensitive":   "id varchar(20) PRIMARY KEY, v int) COLLATE utf8mb4_unicode_ci| " + texts,
		"case36_general_ci":         "id varchar(20) PRIMARY KEY, v int) COLLATE utf8mb4_general_ci| ('a', 1), ('B', 2), ('c', 3), ('é', 5), ('', 6), ('a b', 7), ('zz', 8)",
		"case36_looks_the_same":     "id varchar(20) PRIMARY KEY, v int) COLLATE utf8mb4_bin| ('a', 1), ('A', 2), ('ä', 3), ('a\\t', 4), ('á', 5), ('a\\0', 6), ('aa', 7), ('', 8)",
		"case36_pad_space":          "id char(5) PRIMARY KEY, v int) COLLATE utf8mb4_unicode_ci| ('a  ', 1), ('a\\t', 2), ('a b', 3), ('', 4), ('a!', 5)",
		"case36_latin1":             "id varchar(20) PRIMARY KEY, v int) CHARACTER SET latin1 COLLATE latin1_swedish_ci| ('ä', 1), ('å', 2), ('o', 3), ('ö', 4), ('z', 5), ('y', 6)",
		"case36_sjis":               "id varchar(20) PRIMARY KEY, v int) CHARACTER SET sjis| ('表', 1), ('ソ', 2), ('a', 3), ('ｱ', 4)",
		"case36_binary":             "id binary(4) PRIMARY KEY, v int| ('', 1), ('a', 2), (x'61006200', 3), (x'ffffffff', 4), (x'5c275c27', 5)",
		"case36_varbinary":          "id varbinary(9) PRIMARY KEY, v int| ('', 1), (x'00', 2), (x'0000', 3), (x'ff', 4), (x'61', 5), (x'6120', 6)",
		"case36_enum":               "id enum('z', 'm', 'a,b', 'ä') PRIMARY KEY, v int| ('z', 1), ('m', 2), ('a,b', 3), ('ä', 4)",
		"case36_set":                "id set('x', 'y', 'z') PRIMARY KEY, v int| ('', 1), ('x', 2), ('y', 3), ('x,y', 4), ('z', 5), ('x,y,z', 6)",
		"case36_bit":                "id bit(64) PRIMARY KEY, v int| (b'0', 1), (b'1', 2), (18446744073709551615, 3), (9223372036854775808, 4), (256, 5)",
		"case36_bit1":               "id bit(1) PRIMARY KEY, v int| (0, 1), (1, 2)",
		"case36_bit9":               "id bit(9) PRIMARY KEY, v int| (0, 1), (1, 2), (256, 3), (511, 4)",
		"case36_decimal":            "id decimal(38,10) PRIMARY KEY, v int| (0, 1), (-1.5, 2), (1.10, 3), (-9999999999999999999999999999.9999999999, 4), (9999999999999999999999999999.9999999999, 5)",
		"case36_decimal_unsigned":   "id decimal(20,0) unsigned PRIMARY KEY, v int| (0, 1), (18446744073709551616, 2), (99999999999999999999, 3)",
		"case36_datetime":           "id datetime(6) PRIMARY KEY, v int| ('1000-01-01', 1), ('9999-12-31 23:59:59.999999', 2), ('2024-02-29 12:00:00.000001', 3), ('2024-02-29 12:00:00', 4), ('0000-00-00', 5), ('2024-00-00', 6)",
		"case36_timestamp":          "id timestamp(3) PRIMARY KEY DEFAULT '2000-01-01', v int| ('1970-01-01 00:00:01', 1), ('2038-01-19 03:14:07.999', 2), ('0000-00-00', 3), ('2024-03-31 02:30:00', 4)",
		"case36_date":               "id date PRIMARY KEY, v int| ('0000-00-00', 1), ('1000-01-01', 2), ('2024-02-29', 3), ('9999-12-31', 4), ('2024-00-10', 5)",
		"case36_time":               "id time(6) PRIMARY KEY, v int| ('-838:59:59', 1), ('-00:00:00.000001', 2), ('00:00:00', 3), ('838:59:59', 4), ('12:00:00.5', 5)",
		"case36_year":               "id year PRIMARY KEY, v int| (0, 1), (1901, 2), (2024, 3), (2155, 4)",
		"case36_double":             "id double PRIMARY KEY, v int| (0, 1), (-1e300, 2), (0.1, 3), (5e-320, 4), (1.7976931348623157e308, 5), (-0.5, 6)",
		"case36_float":              "id float PRIMARY KEY, v int| (0, 1), (-1e30, 2), (0.1, 3), (16777217, 4), (3.4e38, 5)",
		"case36_composite":          "a varchar(9), b int unsigned, c date, v int, PRIMARY KEY (b, a, c)) COLLATE utf8mb4_unicode_ci| ('x', 1, '2024-01-01', 1), ('X', 1, '2024-01-02', 2), ('y', 0, '2024-01-01', 3), ('', 4294967295, '2024-01-01', 4), ('a', 1, '2024-01-01', 5)",
		"case36_prefix":             "id varchar(50) NOT NULL, v int, PRIMARY KEY (id(3))) COLLATE utf8mb4_unicode_ci| ('abcdef', 1), ('abdzzz', 2), ('a', 3), ('zzzzz', 4), ('b very long one', 5)",
		"case36_unique_not_primary": "id varchar(9) NOT NULL, v int, x int NOT NULL, UNIQUE (id), UNIQUE (x)) COLLATE utf8mb4_unicode_ci| ('b', 1, 3), ('a', 2, 2), ('c', 3, 1)",
	}
	onEach(t, []string{"mariadb10", "mysql80", "mysql97"}, func(t *testing.T, addr string) {
		for name, kind := range kinds {
			t.Run(name, func(t *testing.T) {
				columns, rows, _ := strings.Cut(kind, "|")
				if strings.Count(columns, ")") == strings.Count(columns, "(") { // nothing follows the columns
					columns += ")"
				}
				d := newDB(t, addr, "SET NAMES utf8mb4; CREATE TABLE t ("+columns)
				d.exec("INSERT INTO t VALUES " + rows)
				s := d.open()
				tables, err := s.Tables(t.Context())
				if err != nil || len(tables) != 1 || len(tables[0].Key) == 0 {
					t.Fatalf("%v, %v", tables, err)
				}
				whole := chunks(t, s, tables[0], 1<<20)
				if count := d.text("SELECT COUNT(*) FROM t"); fmt.Sprint(len(whole)) != count {
					t.Fatalf("%d rows instead of %s", len(whole), count)
				}
				for _, limit := range []int{1, 2, 3} {
					if got := chunks(t, s, tables[0], limit); !slices.Equal(got, whole) {
						t.Errorf("limit %d: %q\nwhole: %q", limit, got, whole)
					}
				}
				var b change.Batch
				if _, err := s.Scan(t.Context(), tables[0], nil, 1<<20, &b); err != nil {
					t.Fatal(err)
				}
				var keys [][]byte
				for _, e := range b.Events {
					keys = append(keys, e.Key)
				}
				found, _, err := s.Fetch(t.Context(), tables[0], keys, &b)
				if err != nil {
					t.Fatal(err)
				}
				for i, row := range found {
					if got := show(&change.Event{Op: change.OpRead, After: row}); got != whole[i] {
						t.Errorf("the row with the key of %q is %q", whole[i], got)
					}
				}
			})
		}
	})
}
