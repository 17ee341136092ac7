// Package topictest is the suite that every implementation of topic.Log passes.
//
// An implementation's test calls [Run] with a function that makes an empty log; the suite creates topics in it, appends,
// reads, and closes it.
//
//	func TestContract(t *testing.T) { topictest.Run(t, func(t *testing.T) topic.Log { ... }) }
//
// It checks what package topic promises: atomic appends that are visible when Append returns, offsets that grow by one,
// readers' places, turns, tailing and memory, epochs, Watch, and what each method does after Close. Run it under -race.
//
// It does not check durability: that takes a crash, which only the implementation knows how to make.
package topictest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/tailrace/tailrace/topic"
)

// patience is how long a test waits for what must happen, and a moment how long it watches for what must not.
const (
	patience = 20 * time.Second
	moment   = 30 * time.Millisecond
)

// Run runs the suite. open makes an empty log; the suite closes it.
func Run(t *testing.T, open func(t *testing.T) topic.Log) {
	tests := []struct {
		name string
		run  func(*testing.T, topic.Log)
	}{
		{"append_read", testAppendRead},
		{"atomic_over_topics", testAtomic},
		{"fields", testFields},
		{"big", testBig},
		{"case81_places", testPlaces},
		{"tail", testTail},
		{"turns", testTurns},
		{"add_moves", testAddMoves},
		{"add_while_reading", testAddWhileReading},
		{"concurrent", testConcurrent},
		{"topics", testTopics},
		{"epochs", testEpochs},
		{"watch", testWatch},
		{"canceled", testCanceled},
		{"closed", testClosed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := open(t)
			t.Cleanup(func() {
				if err := l.Close(); err != nil {
					t.Errorf("Close: %v", err)
				}
			})
			tt.run(t, l)
		})
	}
}

func ctx(t *testing.T) context.Context {
	c, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return c
}

func create(t *testing.T, l topic.Log, name string, partitions int32) {
	t.Helper()
	if err := l.Create(ctx(t), topic.Spec{Name: name, Partitions: partitions}); err != nil {
		t.Fatalf("Create %s: %v", name, err)
	}
}

func appendAll(t *testing.T, l topic.Log, recs ...topic.Record) {
	t.Helper()
	if err := l.Append(ctx(t), recs); err != nil {
		t.Fatalf("Append: %v", err)
	}
}

func reader(t *testing.T, l topic.Log) topic.Reader {
	t.Helper()
	r, err := l.Reader(ctx(t))
	if err != nil {
		t.Fatalf("Reader: %v", err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Errorf("Close of a reader: %v", err)
		}
	})
	return r
}

func add(t *testing.T, r topic.Reader, name string, partition int32, from int64) {
	t.Helper()
	if err := r.Add(name, partition, from); err != nil {
		t.Fatalf("Add %s/%d from %d: %v", name, partition, from, err)
	}
}

// read returns the next n records, copied, in the order in which they came.
func read(t *testing.T, r topic.Reader, n, most int) []topic.Record {
	t.Helper()
	var all []topic.Record
	for len(all) < n {
		recs, err := r.Read(ctx(t), most)
		if err != nil {
			t.Fatalf("Read after %d of %d records: %v", len(all), n, err)
		}
		if len(recs) == 0 || len(recs) > most {
			t.Fatalf("Read(%d) returned %d records", most, len(recs))
		}
		for i := range recs {
			if recs[i].Topic != recs[0].Topic || recs[i].Partition != recs[0].Partition {
				t.Fatalf("one Read returned records of two partitions")
			}
			all = append(all, clone(recs[i]))
		}
	}
	if len(all) > n {
		t.Fatalf("read %d records, there should be %d", len(all), n)
	}
	return all
}

// nothing checks that there is nothing to read.
func nothing(t *testing.T, r topic.Reader) {
	t.Helper()
	c, cancel := context.WithTimeout(ctx(t), moment)
	defer cancel()
	if recs, err := r.Read(c, 10); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("Read returned %d records and error %v, there is nothing to read", len(recs), err)
	}
}

func clone(r topic.Record) topic.Record {
	r.Key, r.Value = slices.Clone(r.Key), slices.Clone(r.Value)
	r.Headers = slices.Clone(r.Headers)
	for i := range r.Headers {
		r.Headers[i].Value = slices.Clone(r.Headers[i].Value)
	}
	return r
}

func record(name string, partition int32, n int) topic.Record {
	return topic.Record{Topic: name, Partition: partition, Timestamp: int64(1_700_000_000_000 + n),
		Key: fmt.Appendf(nil, "key %d", n), Value: fmt.Appendf(nil, "value %d of %s", n, name)}
}

