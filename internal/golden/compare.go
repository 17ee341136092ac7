package golden

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/big"
	"regexp"
	"slices"
	"sort"
	"strings"
)

// A Mismatch is a member of a record that differs.
type Mismatch struct {
	Topic string
	Index int    // of the record in its topic
	Path  string // key.id, value.payload.after.price, headers
	Want  any    // Debezium's, Missing if it has no such member
	Got   any    // ours, Missing if there is none
	// Op is the op of Debezium's record, Schema the Connect schema of the member's row, nil where there are none.
	Op     string
	Schema *Schema
}

// Missing stands for a member that is not there.
type Missing struct{}

func (m Mismatch) String() string {
	return fmt.Sprintf("%s %d %s: %s, Debezium has %s", m.Topic, m.Index, m.Path, show(m.Got), show(m.Want))
}

func show(v any) string {
	if _, ok := v.(Missing); ok {
		return "nothing"
	}
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	if len(b) > 200 {
		return string(b[:200]) + "..."
	}
	return string(b)
}

// Schema is a Connect schema, as far as differences ask for it.
type Schema struct {
	Type     string
	Name     string
	Optional bool
	Default  any
	Field    string
	Fields   []Schema
	Items    *Schema
}

// varying are the members whose values differ from run to run. They are compared by type.
var varying = regexp.MustCompile(`^value(\.payload)?\.(ts_ms|ts_us|ts_ns|timestamp|transaction\.id|additional_data\.data_collections|` +
	`source\.(ts_ms|ts_us|ts_ns|lsn|sequence|txId|origin_lsn|version|db|file|pos|gtid|server_id|thread))$|` +
	`^headers\.__debezium\.context\.runId(\.payload)?$`)

// named are the identities of records that are about something else than rows. They vary, too.
var named = regexp.MustCompile(`^(key|value)(\.payload)?\.id$`)

// Compare returns what differs, topic by topic.
func Compare(want, got []Record) []Mismatch {
	var list []Mismatch
	topics := map[string]bool{}
	for _, r := range slices.Concat(want, got) {
		topics[r.Topic] = true
	}
	names := make([]string, 0, len(topics))
	for t := range topics {
		names = append(names, t)
	}
	sort.Strings(names)
	for _, t := range names {
		w, g := of(want, t), of(got, t)
		for i := range max(len(w), len(g)) {
			switch {
			case i >= len(g):
				list = append(list, Mismatch{Topic: t, Index: i, Path: "record", Want: brief(w[i]), Got: Missing{}})
			case i >= len(w):
				list = append(list, Mismatch{Topic: t, Index: i, Path: "record", Want: Missing{}, Got: brief(g[i])})
			default:
				list = append(list, compareRecord(t, i, w[i], g[i])...)
			}
		}
	}
	return list
}

func of(recs []Record, topic string) []Record {
	var list []Record
	for _, r := range recs {
		if r.Topic == topic {
			list = append(list, r)
		}
	}
	return list
}

func brief(r Record) string { return string(r.Key) + " " + string(r.Value) }

func compareRecord(topic string, index int, want, got Record) []Mismatch {
	c := comparer{m: Mismatch{Topic: topic, Index: index}}
	value := parse(want.Value)
	payload := value
	if s := schemaOf(value); s != nil {
		c.schema, payload = s, value.(map[string]any)["payload"]
	}
	if p, ok := payload.(map[string]any); ok {
		c.m.Op, _ = p["op"].(string)
		_, transaction := p["event_count"]
		_, notification := p["aggregate_type"]
		c.random = transaction || notification
	}
	c.compare("key", parse(want.Key), parse(got.Key))
	c.compare("value", value, parse(got.Value))
	c.compare("headers", headers(want.Headers), headers(got.Headers))
	return c.list
}

// schemaOf returns the schema of a converted value, nil if it has none.
func schemaOf(v any) *Schema {
	m, ok := v.(map[string]any)
	if !ok || len(m) != 2 || m["schema"] == nil {
		return nil
	}
	b, err := json.Marshal(m["schema"])
	if err != nil {
		return nil
	}
	s := &Schema{}
	if json.Unmarshal(b, s) != nil {
		return nil
	}
	return s
}

