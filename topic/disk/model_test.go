package disk_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tailrace/tailrace/topic"
	"github.com/tailrace/tailrace/topic/disk"
)

// columns merges values of the form "a|b|c|table", where "?" is a column that the value doesn't say. The value
// "TRUNCATE|table" erases those of the table.
type columns struct{}

var _ disk.Eraser = columns{}

func (columns) Erases(v []byte) bool { return bytes.HasPrefix(v, []byte("TRUNCATE|")) }

func (columns) Covers(eraser, older []byte) bool { return tableOf(eraser) == tableOf(older) }

func tableOf(v []byte) string { return string(v[bytes.LastIndexByte(v, '|')+1:]) }

func (columns) Partial(v []byte) bool { return bytes.Contains(v, []byte("?")) }

func (columns) Merge(dst, older, newer []byte) ([]byte, error) {
	o, n := strings.Split(string(older), "|"), strings.Split(string(newer), "|")
	for i := range n {
		if n[i] == "?" && i < len(o) {
			n[i] = o[i]
		}
	}
	return append(dst, strings.Join(n, "|")...), nil
}

// place names a partition of one epoch of a topic.
type place struct {
	topic string
	epoch uint32
	num   int32
}

// model is what the log should hold: all records that were ever acknowledged, uncompacted.
type model struct {
	epochs map[string]uint32 // last epoch of each topic
	exists map[string]bool
	recs   map[place][]topic.Record
	floor  int64 // of consumers; -1: there are none
}

func newModel() *model {
	return &model{epochs: map[string]uint32{}, exists: map[string]bool{}, recs: map[place][]topic.Record{}, floor: -1}
}

func (m *model) at(name string, num int32) place { return place{name, m.epochs[name], num} }

func (m *model) append(recs []topic.Record) {
	for _, r := range recs {
		at := m.at(r.Topic, r.Partition)
		r.Offset = int64(len(m.recs[at]))
		m.recs[at] = append(m.recs[at], r)
	}
}

func (m *model) create(name string) {
	m.epochs[name]++
	m.exists[name] = true
}

// step folds a record into the state of its partition.
func step(state map[string]string, r *topic.Record) {
	key := string(r.Key)
	switch old, known := state[key]; {
	case r.Key == nil && r.Value != nil && (columns{}).Erases(r.Value):
		for k, v := range state {
			if tableOf([]byte(v)) == tableOf(r.Value) {
				delete(state, k)
			}
		}
	case r.Key == nil:
	case r.Value == nil:
		delete(state, key)
	case known && (columns{}).Partial(r.Value):
		merged, _ := columns{}.Merge(nil, []byte(old), r.Value)
		state[key] = string(merged)
	default:
		state[key] = string(r.Value)
	}
}

// random makes records for one append.
func (m *model) random(rnd *rand.Rand) []topic.Record {
	var names []string
	for _, n := range []string{"a", "b", "c"} {
		if m.exists[n] {
			names = append(names, n)
		}
	}
	if len(names) == 0 {
		return nil
	}
	column := func() string {
		if rnd.IntN(4) == 0 {
			return "?"
		}
		return strings.Repeat(string(rune('a'+rnd.IntN(26))), rnd.IntN(40))
	}
	var recs []topic.Record
	for range 1 + rnd.IntN(10) {
		r := topic.Record{Topic: names[rnd.IntN(len(names))], Partition: int32(rnd.IntN(2)), Timestamp: rnd.Int64N(1000)}
		table := rnd.IntN(3) / 2 // of two tables that share the topic
		if rnd.IntN(10) > 0 {
			r.Key = fmt.Appendf(nil, "%d.k%d", table, rnd.IntN(8))
		}
		switch {
		case r.Key == nil && rnd.IntN(3) == 0:
			r.Value = fmt.Appendf(nil, "TRUNCATE|%d", table)
		case r.Key == nil || rnd.IntN(6) > 0:
			r.Value = fmt.Appendf(nil, "%s|%s|%s|%d", column(), column(), column(), table)
		}
		recs = append(recs, r)
	}
	return recs
}

// check compares the log with the model: the records that are there are those that were appended, at their offsets; no
// keyless one is missing; and the fold is right.
func (m *model) check(ctx context.Context, l *disk.Log) error {
	infos, err := l.Topics(ctx)
	if err != nil {
		return err
	}
	found := 0
	for _, in := range infos {
		if !m.exists[in.Name] || m.epochs[in.Name] != in.Epoch {
			return fmt.Errorf("topic %s epoch %d exists; the model has %v, epoch %d", in.Name, in.Epoch, m.exists[in.Name], m.epochs[in.Name])
		}
		found++
		for num, pi := range in.Partitions {
			at := m.at(in.Name, int32(num))
			if pi.End != int64(len(m.recs[at])) {
				return fmt.Errorf("%v ends at %d, should at %d", at, pi.End, len(m.recs[at]))
			}
			got, err := readAll(ctx, l, in.Name, int32(num))
			if err != nil {
				return fmt.Errorf("%v: %w", at, err)
			}
			if err := compare(got, m.recs[at], m.floor); err != nil {
				return fmt.Errorf("%v: %w", at, err)
			}
		}
	}
	for _, e := range m.exists {
		if e {
			found--
		}
	}
	if found != 0 {
		return fmt.Errorf("%d topics are missing", -found)
	}
	return nil
}

