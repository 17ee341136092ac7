package transform_test

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/transform"
	"github.com/tailrace/tailrace/transform/filter"
	"github.com/tailrace/tailrace/transform/mask"
	"github.com/tailrace/tailrace/transform/route"
	"github.com/tailrace/tailrace/transform/unwrap"
)

func plugins() []transform.Plugin {
	return []transform.Plugin{unwrap.Plugin, route.Plugin, mask.Plugin, filter.Plugin}
}

func TestBuild(t *testing.T) {
	for _, tt := range []struct {
		name  string
		props map[string]string
		want  int
	}{
		{"none", map[string]string{}, 0},
		{"empty", map[string]string{"transforms": " , "}, 0},
		{"not_in_the_list", map[string]string{"transforms.x.type": "nonsense"}, 0},
		{"class", map[string]string{"transforms": "u", "transforms.u.type": "io.debezium.transforms.ExtractNewRecordState"}, 1},
		{"alias_and_simple_name", map[string]string{"transforms": "u, r,m", "transforms.u.type": "unwrap", "transforms.r.type": "RegexRouter",
			"transforms.r.regex": "a", "transforms.r.replacement": "b", "transforms.m.type": "MaskField$Value", "transforms.m.fields": "x"}, 3},
	} {
		t.Run(tt.name, func(t *testing.T) {
			chain, problems := transform.Build(tt.props, plugins())
			if len(chain) != tt.want || len(problems) != 0 || len(transform.Check(tt.props, plugins())) != 0 {
				t.Errorf("got %d transforms, %v", len(chain), problems)
			}
		})
	}
}

func TestBuildProblems(t *testing.T) {
	for _, tt := range []struct {
		name  string
		props map[string]string
		want  []string
	}{
		{"no_type", map[string]string{"transforms": "u"}, []string{"transforms.u.type: is required"}},
		{"unknown_type", map[string]string{"transforms": "u", "transforms.u.type": "unwrp"}, []string{"transforms.u.type: unknown transform unwrp: did you mean unwrap?"}},
		{"far_type", map[string]string{"transforms": "u", "transforms.u.type": "com.example.Nothing"}, []string{"there are unwrap, route, mask, filter"}},
		{"key_mask", map[string]string{"transforms": "u", "transforms.u.type": "org.apache.kafka.connect.transforms.MaskField$Key"}, []string{"did you mean org.apache.kafka.connect.transforms.MaskField$Value?"}},
		{"twice", map[string]string{"transforms": "u,u", "transforms.u.type": "unwrap"}, []string{"transforms: u is in the list twice"}},
		{"unknown_property", map[string]string{"transforms": "u", "transforms.u.type": "unwrap", "transforms.u.add.field": "op"}, []string{"transforms.u.add.field: unknown property of transform unwrap: did you mean add.fields?"}},
		{"predicates", map[string]string{"transforms": "u,r", "transforms.u.type": "unwrap", "transforms.u.predicate": "q", "transforms.u.negate": "yes",
			"transforms.r.type": "route", "transforms.r.regex": "a", "transforms.r.replacement": "b", "transforms.r.negate": "true",
			"predicates": "p,h,x,n,p", "predicates.p.type": "TopicNameMatches", "predicates.p.pattern": "(", "predicates.h.type": "org.apache.kafka.connect.transforms.predicates.HasHeaderKey",
			"predicates.x.type": "TopicNameMatch", "predicates.n.type": "RecordIsTombstone", "predicates.n.pattern": "x"},
			[]string{"predicates.p.pattern: \"(\" is not a regular expression", "predicates.h.name: is required", "predicates.x.type: unknown predicate TopicNameMatch: did you mean TopicNameMatches?",
				"predicates.n.pattern: unknown property of predicate RecordIsTombstone", "predicates.p.pattern: \"(\" is not", "predicates: p is in the list twice",
				"transforms.u.predicate: q is not in the list of predicates", "transforms.u.negate: must be true or false", "transforms.r.negate: is of use together with predicate only"}},
		{"filter", map[string]string{"transforms": "f", "transforms.f.type": "org.apache.kafka.connect.transforms.Filter"}, []string{"transforms.f.predicate: is required"}},
		{"all_at_once", map[string]string{"transforms": "a,b,c", "transforms.a.type": "route", "transforms.b.type": "mask", "transforms.c.type": "unwrap", "transforms.c.add.fields": "opp"},
			[]string{"transforms.a.regex: is required", "transforms.a.replacement: is required", "transforms.b.columns: columns or fields is required", "did you mean op?"}},
		{"regex", map[string]string{"transforms": "r", "transforms.r.type": "route", "transforms.r.regex": "(", "transforms.r.replacement": "x"}, []string{"transforms.r.regex: \"(\" is not a regular expression"}},
		{"group", map[string]string{"transforms": "r", "transforms.r.type": "route", "transforms.r.regex": "a", "transforms.r.replacement": "$x"}, []string{"transforms.r.replacement: \"$x\": after $ must come"}},
		{"salt", map[string]string{"transforms": "m", "transforms.m.type": "mask", "transforms.m.fields": "x", "transforms.m.mode": "hash"}, []string{"transforms.m.salt: is required"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			chain, problems := transform.Build(tt.props, plugins())
			if chain != nil || len(problems) != len(tt.want) {
				t.Fatalf("got %v, want %v", problems, tt.want)
			}
			for i, p := range problems {
				if !strings.Contains(p.String(), tt.want[i]) {
					t.Errorf("got %q, want %q", p, tt.want[i])
				}
			}
		})
	}
}

