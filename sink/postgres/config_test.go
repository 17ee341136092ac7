package postgres

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/tailrace/tailrace/change"
)

func TestCheck(t *testing.T) {
	good := map[string]string{"connection.url": "postgres://db:5432/shop", "connection.username": "u", "connection.password": "p"}
	for _, c := range []struct{ key, value, problem string }{
		{"connection.url", "jdbc:postgresql://db/shop?ssl=true&reWriteBatchedInserts=true&currentSchema=x&ApplicationName=a", ""},
		{"connection.url", "${env:URL}", ""},
		{"connection.url", "jdbc:mysql://db/shop", "connection.url"},
		{"connection.url", "postgres://u:s3cr3t@db/shop", "connection.url"},
		{"connection.url", "postgres://db/shop?password=s3cr3t", "connection.url"},
		{"connection.url", "postgres://db/shop?tpyo=1", "connection.url"},
		{"connection.url", "://", "connection.url"},
		{"insert.mode", "upsert", ""},
		{"insert.mode", "insert", "insert.mode"},
		{"primary.key.mode", "record_key", ""},
		{"primary.key.mode", "kafka", "primary.key.mode"},
		{"primary.key.fields", "id", "primary.key.fields"},
		{"delete.enabled", "true", ""},
		{"delete.enabled", "false", "delete.enabled"},
		{"truncate.enabled", "false", "truncate.enabled"},
		{"schema.evolution", "none", ""},
		{"schema.evolution", "validate-only", "schema.evolution"},
		{"table.name.format", "${schema}.${table}", ""},
		{"table.name.format", "prefix_${topic}", ""},
		{"table.name.format", "orders", "table.name.format"},
		{"table.name.format", "${tabel}", "table.name.format"},
		{"collection.name.format", "a.b.${table}", "table.name.format"},
		{"dialect.name", "PostgreSqlDatabaseDialect", ""},
		{"dialect.name", "OracleDatabaseDialect", "dialect.name"},
		{"batch.size", "0", "batch.size"},
		{"offsets.table", strings.Repeat("x", 64), "offsets.table"},
	} {
		props := maps.Clone(good)
		props[c.key] = c.value
		problems := Plugin.Check(props)
		switch {
		case c.problem == "" && len(problems) > 0:
			t.Errorf("%s=%s: %v, want no problem", c.key, c.value, problems)
		case c.problem != "" && (len(problems) != 1 || problems[0].Key != c.problem):
			t.Errorf("%s=%s: %v, want one problem of %s", c.key, c.value, problems, c.problem)
		}
		if strings.Contains(fmt.Sprint(problems), "s3cr3t") {
			t.Errorf("%s: a problem shows the password: %v", c.key, problems)
		}
	}
	if p := Plugin.Check(map[string]string{}); len(p) != 1 || p[0].Key != "connection.url" {
		t.Errorf("an empty configuration has the problems %v, want that connection.url is missing", p)
	}
}

// TestSchema: currentSchema of a JDBC URL says where tables are made, as the driver would have it.
func TestSchema(t *testing.T) {
	for _, c := range []struct{ query, schema, want string }{
		{"", "", "public"},
		{"?currentSchema=Copy,public", "", "copy"},
		{"?currentSchema=%22Copy%22", "", "Copy"},
		{"?search_path=%22$user%22,public", "", "public"},
		{"?currentSchema=copy", "own", "own"},
	} {
		cfg, problems := parse(map[string]string{"connection.url": "jdbc:postgresql://db/shop" + c.query, "schema": c.schema})
		if len(problems) > 0 || cfg.Schema != c.want {
			t.Errorf("%s and schema %q: %q, %v, want %q", c.query, c.schema, cfg.Schema, problems, c.want)
		}
	}
}

func TestTableName(t *testing.T) {
	table := &change.Table{Name: change.TableName{Schema: "s", Table: "t"}}
	for _, c := range []struct{ format, topic, want string }{
		{"${table}", "shop.public.items", `"public"."items"`},
		{"${schema}.${table}", "shop.sales.items", `"sales"."items"`},
		{"${schema}.${table}", "items", `"s"."items"`},
		{"${topic}", "shop.sales.items", `"public"."shop_sales_items"`},
		{"stage.x_${table}", "shop.sales.items", `"stage"."x_items"`},
	} {
		cfg := &Config{Schema: "public", Format: c.format}
		n, err := cfg.table(c.topic, table)
		if err != nil || n.String() != c.want {
			t.Errorf("%s of %s is %s, %v, want %s", c.format, c.topic, n, err, c.want)
		}
	}
}
