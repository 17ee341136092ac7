package mysql

import (
	"fmt"
	"strings"
	"testing"

	"github.com/tailrace/tailrace/change"
)

// TestColumnRules: what the configuration says about columns holds for rows that are streamed, copied and read again.
func TestColumnRules(t *testing.T) {
	onEach(t, all(), func(t *testing.T, addr string) {
		d := newDB(t, addr, "CREATE TABLE staff (id int PRIMARY KEY, name varchar(40), ssn char(11), phone varchar(20), pin int, bio text); "+
			"INSERT INTO staff VALUES (1, 'Margaret Hamilton', '123-45-6789', '+1-555-0100', 4321, 'wrote the flight software')")
		column := func(name string) string { return d.name + `\.staff\.` + name }
		pairs := []string{"column.exclude.list", column("pin"), "column.mask.with.5.chars", column("ssn"),
			"column.mask.hash.SHA-256.with.salt.pepper", column("phone"), "column.truncate.to.6.chars", column("name") + "," + column("bio"),
			"column.propagate.source.type", column("id")}
		want := "1,Margar,*****,a25adeed3144397e6682,wrote "
		src := d.open(pairs...)
		s, err := src.Stream(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		d.exec("UPDATE staff SET pin = 1; UPDATE staff SET id = 2; UPDATE staff SET id = 1")
		events, _ := d.read(s, 5)
		if got := show(&events[0]); got != "u "+want {
			t.Errorf("streamed: %s", got)
		}
		tables, err := src.Tables(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		table := tables[0]
		var b change.Batch
		if _, err := src.Scan(t.Context(), table, nil, 10, &b); err != nil {
			t.Fatal(err)
		}
		if got := show(&b.Events[0]); got != "r "+want {
			t.Errorf("copied: %s", got)
		}
		row, _, err := src.Fetch(t.Context(), table, events[0].Key, &b)
		if err != nil || show(&change.Event{Op: change.OpRead, After: row}) != "r "+want {
			t.Errorf("read again: %v, %v", row, err)
		}
		id := table.Columns[0]
		if len(id.Params) < 2 || id.Params[0] != (change.Param{Name: "__debezium.source.column.type", Value: "INT"}) {
			t.Errorf("parameters of id: %v", id.Params)
		}
	})
}

// TestMessageKey: a chosen key is what records are keyed by; when it changes that is an update.
func TestMessageKey(t *testing.T) {
	onEach(t, []string{"mariadb10", "mysql80"}, func(t *testing.T, addr string) {
		d := newDB(t, addr, "CREATE TABLE t (id int PRIMARY KEY, region varchar(5), code int)")
		s := d.stream(nil, "message.key.columns", d.name+`\.t:region,code;other:x`, "skipped.operations", "d", "skip.messages.without.change", "true",
			"column.include.list", d.name+`\.t\.(id|region)`)
		d.exec("INSERT INTO t VALUES (1, 'eu', 7); UPDATE t SET region = 'us'; DELETE FROM t; INSERT INTO t VALUES (2, 'eu', NULL)")
		events, _ := d.read(s, 3)
		if got := showAll(events); got != "c 1,eu,7; u 1,us,7; c 2,eu,NULL" {
			t.Error(got)
		}
		var b change.Batch
		key, err := change.DecodeKey(&b, events[1].Table, events[1].Key)
		if err != nil || !events[1].Table.KeyChosen || len(events[1].Table.Key) != 2 || fmt.Sprint(events[1].Table.Columns[events[1].Table.Key[0]].Name) != "region" {
			t.Errorf("key %v, %v of %v", key, err, events[1].Table.Key)
		}
	})
}

// TestTransactionMetadata: BEGIN and END, and each event's place, as Debezium tells them; a resume repeats neither.
func TestTransactionMetadata(t *testing.T) {
	onEach(t, []string{"mariadb10", "mysql80"}, func(t *testing.T, addr string) {
		d := newDB(t, addr, "CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY)")
		s := d.stream(nil, "provide.transaction.metadata", "true", "max.batch.size", "2")
		d.exec("BEGIN; INSERT INTO a VALUES (1), (2); INSERT INTO b VALUES (1); COMMIT")
		var got []string
		var at change.Position
		own := "" // transactions of other databases are told, too
		collect := func() {
			var events []change.Event
			events, at = d.read(s, 1)
			for i := range events {
				e := &events[i]
				switch {
				case e.Table != nil:
					own = e.TxID
					got = append(got, fmt.Sprintf("%s %d %d", e.Table.Name.Table, e.TxOrder, e.TxInTable))
				case strings.Contains(string(e.Raw.Value), "END") && e.TxID == "" && own != "" && strings.Contains(string(e.Raw.Key), own):
					got = append(got, strings.ReplaceAll(string(e.Raw.Value), d.name, "db"))
				}
			}
		}
		for len(got) < 1 {
			collect()
		}
		s.Close()
		s = d.stream(at, "provide.transaction.metadata", "true", "max.batch.size", "2")
		for len(got) < 4 {
			collect()
		}
		if places := strings.Join(got[:3], "; "); places != "a 1 1; a 2 2; b 3 1" {
			t.Error(places)
		}
		if want := `"event_count":3,"data_collections":[{"data_collection":"db.a","event_count":2},{"data_collection":"db.b","event_count":1}]`; !strings.Contains(got[3], want) {
			t.Errorf("%s lacks %s", got[3], want)
		}
	})
}

// TestHeartbeat: events come while nothing else does, and each runs the statement.
func TestHeartbeat(t *testing.T) {
	onEach(t, []string{"mariadb10", "mysql80"}, func(t *testing.T, addr string) {
		d := newDB(t, addr, "CREATE TABLE beats (n int); CREATE TABLE t (id int PRIMARY KEY)")
		s := d.stream(nil, "heartbeat.interval.ms", "50", "heartbeat.action.query", "INSERT INTO "+d.name+".beats VALUES (1)", "table.include.list", d.name+".t")
		events, _ := d.read(s, 2)
		for _, e := range events {
			if e.Topic != "__debezium-heartbeat."+d.prefix || e.Raw == nil || string(e.Raw.Key) != `{"serverName":"`+d.prefix+`"}` || e.Raw.Form != change.FormHeartbeat {
				t.Errorf("%s %v", e.Topic, e.Raw)
			}
		}
		for d.text("SELECT COUNT(*) FROM beats") == "0" {
			d.read(s, 1)
		}
	})
}

// TestDefaultLiterals: defaults that are constants, as the catalogs of MariaDB and MySQL write them.
func TestDefaultLiterals(t *testing.T) {
	for _, c := range []struct {
		def        string
		quotes     bool
		expression bool
		want       string
		ok         bool
	}{
		{`'it''s'`, true, false, "it's", true},
		{`'a\\b\n\''`, true, false, "a\\b\n'", true},
		{"5", true, false, "5", true},
		{"NULL", true, false, "", false},
		{"current_timestamp()", true, false, "", false},
		{"concat('x',1)", true, false, "", false},
		{"'quoted'", false, false, "'quoted'", true},
		{"f(x)", false, false, "f(x)", true},
		{"concat(1)", false, true, "", false},
		{"CURRENT_TIMESTAMP(3)", false, true, "", false},
		{"CURRENT_TIMESTAMP", false, false, "", false}, // before 8.0
	} {
		x := columnExtra{hasDefault: true, def: c.def, quotes: c.quotes, expression: c.expression}
		if got, ok := x.literal(); ok != c.ok || ok && got != c.want {
			t.Errorf("%+v: %q, %t", c, got, ok)
		}
	}
}