func TestCheckLeavesPlaceholders(t *testing.T) {
	props := map[string]string{"transforms": "r,m", "transforms.r.type": "route", "transforms.r.regex": "${env:RE}(", "transforms.r.replacement": "${env:TO}",
		"transforms.m.type": "mask", "transforms.m.fields": "x", "transforms.m.mode": "hash", "transforms.m.salt": "${file:/s:salt}"}
	if p := transform.Check(props, plugins()); len(p) != 0 {
		t.Error(p)
	}
}

func shopTable() *change.Table {
	return &change.Table{
		Name:   change.TableName{Database: "shop", Schema: "public", Table: "orders"},
		Origin: &change.Origin{Connector: "postgresql", Name: "shop", Version: "1"},
		Columns: []change.Column{{Name: "id", Type: change.Type{Kind: change.Int, Bits: 64}}, {Name: "card", Nullable: true, Type: change.Type{Kind: change.Text}},
			{Name: "note", Nullable: true, Type: change.Type{Kind: change.Text}}},
		Key: []int{0},
	}
}

// Whatever the chain, it drops or rewrites events: it never reorders them, splits one, changes a key, shows a masked
// value, invents a value for an Absent column or writes into the row that it was given.
func TestChainLaws(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		mode := rapid.SampledFrom([]string{"tombstone", "drop", "rewrite", "rewrite-with-tombstone", "delete-to-tombstone"}).Draw(t, "mode")
		maskMode := rapid.SampledFrom([]string{"zero", "fixed", "hash", "null"}).Draw(t, "mask")
		props := map[string]string{
			"transforms": strings.Join(rapid.Permutation([]string{"u", "r", "m"}).Draw(t, "order"), ","), "transforms.u.type": "unwrap",
			"transforms.u.delete.tombstone.handling.mode": mode, "transforms.u.add.headers": "op",
			"transforms.r.type": "route", "transforms.r.regex": "shop\\.(.*)", "transforms.r.replacement": "r-$1",
			"transforms.m.type": "mask", "transforms.m.columns": "public.orders.card", "transforms.m.mode": maskMode,
		}
		if maskMode == "hash" {
			props["transforms.m.salt"] = "pepper"
		}
		if rapid.Bool().Draw(t, "fields") {
			props["transforms.u.add.fields"] = "op,table,lsn,source.ts_ms"
		}
		chain, problems := transform.Build(props, plugins())
		if problems != nil {
			t.Fatal(problems)
		}
		table := shopTable()
		var b change.Batch
		n := rapid.IntRange(0, 20).Draw(t, "events")
		for i := range n {
			drawEvent(t, &b, table, uint64(i+1))
		}
		var original change.Batch
		for i := range b.Events {
			original.CopyEvent(&b.Events[i])
		}
		given := append([]change.Event(nil), b.Events...)
		if err := chain.Apply(context.Background(), &b); err != nil {
			t.Fatal(err)
		}
		checkLaws(t, &b, &original, mode)
		for i := range given { // the rows that came in are as they were
			for j, v := range given[i].After {
				if w := original.Events[i].After[j]; v.Kind != w.Kind || !bytes.Equal(v.Data, w.Data) {
					t.Fatalf("event %d: the row that was given was written to", i)
				}
			}
		}
	})
}

