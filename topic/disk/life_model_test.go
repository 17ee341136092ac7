package disk_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tailrace/tailrace/topic"
	"github.com/tailrace/tailrace/topic/disk"
)

// lifeDay is the default of retention.ms, delete.retention.ms and segment.ms, in days.
const lifeDay = int64(24 * time.Hour / time.Millisecond)

// never is a time in ms that does not come.
const never = int64(1) << 60

// slack is how long after its time something must have happened: the compactor looks around every minute.
const slack = int64(3 * time.Minute / time.Millisecond)

// A shelf is the model of a partition: a slice of all that was ever appended, and what the policies allow to be missing.
type shelf struct {
	all  []topic.Record
	born []int64 // when each was appended, in ms
	got  []topic.Record
	info topic.PartitionInfo
	ripe int // compaction may have seen the records below this offset
	// Of the consumers of the partition: how far the last of them ever was at most when it was looked.
	floor int64
}

// A shelved topic is the model of a topic.
type shelved struct {
	epoch       uint32
	config, was map[string]string // now, and before the last step
	since       int64             // when config was set, or the log opened, in ms
	least, most int64             // delete.retention.ms ever
	segment     int64             // greatest segment.bytes ever
	parts       []*shelf
}

// policy is a configuration as the model reads it.
type policy struct{ compact, remove bool }

func policyOf(config map[string]string) policy {
	p := config["cleanup.policy"]
	return policy{p == "" || strings.Contains(p, "compact"), strings.Contains(p, "delete")}
}

func setting(config map[string]string, name string, def int64) int64 {
	if n, err := strconv.ParseInt(config[name], 10, 64); err == nil {
		return n
	}
	return def
}

// configure notes a new configuration.
func (t *shelved) configure(config map[string]string, now int64) {
	t.config, t.since = config, now
	term := setting(config, "delete.retention.ms", lifeDay)
	t.least, t.most = min(t.least, term), max(t.most, term)
	t.segment = max(t.segment, setting(config, "segment.bytes", defaultLifeSegment))
}

// before is how many records are at least so old.
func (s *shelf) before(now, age int64) int {
	n, _ := slices.BinarySearch(s.born, now-age+1)
	return n
}

// ripen notes which records compaction may have seen by now.
func (t *shelved) ripen(now int64) {
	for _, config := range []map[string]string{t.was, t.config} {
		if !policyOf(config).compact {
			continue
		}
		for _, s := range t.parts {
			s.ripe = max(s.ripe, s.before(now, setting(config, "min.compaction.lag.ms", 0)))
		}
	}
}

// replaced reports whether one of the records below ripe says all that the one at offset o does, or makes it meaningless.
func (s *shelf) replaced(o, ripe int) bool {
	old := &s.all[o]
	for n := o + 1; n < ripe; n++ {
		r := &s.all[n]
		if r.Key != nil && old.Key != nil && bytes.Equal(r.Key, old.Key) {
			return true
		}
		erasable := old.Value != nil && (old.Key != nil || (columns{}).Erases(old.Value))
		if r.Key == nil && (columns{}).Erases(r.Value) && erasable && tableOf(old.Value) == tableOf(r.Value) {
			return true
		}
	}
	return false
}

// compactable reports whether compaction may have removed the record at offset o.
func (t *shelved) compactable(s *shelf, o int, now int64) bool {
	if o >= s.ripe || o == len(s.all)-1 {
		return false
	}
	r := &s.all[o]
	tombstone := r.Key != nil && r.Value == nil
	return s.replaced(o, s.ripe) || tombstone && now >= s.born[o]+t.least && int64(o) < s.floor
}

