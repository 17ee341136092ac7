package compare

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// A Record is one record of the log as `tailrace tail -o json` prints it. Its bytes are valid during the call that gets it.
type Record struct {
	Topic     string
	Partition int32
	Offset    int64
	Key       []byte // JSON; nil: null
	Value     []byte // JSON; nil: null, which is a tombstone
}

// maxLine bounds one line of the log's text.
const maxLine = 256 << 20

// Records calls visit for each record in the output of `tailrace tail -o json`.
func Records(in io.Reader, visit func(*Record) error) error {
	lines := bufio.NewScanner(in)
	lines.Buffer(make([]byte, 1<<20), maxLine)
	for lines.Scan() {
		r, err := ParseRecord(lines.Bytes())
		if err != nil {
			return err
		}
		if err := visit(&r); err != nil {
			return err
		}
	}
	return lines.Err()
}

// ParseRecord reads a line of such output. The record's bytes are the line's.
func ParseRecord(line []byte) (r Record, err error) {
	err = object(line, func(name, value []byte) (err error) {
		switch string(name) {
		case "topic":
			var topic []byte
			topic, err = unquote(value)
			r.Topic = string(topic)
		case "partition":
			var n int64
			n, err = strconv.ParseInt(string(value), 10, 32)
			r.Partition = int32(n)
		case "offset":
			r.Offset, err = strconv.ParseInt(string(value), 10, 64)
		case "key":
			r.Key = present(value)
		case "value":
			r.Value = present(value)
		}
		return err
	})
	if err != nil {
		err = fmt.Errorf("record %.80q: %w", line, err)
	}
	return r, err
}

// present returns nil for null.
func present(value []byte) []byte {
	if string(value) == "null" {
		return nil
	}
	return value
}

// An Event is what a record's value says, if it is a change event.
type Event struct {
	Op            string // r c u d t m
	Before, After []byte // JSON objects; nil: null
	Source        []byte // JSON object
}

// ParseEvent reads the value of a record. Its bytes are the record's.
func ParseEvent(value []byte) (Event, error) {
	var e Event
	err := object(value, func(name, value []byte) (err error) {
		switch string(name) {
		case "op":
			var op []byte
			op, err = unquote(value)
			e.Op = string(op)
		case "before":
			e.Before = present(value)
		case "after":
			e.After = present(value)
		case "source":
			e.Source = present(value)
		}
		return err
	})
	if err == nil && e.Op == "" {
		err = errors.New("no change event: it has no op")
	}
	return e, err
}

// Member returns the text of one member of a JSON object, without quotation marks if it is a string; "" if it is null or not
// there.
func Member(p []byte, name string) (string, error) {
	var found string
	err := object(p, func(n, value []byte) error {
		if string(n) != name || string(value) == "null" {
			return nil
		}
		if value[0] == '"' {
			text, err := unquote(value)
			found = string(text)
			return err
		}
		found = string(value)
		return nil
	})
	return found, err
}

// log is the log as its consumers see it.
type log struct {
	tail  func(ctx context.Context, topic string) (io.ReadCloser, error)
	topic func(*Table) string
}

// NewLog returns the side that the log is: the fold of each table's events. tail opens the output of `tailrace tail TOPIC --from
// start --until end -o json`, nil if there is no such topic; an error that its Close returns counts.
func NewLog(tail func(ctx context.Context, topic string) (io.ReadCloser, error), topic func(*Table) string) Side {
	return &log{tail, topic}
}

// Name implements Side.
func (*log) Name() string { return "log" }

// Read implements Side. It holds the table's rows in memory.
func (l *log) Read(ctx context.Context, t *Table, emit func(key, line string) error) error {
	in, err := l.tail(ctx, l.topic(t))
	if err != nil || in == nil {
		return err
	}
	f := NewFold(t)
	err = errors.Join(Records(in, f.Record), in.Close())
	if err != nil {
		return err
	}
	for key, line := range f.rows {
		if err := emit(key, line); err != nil {
			return err
		}
	}
	for line, n := range f.bag {
		if n < 0 {
			return fmt.Errorf("%s: row %.60q was taken away %d times too often", t, line, -n)
		}
		for range n {
			if err := emit(line, line); err != nil {
				return err
			}
		}
	}
	return nil
}

