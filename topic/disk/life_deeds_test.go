package disk_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/tailrace/tailrace/internal/fault"
	"github.com/tailrace/tailrace/topic"
)

// A deed is a step in the life of a log that either happened or not.
type deed struct {
	what     string
	do       func(ctx context.Context) error
	done     func() error                           // tells the model, and checks what must be now
	happened func(infos map[string]topic.Info) bool // asked after a crash
}

// value makes a value of some columns, about one in four unsaid.
func (w *life) value(table int) []byte {
	column := func() string {
		if w.rnd.IntN(4) == 0 {
			return "?"
		}
		w.count++
		return fmt.Sprint(w.count)
	}
	return fmt.Appendf(nil, "%s|%s|%s|%d", column(), column(), column(), table)
}

func (w *life) records(name string) []topic.Record {
	var recs []topic.Record
	for range 1 + w.rnd.IntN(8) {
		table := w.rnd.IntN(3) / 2
		r := topic.Record{Topic: name, Partition: int32(w.rnd.IntN(2)), Timestamp: w.now()}
		switch w.rnd.IntN(12) {
		case 0:
			r.Timestamp -= w.rnd.Int64N(2 * int64(time.Hour/time.Millisecond))
		case 1:
			r.Timestamp += w.rnd.Int64N(100 * lifeDay)
		case 2:
			r.Headers = []topic.Header{{Key: "h", Value: []byte("v")}, {Key: "none"}}
		}
		switch p := w.rnd.IntN(60); {
		case p == 0:
			r.Value = fmt.Appendf(nil, "TRUNCATE|%d", table)
		case p < 4:
			r.Value = w.value(table)
		case p < 14:
			r.Key = fmt.Appendf(nil, "%d.k%d", table, w.rnd.IntN(8))
		default:
			r.Key, r.Value = fmt.Appendf(nil, "%d.k%d", table, w.rnd.IntN(8)), w.value(table)
		}
		recs = append(recs, r)
	}
	return recs
}

// put appends to one topic or two.
func (w *life) put(names []string) deed {
	recs := w.records(names[w.rnd.IntN(len(names))])
	if w.rnd.IntN(3) == 0 {
		recs = append(recs, w.records(names[w.rnd.IntN(len(names))])...)
	}
	return deed{"append", func(ctx context.Context) error { return w.log.Append(ctx, recs) }, func() error {
		now := w.now()
		for _, r := range recs {
			s := w.topics[r.Topic].parts[r.Partition]
			r.Offset = int64(len(s.all))
			s.all, s.born = append(s.all, r), append(s.born, now)
		}
		return w.tailed(recs)
	}, func(infos map[string]topic.Info) bool {
		at := recs[0]
		return infos[at.Topic].Partitions[at.Partition].End > int64(len(w.topics[at.Topic].parts[at.Partition].all))
	}}
}

// tailed checks that a reader at the ends gets, without any time going by, what has just been appended there.
func (w *life) tailed(recs []topic.Record) error {
	if w.tail == nil {
		return nil
	}
	want := map[lifeLane]int64{} // records
	for _, r := range recs {
		if at := (lifeLane{r.Topic, r.Partition}); slices.Contains(w.tails, at) {
			want[at]++
		}
	}
	began := time.Now()
	for len(want) > 0 {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		got, err := w.tail.Read(ctx, 100)
		cancel()
		if err != nil {
			return fmt.Errorf("a reader at the end: %w; %v are to come", err, want)
		}
		for i := range got {
			at := lifeLane{got[i].Topic, got[i].Partition}
			s := w.topics[at.name].parts[at.num]
			if next := int64(len(s.all)) - want[at]; got[i].Offset != next {
				return fmt.Errorf("a reader at the end of %v gets record %d, not %d", at, got[i].Offset, next)
			}
			if want[at]--; want[at] == 0 {
				delete(want, at)
			}
		}
	}
	if d := time.Since(began); d != 0 {
		return fmt.Errorf("a reader at the end got its records after %v", d)
	}
	return nil
}