func drawEvent(t *rapid.T, b *change.Batch, table *change.Table, lsn uint64) {
	e := b.Add()
	e.Table, e.LSN, e.Topic = table, lsn, rapid.SampledFrom([]string{"shop.public.orders", "other"}).Draw(t, "topic")
	e.Op = rapid.SampledFrom([]change.Op{'r', 'c', 'u', 'd', 'x', 't', 'm'}).Draw(t, "op")
	image := func() change.Row {
		r := b.Row(3)
		r[0] = change.Value{Kind: change.Int, Num: lsn}
		for i := 1; i < 3; i++ {
			switch rapid.IntRange(0, 2).Draw(t, "value") {
			case 0:
				r[i] = change.Value{Kind: change.Null}
			case 1:
				r[i] = change.Value{Kind: change.Text, Data: b.Copy([]byte("4111-secret"))}
			}
		}
		return r
	}
	switch e.Op {
	case change.OpMessage:
		e.Raw, e.Table = &change.Raw{Value: []byte("m")}, nil
	case change.OpDelete, change.OpTombstone:
		e.Before = image()
	case change.OpUpdate:
		e.Before, e.After = image(), image()
	case change.OpTruncate:
	default:
		e.After = image()
	}
	if e.Table != nil && e.Op != change.OpTruncate {
		r := e.After
		if r == nil {
			r = e.Before
		}
		e.Key, _ = change.AppendKey(nil, table, r)
	}
}

func checkLaws(t *rapid.T, b, original *change.Batch, mode string) {
	at := 0
	for i := range b.Events {
		e := &b.Events[i]
		for at < len(original.Events) && original.Events[at].LSN != e.LSN {
			o := original.Events[at]
			if dropsDelete := mode == "drop" && o.Op == change.OpDelete; !dropsDelete && (o.Op != change.OpTombstone || mode != "drop" && mode != "rewrite") {
				t.Fatalf("event %d (%c) is missing or out of order in mode %s", at, o.Op, mode)
			}
			at++
		}
		if at == len(original.Events) {
			t.Fatalf("event with lsn %d came twice or out of order", e.LSN)
		}
		o := &original.Events[at]
		at++
		if !bytes.Equal(e.Key, o.Key) {
			t.Fatalf("the key of event %d changed", at)
		}
		for _, rows := range [][2]change.Row{{e.Before, o.Before}, {e.After, o.After}} {
			if rows[0] != nil && len(rows[0]) != len(e.Table.Columns) {
				t.Fatalf("row of %d values for %d columns", len(rows[0]), len(e.Table.Columns))
			}
			for j, was := range rows[1] {
				if now := rows[0][j]; was.Kind == change.Absent && now.Kind != change.Absent {
					t.Fatalf("an Absent column became %s", now.Kind)
				}
			}
			if len(rows[0]) > 1 && bytes.Contains(rows[0][1].Data, []byte("secret")) {
				t.Fatalf("a masked value is shown")
			}
		}
	}
}