// removable reports whether retention may have removed it.
func (t *shelved) removable(s *shelf, o int, in topic.PartitionInfo, now int64) bool {
	if int64(o) >= in.LogStart {
		return false
	}
	for _, config := range []map[string]string{t.was, t.config} {
		ms, size := setting(config, "retention.ms", 7*lifeDay), setting(config, "retention.bytes", -1)
		p := policyOf(config)
		byAge := ms >= 0 && now-min(s.all[o].Timestamp, s.born[o]) > ms
		bySize := size >= 0 && (in.Bytes >= size || p.compact || ms >= 0)
		if p.remove && (byAge || bySize) {
			return true
		}
	}
	return false
}

// judge compares what a partition holds with the model, and takes it over.
func (t *shelved) judge(s *shelf, in topic.PartitionInfo, got []topic.Record, now int64) error {
	if in.End != int64(len(s.all)) {
		return fmt.Errorf("it ends at %d, should at %d", in.End, len(s.all))
	}
	if in.LogStart < s.info.LogStart {
		return fmt.Errorf("its start went back from %d to %d", s.info.LogStart, in.LogStart)
	}
	had := map[int64]bool{}
	for i := range s.got {
		had[s.got[i].Offset] = true
	}
	i := 0
	for o := range s.all {
		there := i < len(got) && got[i].Offset == int64(o)
		before := had[int64(o)] || int64(o) >= s.info.End
		switch {
		case there && (!before || int64(o) < in.LogStart):
			return fmt.Errorf("record %d has come back", o)
		case there:
			if err := same(&got[i], &s.all[o]); err != nil {
				return err
			}
			i++
		case before && !t.compactable(s, o, now) && !t.removable(s, o, in, now):
			return fmt.Errorf("record %d is gone, and no policy allows that: %v, %v; appended %d ms ago, %+v", o, t.was, t.config, now-s.born[o], in)
		}
	}
	if i != len(got) {
		return fmt.Errorf("record %d was never appended, or is out of order", got[i].Offset)
	}
	have := map[string]string{}
	for i := range got {
		step(have, &got[i])
	}
	if err := s.means(have, int(in.LogStart)); err != nil {
		return err
	}
	s.got, s.info = got, in
	return nil
}

// same reports how a record differs from the one that was appended, but for columns that compaction completed.
func same(g, a *topic.Record) error {
	equal := bytes.Equal(g.Key, a.Key) && (g.Key == nil) == (a.Key == nil) && (g.Value == nil) == (a.Value == nil) && g.Timestamp == a.Timestamp
	equal = equal && slices.EqualFunc(g.Headers, a.Headers, func(x, y topic.Header) bool { return x.Key == y.Key && bytes.Equal(x.Value, y.Value) })
	if equal && !bytes.Equal(g.Value, a.Value) {
		x, y := strings.Split(string(g.Value), "|"), strings.Split(string(a.Value), "|")
		equal = a.Key != nil && len(x) == len(y)
		for i := 0; equal && i < len(x); i++ {
			equal = x[i] == y[i] || y[i] == "?"
		}
	}
	if !equal {
		return fmt.Errorf("record %d is %q %q at %d, was %q %q at %d", g.Offset, g.Key, g.Value, g.Timestamp, a.Key, a.Value, a.Timestamp)
	}
	return nil
}

// means fails unless state is what all records, from the first one or from one up to the offset first, fold to: what
// retention has removed may still be in a value that compaction completed before.
func (s *shelf) means(state map[string]string, first int) error {
	fold := func(from int) map[string]string {
		m := map[string]string{}
		for o := from; o < len(s.all); o++ {
			step(m, &s.all[o])
		}
		return m
	}
	want := fold(first)
	if maps.Equal(state, want) {
		return nil
	}
	wrong := map[string]bool{}
	for _, m := range []map[string]string{state, want} {
		for k := range m {
			v, ok := state[k]
			w, should := want[k]
			if v != w || ok != should {
				wrong[k] = true
			}
		}
	}
	for from := 0; from < first; from++ {
		more := fold(from)
		maps.DeleteFunc(wrong, func(k string, _ bool) bool {
			v, ok := state[k]
			w, should := more[k]
			return v == w && ok == should
		})
	}
	for k := range wrong {
		return fmt.Errorf("key %s is %q, should be %q", k, state[k], want[k])
	}
	return nil
}