// A Fold is the state that a table's records lead to, taken in the order of their offsets.
type Fold struct {
	t    *Table
	rows map[string]string
	bag  map[string]int // of a table without a key: how often each row is there
	row  row
}

// NewFold returns the state of an empty table.
func NewFold(t *Table) *Fold { return &Fold{t: t, rows: map[string]string{}, bag: map[string]int{}} }

// Key returns the canonical key of a record, "" if it has none.
func (f *Fold) Key(r *Record) (string, error) {
	if r.Key == nil || len(f.t.Key) == 0 {
		return "", nil
	}
	f.row.clear(f.t)
	if err := f.row.document(r.Key, envelope); err != nil {
		return "", err
	}
	return f.row.key(), nil
}

// Row returns the canonical text of the row with the given canonical key.
func (f *Fold) Row(key string) (string, bool) {
	line, ok := f.rows[key]
	return line, ok
}

// Record applies one record.
func (f *Fold) Record(r *Record) error {
	if r.Value == nil { // a tombstone repeats the delete before it; after compaction it is all there is
		f.row.clear(f.t)
		if r.Key == nil {
			return nil
		}
		if err := f.row.document(r.Key, envelope); err != nil {
			return err
		}
		delete(f.rows, f.row.key())
		return nil
	}
	e, err := ParseEvent(r.Value)
	if err != nil {
		return fmt.Errorf("%s partition %d offset %d: %w", r.Topic, r.Partition, r.Offset, err)
	}
	switch e.Op {
	case "t":
		clear(f.rows)
		clear(f.bag)
		return nil
	case "m":
		return nil
	}
	if len(f.t.Key) == 0 {
		return f.count(r, e)
	}
	switch e.Op {
	case "d":
		f.row.clear(f.t)
		if err := f.row.document(firstOf(e.Before, r.Key), envelope); err != nil {
			return err
		}
		delete(f.rows, f.row.key())
		return nil
	case "r", "c", "u":
		return f.upsert(r, e)
	}
	return fmt.Errorf("%s offset %d: unknown op %q", r.Topic, r.Offset, e.Op)
}

// count takes the old row of an event out of the bag and puts the new one in. What the new one does not carry it has of the old.
func (f *Fold) count(r *Record, e Event) error {
	f.row.clear(f.t)
	for _, half := range []struct {
		image []byte
		n     int
	}{{e.Before, -1}, {e.After, 1}} {
		if half.image == nil {
			continue
		}
		if err := f.row.document(half.image, envelope); err != nil {
			return fmt.Errorf("offset %d: %w", r.Offset, err)
		}
		if line := f.row.line(); f.bag[line]+half.n == 0 {
			delete(f.bag, line)
		} else {
			f.bag[line] += half.n
		}
	}
	return nil
}

// upsert lays the new row over what is known of it, because columns that the event does not carry are unchanged.
func (f *Fold) upsert(r *Record, e Event) error {
	f.row.clear(f.t)
	if err := f.row.document(e.After, envelope); err != nil {
		return fmt.Errorf("offset %d: %w", r.Offset, err)
	}
	key := f.row.key()
	if old, ok := f.rows[key]; ok && f.row.partly {
		f.row.clear(f.t)
		copy(f.row.values, strings.Split(old, "\t"))
		if err := f.row.document(e.After, envelope); err != nil {
			return fmt.Errorf("offset %d: %w", r.Offset, err)
		}
	}
	f.rows[key] = f.row.line()
	return nil
}

func firstOf(a, b []byte) []byte {
	if a != nil {
		return a
	}
	return b
}
