package mysql

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
)

// TestCatalogAtOnce: many tables that are asked about at once are what each is by itself; one that is not there is left out.
func TestCatalogAtOnce(t *testing.T) {
	onEach(t, all(), func(t *testing.T, addr string) {
		var sql []string
		names := []string{"absent"}
		for i := range fewTables + 5 {
			name := fmt.Sprintf("t%d", i)
			names = append(names, name)
			sql = append(sql, fmt.Sprintf("CREATE TABLE %s (id int PRIMARY KEY, v%d varchar(%d) DEFAULT 'x' COMMENT 'c%d', u int NOT NULL, UNIQUE KEY k (u)) COMMENT 'of %d'", name, i, i+1, i, i))
		}
		d := newDB(t, addr, strings.Join(sql, "; "))
		all, err := describeTables(d.conn, d.flavor, d.name, names)
		if err != nil || len(all) != len(names)-1 {
			t.Fatalf("%d tables, %v", len(all), err)
		}
		for name, got := range all {
			if want, err := describe(d.conn, d.flavor, d.name, name); err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("%s: %+v, by itself %+v, %v", name, got, want, err)
			}
		}
	})
}