// watch sets the reader at the ends.
func (w *life) watch(ctx context.Context) error {
	var err error
	if w.tail != nil {
		err = w.tail.Close()
	}
	w.tail, w.tails = nil, nil
	r, e := w.log.Reader(ctx)
	if err = errors.Join(err, e); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(w.topics)) {
		if err := r.Add(name, 0, topic.End); err != nil {
			return err
		}
		w.tails = append(w.tails, lifeLane{name, 0})
	}
	w.tail = r
	return nil
}

// policies makes changes of a topic's configuration; an empty value is the default.
func (w *life) policies() map[string]string {
	one := func(values ...string) string { return values[w.rnd.IntN(len(values))] }
	set := map[string]string{}
	choices := []struct{ name, value string }{
		{"cleanup.policy", one("compact", "delete", "compact,delete", "compact", "")},
		{"retention.ms", one("600000", "3600000", "-1", "")},
		{"retention.bytes", one("500", "4000", "-1", "")},
		{"segment.bytes", one("400", "2500", "")},
		{"segment.ms", one("60000", "1200000", "")},
		{"min.cleanable.dirty.ratio", one("0", "0", "0.5", "1", "")},
		{"min.compaction.lag.ms", one("0", "300000", "1200000")},
		{"max.compaction.lag.ms", one("1200000", "7200000", "")},
		{"delete.retention.ms", one("0", "600000", "3600000", "")},
		{"compression.type", one("none", "zstd", "lz4", "snappy", "gzip", "")},
	}
	for _, c := range choices {
		if w.rnd.IntN(3) == 0 {
			set[c.name] = c.value
		}
	}
	return set
}

func (w *life) change(name string) deed {
	t, set := w.topics[name], w.policies()
	config := maps.Clone(t.config)
	for n, v := range set {
		if config[n] = v; v == "" {
			delete(config, n)
		}
	}
	return deed{fmt.Sprint("configure ", set), func(ctx context.Context) error { return w.log.Configure(ctx, name, set) },
		func() error { t.configure(config, w.now()); return nil },
		func(infos map[string]topic.Info) bool { return maps.Equal(infos[name].Config, config) }}
}

func (w *life) make(name string) deed {
	config := w.policies()
	maps.DeleteFunc(config, func(_, v string) bool { return v == "" })
	return deed{fmt.Sprint("create ", config), func(ctx context.Context) error {
		return w.log.Create(ctx, topic.Spec{Name: name, Partitions: 2, Config: config})
	}, func() error {
		w.epochs[name]++
		t := &shelved{epoch: w.epochs[name], was: config, least: never, parts: []*shelf{{}, {}}}
		t.configure(config, w.now())
		w.topics[name] = t
		if w.rnd.IntN(2) == 0 {
			w.consumers = append(w.consumers, &consumer{name: name, state: map[string]string{}})
		}
		return nil
	}, func(infos map[string]topic.Info) bool { return infos[name].Epoch > 0 }}
}

func (w *life) remove(name string) deed {
	return deed{"delete", func(ctx context.Context) error { return w.log.Delete(ctx, name) }, func() error {
		delete(w.topics, name)
		w.consumers = slices.DeleteFunc(w.consumers, func(c *consumer) bool { return c.name == name })
		w.tails = slices.DeleteFunc(w.tails, func(l lifeLane) bool { return l.name == name })
		return nil
	}, func(infos map[string]topic.Info) bool { return infos[name].Epoch == 0 }}
}

// settle compacts a topic, and what compaction and retention then owe is checked: at most one value of a key is left, of
// no more bytes than is allowed.
func (w *life) settle(name string) deed {
	return deed{"compact", func(ctx context.Context) error { return w.log.Compact(ctx, name) }, func() error {
		if err := w.look(context.Background()); err != nil {
			return err
		}
		t := w.topics[name]
		p, size := policyOf(t.config), setting(t.config, "retention.bytes", -1)
		for num, s := range t.parts {
			if p.compact && w.whole() && setting(t.config, "min.compaction.lag.ms", 0) == 0 {
				if err := s.compacted(len(s.all)); err != nil {
					return fmt.Errorf("%s/%d: %w", name, num, err)
				}
			}
			if p.remove && size >= 0 && s.info.Bytes >= size+t.segment+lifeAppend {
				return fmt.Errorf("%s/%d has %d bytes, retention.bytes is %d", name, num, s.info.Bytes, size)
			}
		}
		return nil
	}, nil}
}