func records(name string, partition int32, from, to int) []topic.Record {
	var recs []topic.Record
	for n := from; n < to; n++ {
		recs = append(recs, record(name, partition, n))
	}
	return recs
}

// expect checks that recs are the records numbered from on, with these offsets.
func expect(t *testing.T, recs []topic.Record, name string, partition int32, from int) {
	t.Helper()
	for i, r := range recs {
		w := record(name, partition, from+i)
		w.Offset = int64(from + i)
		if !equal(r, w) {
			t.Fatalf("record %d is %+v, want %+v", i, r, w)
		}
	}
}

func equal(a, b topic.Record) bool {
	same := func(x, y []byte) bool { return (x == nil) == (y == nil) && string(x) == string(y) }
	return a.Topic == b.Topic && a.Partition == b.Partition && a.Offset == b.Offset && a.Timestamp == b.Timestamp &&
		same(a.Key, b.Key) && same(a.Value, b.Value) &&
		slices.EqualFunc(a.Headers, b.Headers, func(x, y topic.Header) bool { return x.Key == y.Key && same(x.Value, y.Value) })
}

func info(t *testing.T, l topic.Log, name string) topic.Info {
	t.Helper()
	all, err := l.Topics(ctx(t))
	if err != nil {
		t.Fatalf("Topics: %v", err)
	}
	for _, in := range all {
		if in.Name == name {
			return in
		}
	}
	t.Fatalf("Topics has no %s", name)
	return topic.Info{}
}

func wantError(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("%s: error %v, want %v", what, err, want)
	}
}

func testAppendRead(t *testing.T, l topic.Log) {
	create(t, l, "a", 1)
	r := reader(t, l)
	add(t, r, "a", 0, topic.Start)
	for n := range 50 {
		appendAll(t, l, record("a", 0, n))
	}
	appendAll(t, l, records("a", 0, 50, 1000)...)
	expect(t, read(t, r, 1000, 7), "a", 0, 0)
	nothing(t, r)
	if err := l.Append(ctx(t), nil); err != nil {
		t.Fatalf("Append of nothing: %v", err)
	}
	in := info(t, l, "a").Partitions[0]
	if in.Start != 0 || in.End != 1000 || in.Records != 1000 || in.Bytes <= 0 {
		t.Fatalf("partition is %+v", in)
	}
}

func testAtomic(t *testing.T, l topic.Log) {
	create(t, l, "a", 2)
	create(t, l, "b", 1)
	var recs []topic.Record
	for n := range 100 { // interleaved
		recs = append(recs, record("a", 0, n), record("b", 0, n), record("a", 1, n))
	}
	for _, bad := range []topic.Record{record("nowhere", 0, 0), record("b", 1, 0), record("a", -1, 0)} {
		wantError(t, "Append", l.Append(ctx(t), append(slices.Clone(recs), bad)), topic.ErrNoTopic)
	}
	for _, in := range append(info(t, l, "a").Partitions, info(t, l, "b").Partitions...) {
		if in.End != 0 || in.Start != 0 || in.Records != 0 {
			t.Fatalf("a refused Append left %+v", in)
		}
	}
	appendAll(t, l, recs...)
	for _, at := range []struct {
		name string
		num  int32
	}{{"a", 0}, {"a", 1}, {"b", 0}} {
		r := reader(t, l)
		add(t, r, at.name, at.num, topic.Start)
		expect(t, read(t, r, 100, 1000), at.name, at.num, 0)
	}
}

func testFields(t *testing.T, l topic.Log) {
	create(t, l, "a", 1)
	recs := []topic.Record{
		{Topic: "a", Timestamp: 5},
		{Topic: "a", Timestamp: 4, Key: []byte{}, Value: []byte{}},
		{Topic: "a", Timestamp: -1, Key: []byte("k"), Value: nil},
		{Topic: "a", Timestamp: 1 << 50, Key: nil, Value: []byte{0, 1, 2}, Headers: []topic.Header{{Key: "h", Value: []byte("v")}, {Key: "", Value: nil}, {Key: "h", Value: []byte{}}}},
		{Topic: "a", Timestamp: 7, Key: []byte("last"), Value: []byte("v"), Headers: []topic.Header{{Key: "x", Value: []byte("y")}}},
	}
	appendAll(t, l, recs...)
	for i := range recs {
		recs[i].Offset = int64(i)
	}
	r := reader(t, l)
	add(t, r, "a", 0, topic.Start)
	for i, got := range read(t, r, len(recs), 100) {
		if !equal(got, recs[i]) {
			t.Fatalf("record %d is %+v, want %+v", i, got, recs[i])
		}
	}
}