// readAll returns all records of a partition. Compaction may go on meanwhile; then it begins again.
func readAll(ctx context.Context, l *disk.Log, name string, num int32) ([]topic.Record, error) {
	for patience := 20 * time.Millisecond; ; patience *= 2 {
		before, err := partitionInfo(ctx, l, name, num)
		if err != nil || before.Records == 0 {
			return nil, err
		}
		got, err := readSome(ctx, l, name, num, before, patience)
		if err != nil && !errors.Is(err, context.DeadlineExceeded) {
			return nil, err
		}
		after, ierr := partitionInfo(ctx, l, name, num)
		switch {
		case ierr != nil:
			return nil, ierr
		case after != before:
			patience = 10 * time.Millisecond
		case err != nil && patience < 10*time.Second: // a slow machine, perhaps
		case err != nil || int64(len(got)) != before.Records || got[0].Offset != before.Start:
			return nil, fmt.Errorf("%d records instead of %+v: %w", len(got), before, err)
		default:
			return got, nil
		}
	}
}

func partitionInfo(ctx context.Context, l *disk.Log, name string, num int32) (topic.PartitionInfo, error) {
	infos, err := l.Topics(ctx)
	for _, in := range infos {
		if in.Name == name {
			return in.Partitions[num], nil
		}
	}
	return topic.PartitionInfo{}, err
}

func readSome(ctx context.Context, l *disk.Log, name string, num int32, pi topic.PartitionInfo, patience time.Duration) ([]topic.Record, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	r, err := l.Reader(ctx)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	if err := r.Add(name, num, topic.Start); err != nil {
		return nil, err
	}
	var got []topic.Record
	for int64(len(got)) < pi.Records {
		recs, err := r.Read(ctx, 7)
		if err != nil {
			return got, err
		}
		for _, rec := range recs {
			rec.Key, rec.Value = bytes.Clone(rec.Key), bytes.Clone(rec.Value)
			rec.Headers = slices.Clone(rec.Headers)
			for i := range rec.Headers {
				rec.Headers[i].Value = bytes.Clone(rec.Headers[i].Value)
			}
			got = append(got, rec)
		}
	}
	return got, nil
}

// compare checks what is left of the records that were appended, all: that it is some of them, each at its offset; that
// of those without a key none is missing but truncates that another one follows; and that it folds to the same state,
// also for a consumer that has read everything up to some place that floor allows and goes on from there.
func compare(got, all []topic.Record, floor int64) error {
	truncated := map[string]int{} // last truncate of each table
	for o := range all {
		if r := &all[o]; r.Key == nil && r.Value != nil && (columns{}).Erases(r.Value) {
			truncated[tableOf(r.Value)] = o
		}
	}
	i := 0
	for o := range all {
		a := &all[o]
		if i == len(got) || got[i].Offset != int64(o) {
			if a.Key == nil && (!(columns{}).Erases(a.Value) || truncated[tableOf(a.Value)] == o) {
				return fmt.Errorf("record %d has no key and is missing", o)
			}
			continue
		}
		g := &got[i]
		i++
		if !bytes.Equal(g.Key, a.Key) || g.Timestamp != a.Timestamp || (g.Value == nil) != (a.Value == nil) || (g.Key == nil) != (a.Key == nil) {
			return fmt.Errorf("record %d is %q %q, was %q %q", o, g.Key, g.Value, a.Key, a.Value)
		}
	}
	if i != len(got) {
		return fmt.Errorf("record %d was never appended, or is out of order", got[i].Offset)
	}
	if len(all) > 0 && (len(got) == 0 || got[len(got)-1].Offset != int64(len(all)-1)) {
		return fmt.Errorf("the last record, %d, is missing", len(all)-1)
	}
	starts := []int{0}
	if floor >= 0 && int(floor) < len(all) {
		starts = append(starts, int(floor), (int(floor)+len(all))/2)
	}
	for _, from := range starts {
		want, have := map[string]string{}, map[string]string{}
		for o := range all {
			step(want, &all[o])
			if o < from {
				step(have, &all[o])
			}
		}
		for i := range got {
			if got[i].Offset >= int64(from) {
				step(have, &got[i])
			}
		}
		for k, v := range want {
			if have[k] != v {
				return fmt.Errorf("read from %d on, key %s is %q, should be %q", from, k, have[k], v)
			}
		}
		if len(have) != len(want) {
			return fmt.Errorf("read from %d on there are %d keys, should be %d", from, len(have), len(want))
		}
	}
	return nil
}

func TestModelItself(t *testing.T) {
	rec := func(offset int64, key, value string) topic.Record {
		return topic.Record{Key: []byte(key), Value: []byte(value), Offset: offset}
	}
	all := []topic.Record{rec(0, "k", "1|2|3|0"), rec(1, "k", "4|?|5|0")}
	if compare(all[1:], all, -1) == nil {
		t.Error("a lost column was not noticed")
	}
	if err := compare([]topic.Record{rec(1, "k", "4|2|5|0")}, all, 0); err != nil {
		t.Errorf("a right compaction was refused: %v", err)
	}
	if compare(all[:1], all, -1) == nil || compare([]topic.Record{all[1], all[0]}, all, -1) == nil {
		t.Error("a lost or misordered record was not noticed")
	}
	gone := []topic.Record{rec(0, "k", "1|2|3|0"), {Key: []byte("k"), Offset: 1}, rec(2, "x", "1|2|3|0")}
	if compare(gone[2:], gone, -1) != nil || compare(gone[2:], gone, 1) == nil {
		t.Error("a tombstone that a consumer had not passed was not missed")
	}
	erased := []topic.Record{rec(0, "k", "1|2|3|0"), rec(1, "x", "1|2|3|1"), {Offset: 2, Value: []byte("TRUNCATE|0")}, rec(3, "x", "2|2|3|1")}
	if err := compare([]topic.Record{erased[2], erased[3]}, erased, 0); err != nil {
		t.Errorf("a right compaction was refused: %v", err)
	}
	if compare([]topic.Record{erased[0], erased[3]}, erased, -1) == nil {
		t.Error("a lost truncate was not noticed")
	}
}