// overdue fails if something is still there that a policy should have removed by now. To recovery, what was in the journal
// only is as old as the crash.
func (t *shelved) overdue(s *shelf, now, crashed int64, whole bool) error {
	p, term := policyOf(t.config), setting(t.config, "retention.ms", 7*lifeDay)
	if n := len(s.born); p.remove && term >= 0 && n > 0 && now-max(s.born[n-1], crashed) > term+slack && now-t.since > slack && s.info.Records > 0 {
		return fmt.Errorf("%d records are there %d ms after the last append; retention.ms is %d", s.info.Records, now-s.born[n-1], term)
	}
	due := setting(t.config, "max.compaction.lag.ms", never)
	if t.config["min.cleanable.dirty.ratio"] == "0" {
		due = min(due, setting(t.config, "segment.ms", 7*lifeDay))
	}
	young := setting(t.config, "min.compaction.lag.ms", 0)
	due = min(due+young+slack, never)
	if !p.compact || !whole || now-t.since <= slack || now-crashed < due || young > 0 && now-t.since < due { // a segment may have young ones too
		return nil
	}
	return s.compacted(s.before(now, due))
}

// compacted fails if one of the values below the offset is there in spite of a newer one below it.
func (s *shelf) compacted(upto int) error {
	for i := range s.got {
		if o := int(s.got[i].Offset); o < upto && s.got[i].Value != nil && s.replaced(o, upto) {
			return fmt.Errorf("record %d should have been compacted away", o)
		}
	}
	return nil
}

// peek looks up a place and compares what is found with what is there.
func (w *life) peek(ctx context.Context, name string, num int32) error {
	t := w.topics[name]
	s := t.parts[num]
	from := s.info.LogStart + w.rnd.Int64N(s.info.End-s.info.LogStart+1)
	var want error
	switch p := w.rnd.IntN(10); {
	case p == 0:
		from = topic.Start
	case p == 1:
		from, want = -3-w.rnd.Int64N(5), topic.ErrOutOfRange
	case p == 2:
		from, want = s.info.End+1+w.rnd.Int64N(5), topic.ErrOutOfRange
	case p == 3 && s.info.LogStart > 0:
		from, want = w.rnd.Int64N(s.info.LogStart), topic.ErrLeftBehind
	}
	i := 0
	for i < len(s.got) && s.got[i].Offset < from {
		i++
	}
	r, err := w.log.Reader(ctx)
	if err != nil {
		return err
	}
	defer r.Close()
	if err := r.Add(name, num, from); !errors.Is(err, want) || want == nil && err != nil {
		return fmt.Errorf("read from %d of %+v: %w", from, s.info, err)
	}
	if want == nil && i < len(s.got) {
		recs, err := r.Read(ctx, 1+w.rnd.IntN(9))
		if err != nil {
			return err
		}
		for k := range recs {
			if recs[k].Offset != s.got[i+k].Offset || !bytes.Equal(recs[k].Value, s.got[i+k].Value) {
				return fmt.Errorf("read from %d: record %d, should be %d", from, recs[k].Offset, s.got[i+k].Offset)
			}
		}
	}
	return w.lookUp(ctx, name, num, s)
}