// testBig appends and reads more than a Read returns, in one Append and in one record.
func testBig(t *testing.T, l topic.Log) {
	create(t, l, "a", 1)
	huge := make([]byte, 700<<10)
	for i := range huge {
		huge[i] = byte(i * i >> 7)
	}
	var recs []topic.Record
	for n := range 20_000 {
		r := record("a", 0, n)
		if n%10_000 == 5000 {
			r.Value = huge
		}
		recs = append(recs, r)
	}
	appendAll(t, l, recs...)
	r := reader(t, l)
	add(t, r, "a", 0, topic.Start)
	for i, got := range read(t, r, len(recs), 4096) {
		recs[i].Offset = int64(i)
		if !equal(got, recs[i]) {
			t.Fatalf("record %d differs", i)
		}
	}
}

func testPlaces(t *testing.T, l topic.Log) {
	create(t, l, "a", 1)
	appendAll(t, l, records("a", 0, 0, 300)...)
	appendAll(t, l, records("a", 0, 300, 1000)...)
	for _, from := range []int{0, 1, 299, 300, 301, 998, 999} {
		r := reader(t, l)
		add(t, r, "a", 0, int64(from))
		expect(t, read(t, r, 1000-from, 100), "a", 0, from)
		nothing(t, r)
	}
	r := reader(t, l)
	for _, from := range []int64{1001, 1 << 40} {
		wantError(t, "Add beyond the end", r.Add("a", 0, from), topic.ErrOutOfRange)
	}
	wantError(t, "Add of no partition", r.Add("a", 1, 0), topic.ErrNoTopic)
	wantError(t, "Add of no topic", r.Add("b", 0, topic.Start), topic.ErrNoTopic)
	nothing(t, r)
	add(t, r, "a", 0, 1000)
	end := reader(t, l)
	add(t, end, "a", 0, topic.End)
	nothing(t, r)
	nothing(t, end)
	appendAll(t, l, record("a", 0, 1000))
	expect(t, read(t, r, 1, 10), "a", 0, 1000)
	expect(t, read(t, end, 1, 10), "a", 0, 1000)
}

// testTail has a reader follow appends one by one: each must be there at once.
func testTail(t *testing.T, l topic.Log) {
	create(t, l, "a", 1)
	r := reader(t, l)
	add(t, r, "a", 0, topic.End)
	got := make(chan topic.Record)
	var wg sync.WaitGroup
	defer wg.Wait()
	c := ctx(t)
	wg.Go(func() {
		defer close(got)
		for range 200 {
			recs, err := r.Read(c, 10)
			if err != nil {
				t.Errorf("Read: %v", err)
				return
			}
			for _, rec := range recs {
				got <- clone(rec)
			}
		}
	})
	for n := range 200 {
		appendAll(t, l, record("a", 0, n))
		rec, ok := <-got
		if !ok {
			t.Fatal("the reader ended")
		}
		expect(t, []topic.Record{rec}, "a", 0, n)
	}
}

// testTurns checks that a long partition doesn't keep a reader from a short one.
func testTurns(t *testing.T, l topic.Log) {
	create(t, l, "long", 1)
	create(t, l, "short", 1)
	value := make([]byte, 1000)
	var recs []topic.Record
	for n := range 10_000 {
		recs = append(recs, topic.Record{Topic: "long", Value: value, Timestamp: int64(n)})
	}
	appendAll(t, l, recs...)
	appendAll(t, l, record("short", 0, 0))
	r := reader(t, l)
	add(t, r, "long", 0, topic.Start)
	add(t, r, "short", 0, topic.Start)
	for seen := 0; ; {
		recs, err := r.Read(ctx(t), 500)
		if err != nil {
			t.Fatal(err)
		}
		if recs[0].Topic == "short" {
			return
		}
		if seen += len(recs); seen > 5000 {
			t.Fatalf("%d records of one partition, and none of the other", seen)
		}
	}
}

func testAddMoves(t *testing.T, l topic.Log) {
	create(t, l, "a", 1)
	appendAll(t, l, records("a", 0, 0, 100)...)
	r := reader(t, l)
	add(t, r, "a", 0, topic.Start)
	expect(t, read(t, r, 10, 10), "a", 0, 0)
	add(t, r, "a", 0, 50)
	expect(t, read(t, r, 50, 9), "a", 0, 50)
	add(t, r, "a", 0, 0)
	expect(t, read(t, r, 100, 100), "a", 0, 0)
	nothing(t, r)
}

