package unwrap

import (
	"context"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/internal/fault"
	"github.com/tailrace/tailrace/transform"
)

// maxTables bounds the cache of derived tables; a source has far fewer.
const maxTables = 16 << 10

// An unwrapper is not safe for concurrent use.
type unwrapper struct {
	mode    mode
	fields  []field // added as columns
	headers []field
	routeBy string            // the column that names the topic; empty: none
	topics  map[string]string // by the text of that column

	tables map[*change.Table]*derived
	last   *derived
}

var _ transform.Transform = (*unwrapper)(nil)

// derived is what is known of one source table. Its byte slices are shared by rows and never written to.
type derived struct {
	source *change.Table
	route  int           // the column that names the topic, -1 if there is none
	table  *change.Table // source with the added columns; source itself if there are none
	fixed  [][]byte      // of fields, the texts that are the same for all rows
	quoted [][]byte      // of headers, likewise
}

// Apply implements transform.Transform.
func (u *unwrapper) Apply(_ context.Context, b *change.Batch) error {
	kept := b.Events[:0]
	var room []change.Header // one allocation for the headers of the whole batch
	for i := range b.Events {
		e := &b.Events[i]
		switch {
		case e.Raw != nil || e.Table == nil:
		case e.Op == change.OpRead, e.Op == change.OpCreate, e.Op == change.OpUpdate, e.Op == change.OpDelete:
			if e.Op == change.OpDelete && u.mode == drop {
				continue
			}
			if len(u.headers) > 0 {
				room = u.addHeaders(b, e, room, len(b.Events)-i)
			}
			if err := u.route(e); err != nil {
				return err
			}
			if err := u.flatten(b, e); err != nil {
				return err
			}
		case e.Op == change.OpTombstone:
			if u.mode == drop || u.mode == rewrite {
				continue
			}
			if err := u.route(e); err != nil {
				return err
			}
			e.Flat = true
			if len(u.fields) > 0 {
				d, err := u.derive(e.Table)
				if err != nil {
					return err
				}
				e.Table, e.Before = d.table, extend(b, e.Before, len(d.table.Columns))
			}
		case e.Op == change.OpTruncate, e.Op == change.OpMessage:
		default:
			return fault.Permanentf("EVENT_UNKNOWN", "report this as a bug", "unwrap got an event with operation %q", e.Op)
		}
		kept = append(kept, *e)
	}
	clear(b.Events[len(kept):])
	b.Events = kept
	return nil
}

// flatten marks a row as flat, adds its columns and rewrites a delete.
func (u *unwrapper) flatten(b *change.Batch, e *change.Event) error {
	e.Flat = true
	if e.Op == change.OpDelete && u.mode == tombstone && e.Key != nil {
		e.Op = change.OpTombstone // and no other follows it
	}
	if len(u.fields) == 0 {
		return nil
	}
	d, err := u.derive(e.Table)
	if err != nil {
		return err
	}
	n := len(d.table.Columns)
	before, after := extend(b, e.Before, n), extend(b, e.After, n)
	rewriting := e.Op == change.OpDelete && before != nil && (u.mode == rewrite || u.mode == rewriteWithTombstone)
	if rewriting && after == nil {
		after = extend(b, before, n)
	}
	if after != nil {
		first := len(e.Table.Columns)
		for i, f := range u.fields {
			after[first+i] = f.value(e, d.fixed[i])
		}
	}
	e.Table, e.Before, e.After = d.table, before, after
	if rewriting && u.mode == rewrite {
		e.Op = change.OpUpdate
	}
	return nil
}

// route lets the row name its topic.
func (u *unwrapper) route(e *change.Event) error {
	if u.routeBy == "" {
		return nil
	}
	row, column := e.After, u.known(e.Table).route
	if row == nil {
		row = e.Before
	}
	if column < 0 || column >= len(row) || row[column].Kind != change.Text || len(row[column].Data) == 0 {
		return fault.Permanentf("ROUTE_FIELD", "let route.by.field name a text column that is never NULL; for deletes it must be in the key, or the table have REPLICA IDENTITY FULL",
			"an event (op %c) of table %s has no text in column %s to name its topic", e.Op, e.Table.Name, u.routeBy)
	}
	topic, ok := u.topics[string(row[column].Data)]
	if !ok {
		if len(u.topics) >= maxTables {
			clear(u.topics)
		}
		topic = string(row[column].Data)
		u.topics[topic] = topic
	}
	e.Topic = topic
	return nil
}

// extend copies r into a row of n columns, the new ones Absent. The bytes are shared. A nil row gives nil.
func extend(b *change.Batch, r change.Row, n int) change.Row {
	if r == nil {
		return nil
	}
	out := b.Row(n)
	copy(out, r)
	return out
}

// addHeaders appends the headers of e, which come from room; left is the number of events that still need some.
func (u *unwrapper) addHeaders(b *change.Batch, e *change.Event, room []change.Header, left int) []change.Header {
	d := u.known(e.Table)
	need := len(e.Headers) + len(u.headers)
	if cap(room)-len(room) < need {
		room = make([]change.Header, 0, max(need, left*need))
	}
	from := len(room)
	room = append(room, e.Headers...)
	for i, h := range u.headers {
		room = append(room, change.Header{Key: h.name, Value: h.header(b, e, d.quoted[i])})
	}
	e.Headers = room[from:len(room):len(room)]
	return room
}

// derive returns what is known of t, with its derived table.
func (u *unwrapper) derive(t *change.Table) (*derived, error) {
	d := u.known(t)
	if d.table != nil {
		return d, nil
	}
	c := *t
	c.Columns = make([]change.Column, len(t.Columns), len(t.Columns)+len(u.fields))
	copy(c.Columns, t.Columns)
	for _, f := range u.fields {
		if t.Column(f.name) >= 0 {
			return nil, fault.Permanentf("COLUMN_EXISTS", "choose another add.fields.prefix, or give the field a name with field:name",
				"unwrap can't add a column %s to table %s, which has one", f.name, t.Name)
		}
		c.Columns = append(c.Columns, f.column())
	}
	d.table = &c
	return d, nil
}

func (u *unwrapper) known(t *change.Table) *derived {
	if u.last != nil && u.last.source == t {
		return u.last
	}
	d := u.tables[t]
	if d == nil {
		d = &derived{source: t, route: t.Column(u.routeBy)}
		for _, f := range u.fields {
			d.fixed = append(d.fixed, f.fixedFor(t, func(s string) []byte { return []byte(s) }))
		}
		for _, h := range u.headers {
			d.quoted = append(d.quoted, h.fixedFor(t, quote))
		}
		if u.tables == nil || len(u.tables) >= maxTables {
			u.tables = map[*change.Table]*derived{}
		}
		u.tables[t] = d
	}
	u.last = d
	return d
}

func (f field) fixedFor(t *change.Table, write func(string) []byte) []byte {
	if f.get.table == nil {
		return nil
	}
	return write(f.get.table(t))
}
