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
		rows, _, err := src.Fetch(t.Context(), table, [][]byte{events[0].Key}, &b)
		if err != nil || show(&change.Event{Op: change.OpRead, After: rows[0]}) != "r "+want {
			t.Errorf("read again: %v, %v", rows, err)
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

// TestConverters: tinyints are read as the converters say, copied and streamed alike; those of a key stay numbers.
func TestConverters(t *testing.T) {
	onEach(t, all(), func(t *testing.T, addr string) {
		d := newDB(t, addr, "CREATE TABLE t (id int, k tinyint(1), yes bool DEFAULT 1, n tinyint, other tinyint(1) unsigned, flag bool, f float, s varchar(5), PRIMARY KEY (id, k)); "+
			"INSERT INTO t VALUES (1, 2, -1, 7, 255, 9, 0.5, 'x'), (2, 0, NULL, 0, 0, 0, 1, 'y')")
		src := d.open("converters", "sink,bool", "bool.type", "io.debezium.connector.binlog.converters.TinyIntOneToBooleanConverter",
			"bool.selector", d.name+`\.t\..*`, "bool.length.checker", "false",
			"sink.type", "io.debezium.connector.mysql.converters.JdbcSinkDataTypesConverter",
			"sink.selector.boolean", d.name+".t.flag", "sink.selector.real", d.name+".t.f", "sink.selector.string", d.name+".t.s")
		s, err := src.Stream(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		d.exec("UPDATE t SET s = 'z'")
		events, _ := d.read(s, 2)
		if got := showAll(events); got != "u 1,2,false,true,true,1,0.5,z; u 2,0,NULL,false,false,0,1,z" {
			t.Errorf("streamed: %s", got)
		}
		tables, err := src.Tables(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var b change.Batch
		if _, err := src.Scan(t.Context(), tables[0], nil, 10, &b); err != nil {
			t.Fatal(err)
		}
		if got := showAll(b.Events); got != "r 1,2,false,true,true,1,0.5,z; r 2,0,NULL,false,false,0,1,z" {
			t.Errorf("copied: %s", got)
		}
		columns := tables[0].Columns
		if yes := columns[2]; yes.Type.Kind != change.Bool || !yes.HasDefault || yes.Default.Kind != change.Bool || yes.Default.Num != 1 {
			t.Errorf("yes: %+v", yes)
		}
		if f, s := columns[6], columns[7]; f.Type.Render != change.RenderDouble || len(s.Params) != 1 || s.Params[0].Name != "__debezium.source.column.character_set" {
			t.Errorf("f: %+v, s: %+v", f, s)
		}
	})
}

// TestConverterMistakes: what a converter can't be is said by the property's name.
func TestConverterMistakes(t *testing.T) {
	for _, c := range []struct{ key, value, want string }{
		{"b.type", "com.example.Own", "Java class"},
		{"b.type", "", "is missing"},
		{"b.selector", "(", "regular expression"},
		{"b.length.checker", "perhaps", "neither true nor false"},
	} {
		props := map[string]string{"database.hostname": "db", "database.user": "u", "topic.prefix": "shop", "converters": "b",
			"b.type": "io.debezium.connector.mysql.converters.TinyIntOneToBooleanConverter"}
		if text := problemsText(Plugin.Check(props)); text != "" {
			t.Error(text)
		}
		props[c.key] = c.value
		if text := problemsText(Plugin.Check(props)); !strings.Contains(text, c.key) || !strings.Contains(text, c.want) {
			t.Errorf("%s=%s: %q", c.key, c.value, text)
		}
	}
}
