package transform_test

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/internal/jsontext"
	"github.com/tailrace/tailrace/transform"
)

// TestGolden compares what chains make of events with what Debezium and Kafka Connect made of the same: which records
// there are, with a value or without, in which topics, their columns in order and their headers. Values are compared where
// they don't depend on a connector's formats.
func TestGolden(t *testing.T) {
	for _, dir := range []string{"smt_unwrap_default", "smt_unwrap_drop", "smt_unwrap_rewrite_fields", "smt_unwrap_tombstone"} {
		t.Run(dir, func(t *testing.T) {
			table := &change.Table{Name: change.TableName{Database: "refdb", Schema: "public", Table: "st"}, Origin: &change.Origin{Connector: "postgresql", Name: "ref"}, Key: []int{0},
				Columns: []change.Column{{Name: "id", Type: change.Type{Kind: change.Int}}, {Name: "v", Nullable: true, Type: change.Type{Kind: change.Text}}, {Name: "n", Nullable: true, Type: change.Type{Kind: change.Decimal}}}}
			null := change.Value{Kind: change.Null}
			row := func(id uint64, v string, n string) change.Row {
				return change.Row{{Kind: change.Int, Num: id}, {Kind: change.Text, Data: []byte(v)}, {Kind: change.Decimal, Data: []byte(n)}}
			}
			gone := func(id uint64) change.Row { return change.Row{{Kind: change.Int, Num: id}, null, null} }
			var b change.Batch
			add := func(op change.Op, before, after change.Row, headers ...change.Header) {
				key := before
				if after != nil {
					key = after
				}
				e := b.Add()
				*e = change.Event{Table: table, Op: op, Before: before, After: after, Topic: "ref.public.st", Headers: headers, LSN: 1, Commit: 1}
				e.Key, _ = change.AppendKey(nil, table, key)
			}
			add(change.OpRead, nil, row(1, "snap", "1.50"))
			add(change.OpCreate, nil, row(2, "two", "2"))
			add(change.OpUpdate, nil, row(2, "dos", "2"))
			add(change.OpDelete, gone(2), nil, change.Header{Key: change.HeaderNewKey})
			add(change.OpCreate, nil, row(3, "dos", "2"), change.Header{Key: change.HeaderOldKey})
			add(change.OpDelete, gone(3), nil)
			*b.Add() = change.Event{Op: change.OpMessage, Topic: "ref.message", Raw: &change.Raw{Value: []byte("m"), Form: change.FormMessage}}
			compareGolden(t, dir, &b)
		})
	}
	t.Run("smt_regex_router_predicate", func(t *testing.T) {
		var b change.Batch
		for i, op := range "ccdd" {
			name := []string{"log_a", "keep_b"}[i%2]
			table := &change.Table{Name: change.TableName{Schema: "public", Table: name}, Key: []int{0}, Columns: []change.Column{{Name: "id", Type: change.Type{Kind: change.Int}}}}
			row := change.Row{{Kind: change.Int, Num: 1}}
			e := b.Add()
			*e = change.Event{Table: table, Op: change.Op(op), After: row, Topic: "ref.public." + name}
			if op == 'd' {
				e.Before, e.After = row, nil
			}
			e.Key, _ = change.AppendKey(nil, table, row)
		}
		compareGolden(t, "smt_regex_router_predicate", &b)
	})
}

type goldenRecord struct {
	Topic   string
	Value   json.RawMessage
	Headers []struct {
		Key   string
		Value json.RawMessage
	}
}

func compareGolden(t *testing.T, dir string, b *change.Batch) {
	t.Helper()
	chain, problems := transform.Build(properties(t, dir), plugins())
	if problems != nil {
		t.Fatal(problems)
	}
	if err := chain.Apply(context.Background(), b); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join("testdata", "golden", dir, "records.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	var want, got []string
	for line := range bytes.SplitSeq(bytes.TrimSpace(text), []byte("\n")) {
		var r goldenRecord
		if err := json.Unmarshal(line, &r); err != nil {
			t.Fatal(err)
		}
		var headers []string
		for _, h := range r.Headers {
			switch {
			case strings.HasPrefix(h.Key, "__debezium.context."):
			case strings.HasSuffix(h.Key, "key"):
				headers = append(headers, h.Key)
			default:
				headers = append(headers, h.Key+"="+string(h.Value))
			}
		}
		want = append(want, line3(r.Topic, shape(t, r.Value), headers))
	}
	for i := range b.Events {
		e := &b.Events[i]
		var headers []string
		for _, h := range e.Headers {
			if strings.HasSuffix(h.Key, "key") {
				headers = append(headers, h.Key)
			} else {
				headers = append(headers, h.Key+"="+string(h.Value))
			}
		}
		got = append(got, line3(e.Topic, shape(t, written(e)), headers))
		if e.Op == change.OpDelete && !e.NoTombstone {
			got = append(got, line3(e.Topic, "null", headers))
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func line3(topic, value string, headers []string) string {
	return topic + " " + value + " " + strings.Join(headers, ",")
}

// written is the value of an event's record as far as shape looks at it.
func written(e *change.Event) []byte {
	switch {
	case e.Raw != nil:
		return []byte(`{"op":"m"}`)
	case e.Op == change.OpTombstone:
		return []byte("null")
	case !e.Flat:
		return []byte(`{"op":"` + string(rune(e.Op)) + `"}`)
	}
	return jsontext.AppendRow(nil, e.Table, e.After)
}

// shape keeps of a value the op of an envelope, or the names of a row's columns and those values that no format touches.
func shape(t *testing.T, value []byte) string {
	t.Helper()
	if len(value) == 0 || string(value) == "null" {
		return "null"
	}
	d := json.NewDecoder(bytes.NewReader(value))
	var out []string
	var members map[string]json.RawMessage
	if err := json.Unmarshal(value, &members); err != nil {
		t.Fatal(err)
	}
	if op, ok := members["op"]; ok {
		return "op=" + string(op)
	}
	if _, err := d.Token(); err != nil {
		t.Fatal(err)
	}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			t.Fatal(err)
		}
		var v json.RawMessage
		if err := d.Decode(&v); err != nil {
			t.Fatal(err)
		}
		switch n := name.(string); n {
		case "n", "_lsn", "_source_ts_ms":
			out = append(out, n)
		default:
			out = append(out, n+"="+string(v))
		}
	}
	return strings.Join(out, " ")
}

func properties(t *testing.T, dir string) map[string]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "golden", dir, "connector.properties"))
	if err != nil {
		t.Fatal(err)
	}
	props := map[string]string{}
	for line := range strings.SplitSeq(string(text), "\n") {
		if name, value, ok := strings.Cut(line, "="); ok {
			props[name] = value
		}
	}
	return props
}