// lookUp compares an offset by time, and a lag, with what is there.
func (w *life) lookUp(ctx context.Context, name string, num int32, s *shelf) error {
	ms := w.now() - w.rnd.Int64N(8*lifeDay/24)
	if n := len(s.got); n > 0 && w.rnd.IntN(2) == 0 {
		ms = s.got[w.rnd.IntN(n)].Timestamp + w.rnd.Int64N(3) - 1
	}
	want := s.info.End
	if i := slices.IndexFunc(s.got, func(r topic.Record) bool { return r.Timestamp >= ms }); i >= 0 {
		want = s.got[i].Offset
	}
	if got, err := w.log.OffsetAt(ctx, name, num, ms); err != nil || got != want {
		return fmt.Errorf("time %d is at %d, should be at %d: %w", ms, got, want, err)
	}
	next := w.rnd.Int64N(s.info.End + 1)
	var unread int64
	for i := range s.got {
		if s.got[i].Offset >= next {
			unread++
		}
	}
	lag, err := w.log.Lag(ctx, name, num, next)
	if err != nil {
		return err
	}
	atRisk := lag.AtRisk && !policyOf(w.topics[name].config).remove
	whole := len(s.got) > 0 && s.got[len(s.got)-1].Offset-s.got[0].Offset == int64(len(s.got)-1) // nothing is missing between
	if whole && lag.Records != unread || (lag.Records > 0) != (unread > 0) || (lag.Bytes > 0) != (unread > 0) || lag.LeftBehind != (next < s.info.LogStart) || atRisk {
		return fmt.Errorf("lag from %d is %+v; %d records of %+v are unread", next, lag, unread, s.info)
	}
	return nil
}

// A consumer is a registered consumer: what it has made of the records that it read, and how far it is. It outlives the log's
// process.
type consumer struct {
	name   string
	num    int32
	next   int64 // committed
	state  map[string]string
	first  int // where the log began when it read its first record
	reader topic.Reader
}

// advance lets a consumer read some of what there is. One that retention has left behind is told, and begins again.
func (w *life) advance(ctx context.Context, c *consumer) error {
	s := w.topics[c.name].parts[c.num]
	from := c.next
	if from == 0 {
		from = topic.Start
	}
	behind := c.next > 0 && c.next < s.info.LogStart
	unread := len(s.got) > 0 && s.got[len(s.got)-1].Offset >= c.next
	var recs []topic.Record
	var err error
	if c.reader == nil {
		if c.reader, err = w.log.Reader(ctx); err == nil {
			err = c.reader.Add(c.name, c.num, from)
		}
	}
	if err == nil && (unread || behind) {
		soon, cancel := context.WithTimeout(ctx, time.Second)
		recs, err = c.reader.Read(soon, 1+w.rnd.IntN(20))
		cancel()
	}
	switch {
	case errors.Is(err, topic.ErrLeftBehind):
		if !behind {
			return fmt.Errorf("a consumer at %d is said to be left behind: %+v", c.next, s.info)
		}
		_ = c.reader.Close()
		*c = consumer{name: c.name, num: c.num, state: map[string]string{}}
		return nil
	case err != nil:
		return err
	}
	for i := range recs {
		if recs[i].Offset < c.next {
			return fmt.Errorf("a consumer at %d gets record %d", c.next, recs[i].Offset)
		}
		if c.next == 0 {
			c.first = int(s.info.LogStart)
		}
		c.next = recs[i].Offset + 1
		step(c.state, &recs[i])
	}
	if c.next == s.info.End {
		if err := s.means(c.state, c.first); err != nil {
			return fmt.Errorf("a consumer that has read all: %w", err)
		}
	}
	return nil
}

// floor is what the log asks: how far all consumers of a partition are.
func (w *life) floorOf(name string, epoch uint32, num int32) int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	if at, ok := w.floors[place{name, epoch, num}]; ok {
		return at
	}
	return math.MaxInt64
}

// commit tells the log how far its consumers are.
func (w *life) commit() {
	w.mu.Lock()
	defer w.mu.Unlock()
	clear(w.floors)
	for _, c := range w.consumers {
		at := place{c.name, w.topics[c.name].epoch, c.num}
		if old, ok := w.floors[at]; !ok || c.next < old {
			w.floors[at] = c.next
		}
	}
	for name, t := range w.topics {
		for num, s := range t.parts {
			at, ok := w.floors[place{name, t.epoch, int32(num)}]
			if !ok {
				at = math.MaxInt64
			}
			s.floor = max(s.floor, at)
		}
	}
}

var _ disk.Merger = columns{}