func testAddWhileReading(t *testing.T, l topic.Log) {
	create(t, l, "a", 1)
	create(t, l, "b", 1)
	appendAll(t, l, record("b", 0, 0))
	r := reader(t, l)
	add(t, r, "a", 0, topic.Start)
	done := make(chan []topic.Record, 1)
	c := ctx(t)
	go func() {
		recs, err := r.Read(c, 10)
		if err != nil {
			t.Errorf("Read: %v", err)
		}
		done <- recs
	}()
	add(t, r, "b", 0, topic.Start)
	recs := <-done
	if len(recs) != 1 {
		t.Fatalf("%d records", len(recs))
	}
	expect(t, recs, "b", 0, 0)
}

// testConcurrent has many append to the same topics and many read them: each reader sees each append whole, once, in
// one order that is the same for all, and each writer's in the order in which it wrote them.
func testConcurrent(t *testing.T, l topic.Log) {
	const writers, readers, rounds, width = 6, 3, 60, 3
	create(t, l, "a", 1)
	create(t, l, "b", 1)
	c := ctx(t)
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for n := range rounds {
				var recs []topic.Record
				for i := range width {
					for _, name := range []string{"a", "b"} {
						recs = append(recs, topic.Record{Topic: name, Key: fmt.Appendf(nil, "%d", w), Value: fmt.Appendf(nil, "%d %d %d", w, n, i)})
					}
				}
				if err := l.Append(c, recs); err != nil {
					t.Errorf("Append: %v", err)
					return
				}
			}
		})
	}
	orders := make([]map[string][]string, readers)
	for i := range readers {
		r := reader(t, l)
		add(t, r, "a", 0, topic.Start)
		add(t, r, "b", 0, topic.Start)
		orders[i] = map[string][]string{}
		wg.Go(func() {
			for n := 0; n < 2*writers*rounds*width; {
				recs, err := r.Read(c, 20)
				if err != nil {
					t.Errorf("Read: %v", err)
					return
				}
				for _, rec := range recs {
					if rec.Offset != int64(len(orders[i][rec.Topic])) {
						t.Errorf("offset %d is the %dth", rec.Offset, len(orders[i][rec.Topic]))
						return
					}
					orders[i][rec.Topic] = append(orders[i][rec.Topic], string(rec.Value))
				}
				n += len(recs)
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	for _, o := range orders {
		if !slices.Equal(o["a"], orders[0]["a"]) || !slices.Equal(o["b"], orders[0]["a"]) {
			t.Fatal("readers, or topics of the same appends, disagree about the order")
		}
	}
	next := map[int]int{}
	all := orders[0]["a"]
	for i := 0; i < len(all); i += width {
		var w, n, k int
		for j := range width {
			if _, err := fmt.Sscan(all[i+j], &w, &n, &k); err != nil || k != j || n != next[w] {
				t.Fatalf("at %d: %q; an append was torn or out of its order", i+j, all[i+j])
			}
		}
		next[w]++
	}
}

func testTopics(t *testing.T, l topic.Log) {
	create(t, l, "b", 3)
	if err := l.Create(ctx(t), topic.Spec{Name: "a", Partitions: 1, Config: map[string]string{"cleanup.policy": "compact", "made.for": "a test"}}); err != nil {
		t.Fatal(err)
	}
	wantError(t, "Create again", l.Create(ctx(t), topic.Spec{Name: "a", Partitions: 1}), topic.ErrTopicExists)
	for _, bad := range []string{"", ".", "..", "../../x", "a/b", `x"; DROP TABLE y;--`, "a\x00b", "a\nb"} {
		if err := l.Create(ctx(t), topic.Spec{Name: bad, Partitions: 1}); err == nil {
			t.Errorf("Create(%q) succeeded", bad)
		}
	}
	if err := l.Create(ctx(t), topic.Spec{Name: "c", Partitions: 0}); err == nil {
		t.Error("Create without partitions succeeded")
	}
	all, err := l.Topics(ctx(t))
	if err != nil || len(all) != 2 || all[0].Name != "a" || all[1].Name != "b" {
		t.Fatalf("Topics: %+v, %v", all, err)
	}
	if len(all[0].Partitions) != 1 || len(all[1].Partitions) != 3 || all[0].Config["made.for"] != "a test" {
		t.Fatalf("Topics: %+v", all)
	}
}

func testEpochs(t *testing.T, l topic.Log) {
	d, ok := l.(topic.Deleter)
	if !ok {
		t.Skip("not a Deleter")
	}
	wantError(t, "Delete", d.Delete(ctx(t), "a"), topic.ErrNoTopic)
	for epoch := uint32(1); epoch <= 3; epoch++ {
		create(t, l, "a", 1)
		in := info(t, l, "a")
		if in.Epoch != epoch || in.Partitions[0].End != 0 {
			t.Fatalf("%+v, want epoch %d and no records", in, epoch)
		}
		appendAll(t, l, records("a", 0, 0, 10)...)
		r := reader(t, l)
		add(t, r, "a", 0, topic.Start)
		expect(t, read(t, r, 4, 4), "a", 0, 0)
		if err := d.Delete(ctx(t), "a"); err != nil {
			t.Fatalf("Delete: %v", err)
		}
		nothing(t, r)
		wantError(t, "Append to a deleted topic", l.Append(ctx(t), records("a", 0, 0, 1)), topic.ErrNoTopic)
		wantError(t, "Add of a deleted topic", r.Add("a", 0, 0), topic.ErrNoTopic)
	}
	create(t, l, "b", 1)
	if in := info(t, l, "b"); in.Epoch != 1 {
		t.Fatalf("%+v, want epoch 1", in)
	}
}

func testWatch(t *testing.T, l topic.Log) {
	w, ok := l.(topic.Watcher)
	if !ok {
		t.Skip("not a Watcher")
	}
	gen, err := w.Watch(ctx(t), 0)
	if err != nil || gen == 0 {
		t.Fatalf("Watch(0) = %d, %v", gen, err)
	}
	short, cancel := context.WithTimeout(ctx(t), moment)
	defer cancel()
	if _, err := w.Watch(short, gen); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("Watch without a change: %v", err)
	}
	changed := make(chan uint64, 1)
	c := ctx(t)
	go func() {
		next, err := w.Watch(c, gen)
		if err != nil {
			t.Errorf("Watch: %v", err)
		}
		changed <- next
	}()
	create(t, l, "a", 1)
	next := <-changed
	if next == gen {
		t.Fatal("Watch returned the generation that it was given")
	}
	if d, ok := l.(topic.Deleter); ok {
		if err := d.Delete(ctx(t), "a"); err != nil {
			t.Fatal(err)
		}
		if again, err := w.Watch(ctx(t), next); err != nil || again == next {
			t.Fatalf("Watch after Delete = %d, %v", again, err)
		}
	}
}

func testCanceled(t *testing.T, l topic.Log) {
	create(t, l, "a", 1)
	c, cancel := context.WithCancel(t.Context())
	cancel()
	wantError(t, "Append", l.Append(c, records("a", 0, 0, 1)), context.Canceled)
	r := reader(t, l)
	add(t, r, "a", 0, topic.Start)
	_, err := r.Read(c, 1)
	wantError(t, "Read", err, context.Canceled)
	if in := info(t, l, "a"); in.Partitions[0].End != 0 {
		t.Fatalf("a canceled Append left %+v", in)
	}
}

func testClosed(t *testing.T, l topic.Log) {
	create(t, l, "a", 1)
	r := reader(t, l)
	add(t, r, "a", 0, topic.Start)
	blocked := make(chan error, 2)
	c := ctx(t)
	go func() {
		_, err := r.Read(c, 1)
		blocked <- err
	}()
	other := reader(t, l)
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	_, err := other.Read(ctx(t), 1)
	wantError(t, "Read of a closed reader", err, topic.ErrClosed)
	wantError(t, "Add to a closed reader", other.Add("a", 0, 0), topic.ErrClosed)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	wantError(t, "Read under way", <-blocked, topic.ErrClosed)
	wantError(t, "Append", l.Append(ctx(t), records("a", 0, 0, 1)), topic.ErrClosed)
	wantError(t, "Create", l.Create(ctx(t), topic.Spec{Name: "b", Partitions: 1}), topic.ErrClosed)
	_, err = l.Reader(ctx(t))
	wantError(t, "Reader", err, topic.ErrClosed)
	_, err = l.Topics(ctx(t))
	wantError(t, "Topics", err, topic.ErrClosed)
	if w, ok := l.(topic.Watcher); ok {
		gen, err := w.Watch(ctx(t), 1<<40)
		if err == nil {
			_, err = w.Watch(ctx(t), gen)
		}
		wantError(t, "Watch", err, topic.ErrClosed)
	}
	if err := l.Close(); err != nil {
		t.Fatalf("Close again: %v", err)
	}
}
