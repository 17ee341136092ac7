package transform_test

import (
	"context"
	"strings"
	"testing"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/transform"
)

// trace shows what became of events: op, topic's first letter, and ! for a delete that no tombstone follows.
func trace(b *change.Batch) string {
	var s strings.Builder
	for i := range b.Events {
		e := &b.Events[i]
		s.WriteString(string(rune(e.Op)) + e.Topic[:1])
		if e.NoTombstone {
			s.WriteByte('!')
		}
		s.WriteByte(' ')
	}
	return strings.TrimSpace(s.String())
}

// TestPredicates applies transforms to some of the events of: c, u in topic a; c, d in topic b, the c with a header; x in topic a.
func TestPredicates(t *testing.T) {
	route := map[string]string{"transforms": "t", "transforms.t.type": "route", "transforms.t.regex": ".*", "transforms.t.replacement": "z"}
	filter := map[string]string{"transforms": "t", "transforms.t.type": "filter"}
	topic := map[string]string{"predicates.p.type": "TopicNameMatches", "predicates.p.pattern": "a|ab"}
	header := map[string]string{"predicates.p.type": "org.apache.kafka.connect.transforms.predicates.HasHeaderKey", "predicates.p.name": "h"}
	tombstone := map[string]string{"predicates.p.type": "RecordIsTombstone"}
	for _, tt := range []struct {
		name              string
		transform, choice map[string]string
		plain, negated    string
	}{
		{"topic", route, topic, "cz uz cb db xz", "ca ua cz dz xa"},
		{"header", route, header, "ca ua cz db xa", "cz uz cb dz xz"},
		{"tombstone", route, tombstone, "ca ua cb db xz", "cz uz cz dz xa"},
		{"filter_topic", filter, topic, "cb db", "ca ua xa"},
		{"filter_header", filter, header, "ca ua db xa", "cb"},
		{"filter_tombstone", filter, tombstone, "ca ua cb db!", "xb xa"},
	} {
		for negate, want := range map[string]string{"": tt.plain, "false": tt.plain, "TRUE": tt.negated} {
			t.Run(tt.name+"_negate_"+negate, func(t *testing.T) {
				props := map[string]string{"predicates": "p", "transforms.t.predicate": "p"}
				for _, more := range []map[string]string{tt.transform, tt.choice} {
					for k, v := range more {
						props[k] = v
					}
				}
				if negate != "" {
					props["transforms.t.negate"] = negate
				}
				chain, problems := transform.Build(props, plugins())
				if problems != nil {
					t.Fatal(problems)
				}
				var b change.Batch
				table := shopTable()
				for i, op := range "cucdx" {
					e := b.Add()
					e.Table, e.Op, e.Topic, e.Key = table, change.Op(op), string("aabba"[i]), []byte{byte(i)}
				}
				b.Events[2].Headers = []change.Header{{Key: "h"}}
				if err := chain.Apply(context.Background(), &b); err != nil {
					t.Fatal(err)
				}
				if got := trace(&b); got != want {
					t.Errorf("got  %s\nwant %s", got, want)
				}
			})
		}
	}
}

// TestConditionalAllocatesNothing: a predicate costs no memory for a row.
func TestConditionalAllocatesNothing(t *testing.T) {
	chain, problems := transform.Build(map[string]string{"transforms": "r", "transforms.r.type": "route", "transforms.r.regex": "a", "transforms.r.replacement": "b",
		"transforms.r.predicate": "p", "predicates": "p", "predicates.p.type": "TopicNameMatches", "predicates.p.pattern": "a"}, plugins())
	if problems != nil {
		t.Fatal(problems)
	}
	var b change.Batch
	for i := range 100 {
		b.Add().Topic = string("ac"[i/10%2])
	}
	run := func() {
		for i := range b.Events {
			b.Events[i].Topic = "ac"[i/10%2 : i/10%2+1]
		}
		if err := chain.Apply(context.Background(), &b); err != nil {
			t.Fatal(err)
		}
	}
	run()
	if n := testing.AllocsPerRun(20, run); n > 0 {
		t.Errorf("%v allocations, want none", n)
	}
}