// bury lets the term of all tombstones that consumers have passed end: then they must be gone.
func (w *life) bury(name string) deed {
	t := w.topics[name]
	return deed{"bury", func(ctx context.Context) error {
		if !w.whole() || !policyOf(t.config).compact || setting(t.config, "min.compaction.lag.ms", 0) > 0 {
			return nil
		}
		if err := w.log.Compact(ctx, name); err != nil {
			return err
		}
		<-time.After(time.Duration(t.most+1) * time.Millisecond)
		if err := w.log.Compact(ctx, name); err != nil {
			return err
		}
		if err := w.look(ctx); err != nil {
			return err
		}
		for num, s := range t.parts {
			floor := w.floorOf(name, t.epoch, int32(num))
			for _, r := range s.got {
				if r.Key != nil && r.Value == nil && r.Offset < floor && r.Offset != s.info.End-1 {
					return fmt.Errorf("%s/%d: the tombstone %d is there for ever", name, num, r.Offset)
				}
			}
		}
		return nil
	}, func() error { return nil }, nil}
}

// next chooses what happens next.
func (w *life) next() deed {
	quiet := func() error { return nil }
	names := slices.Sorted(maps.Keys(w.topics))
	if len(names) == 0 || len(names) < 3 && w.rnd.IntN(20) == 0 {
		for _, n := range []string{"a", "b", "c"} {
			if w.topics[n] == nil {
				return w.make(n)
			}
		}
	}
	name := names[w.rnd.IntN(len(names))]
	num := int32(w.rnd.IntN(2))
	switch p := w.rnd.IntN(100); {
	case p < 40:
		return w.put(names)
	case p < 52:
		d := time.Duration(w.rnd.Int64N(int64(10 * time.Minute)))
		if w.rnd.IntN(4) == 0 {
			d = time.Duration(w.rnd.Int64N(int64(3 * time.Hour)))
		}
		return deed{fmt.Sprint("wait ", d), func(context.Context) error { <-time.After(d); return nil }, quiet, nil}
	case p < 57:
		return w.settle(name)
	case p < 59:
		return deed{"checkpoint", func(ctx context.Context) error { return w.log.Checkpoint(ctx) }, quiet, nil}
	case p < 69:
		return w.change(name)
	case p < 70:
		return w.remove(name)
	case p < 72:
		return w.bury(name)
	case p < 75:
		return deed{"watch", w.watch, quiet, nil}
	case p < 85:
		return deed{"peek", func(ctx context.Context) error { return w.peek(ctx, name, num) }, quiet, nil}
	case p < 87:
		return deed{"refuse", func(ctx context.Context) error { return w.refuse(ctx, name) }, quiet, nil}
	case p < 88 || len(w.consumers) == 0:
		return deed{"register", func(context.Context) error {
			w.consumers = append(w.consumers, &consumer{name: name, num: num, state: map[string]string{}})
			return nil
		}, quiet, nil}
	case p < 89:
		i := w.rnd.IntN(len(w.consumers))
		return deed{"unregister", func(context.Context) error { w.consumers = slices.Delete(w.consumers, i, i+1); return nil }, quiet, nil}
	}
	c := w.consumers[w.rnd.IntN(len(w.consumers))]
	return deed{"consume", func(ctx context.Context) error { return w.advance(ctx, c) }, quiet, nil}
}

// refuse appends a record that max.message.bytes does not allow, and one that it does: neither is written.
func (w *life) refuse(ctx context.Context, name string) error {
	if err := w.log.Configure(ctx, name, map[string]string{"max.message.bytes": "200"}); err != nil {
		return err
	}
	err := w.log.Append(ctx, []topic.Record{{Topic: name, Value: []byte("small")}, {Topic: name, Value: make([]byte, 300)}})
	if fault.Code(err) != "RECORD_TOO_LARGE" {
		return fmt.Errorf("a record over max.message.bytes: %w", err)
	}
	return w.log.Configure(ctx, name, map[string]string{"max.message.bytes": ""})
}