// parse parses JSON; numbers keep their digits.
func parse(p json.RawMessage) any {
	if p == nil {
		return nil
	}
	d := json.NewDecoder(bytes.NewReader(p))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return "invalid JSON: " + err.Error()
	}
	return v
}

// headers makes an object of headers; their order is its own member.
func headers(hs []Header) any {
	m, order := map[string]any{}, []any{}
	for _, h := range hs {
		m[h.Key] = parse(h.Value)
		order = append(order, h.Key)
	}
	m["(order)"] = order
	return m
}

type comparer struct {
	m      Mismatch
	schema *Schema
	random bool // the record's id varies
	list   []Mismatch
}

func (c *comparer) report(path string, want, got any) {
	m := c.m
	m.Path, m.Want, m.Got, m.Schema = path, want, got, c.schema
	c.list = append(c.list, m)
}

func (c *comparer) compare(path string, want, got any) {
	if varying.MatchString(path) || c.random && named.MatchString(path) {
		if fmt.Sprintf("%T", want) != fmt.Sprintf("%T", got) {
			c.report(path, want, got)
		}
		return
	}
	switch w := want.(type) {
	case map[string]any:
		g, ok := got.(map[string]any)
		if !ok {
			c.report(path, want, got)
			return
		}
		for _, k := range members(w, g) {
			wv, inW := w[k]
			gv, inG := g[k]
			switch {
			case !inW:
				c.report(path+"."+k, Missing{}, gv)
			case !inG:
				c.report(path+"."+k, wv, Missing{})
			default:
				c.compare(path+"."+k, wv, gv)
			}
		}
	case []any:
		g, ok := got.([]any)
		if !ok {
			c.report(path, want, got)
			return
		}
		c.elements(path, w, g)
	case json.Number:
		g, ok := got.(json.Number)
		if !ok || !sameNumber(w, g) {
			c.report(path, want, got)
		}
	default:
		if want != got {
			c.report(path, want, got)
		}
	}
}

// elements compares lists: those of schema fields by the fields' names, others by place.
func (c *comparer) elements(path string, want, got []any) {
	if strings.HasSuffix(path, ".fields") {
		w, wo := byField(want)
		g, gotOrder := byField(got)
		c.compare(path, w, g)
		common := func(list []any, in map[string]any) (out []any) {
			for _, name := range list {
				if _, ok := in[name.(string)]; ok {
					out = append(out, name)
				}
			}
			return out
		}
		c.compare(path+".(order)", common(wo, g), common(gotOrder, w))
		return
	}
	if strings.HasSuffix(path, ".data_collections") { // in no order
		byName := func(list []any) []any {
			list = slices.Clone(list)
			slices.SortFunc(list, func(a, b any) int { return strings.Compare(show(a), show(b)) })
			return list
		}
		want, got = byName(want), byName(got)
	}
	if len(want) != len(got) {
		c.report(path, want, got)
		return
	}
	for i := range want {
		c.compare(fmt.Sprintf("%s[%d]", path, i), want[i], got[i])
	}
}

func byField(list []any) (fields map[string]any, order []any) {
	fields, order = map[string]any{}, []any{}
	for _, e := range list {
		m, ok := e.(map[string]any)
		if !ok {
			continue
		}
		if name, ok := m["field"].(string); ok {
			fields[name] = e
			order = append(order, name)
		}
	}
	return fields, order
}

func members(a, b map[string]any) []string {
	var names []string
	for k := range a {
		names = append(names, k)
	}
	for k := range b {
		if _, ok := a[k]; !ok {
			names = append(names, k)
		}
	}
	sort.Strings(names)
	return names
}

// sameNumber compares numbers by value, not by their digits.
func sameNumber(a, b json.Number) bool {
	if a == b {
		return true
	}
	x, ok := new(big.Float).SetPrec(2000).SetString(a.String())
	y, ok2 := new(big.Float).SetPrec(2000).SetString(b.String())
	return ok && ok2 && x.Cmp(y) == 0
}
