package main

import (
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/tailrace/tailrace/change/rowcodec"
	"github.com/tailrace/tailrace/offsets"
	"github.com/tailrace/tailrace/topic"
	"github.com/tailrace/tailrace/topic/disk"
	"github.com/tailrace/tailrace/worker"
)

// TestLogCompactTombstones: by hand as by itself, a tombstone goes when its term is over and the sinks have passed it.
func TestLogCompactTombstones(t *testing.T) {
	dir := t.TempDir()
	withLog := func(do func(log *disk.Log) error) {
		t.Helper()
		log, err := disk.Open(t.Context(), disk.Options{Dir: dir, ManualCompaction: true})
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(do(log), log.Close()); err != nil {
			t.Fatal(err)
		}
	}
	withLog(func(log *disk.Log) error {
		reg, err := rowcodec.Open(t.Context(), log)
		if err != nil {
			return err
		}
		opt := plugins()
		opt.Log, opt.Codec, opt.Formatter, opt.Logger, opt.Now = log, rows{reg}, newFormatter(), slog.New(slog.DiscardHandler), time.Now
		w, err := worker.Open(t.Context(), opt)
		if err != nil {
			return err
		}
		if err := w.Apply(t.Context(), "cache", map[string]string{"connector.class": "redis", "topics": "orders"}, worker.Stopped); err != nil {
			return err
		}
		if err := log.Create(t.Context(), topic.Spec{Name: "orders", Partitions: 1, Config: map[string]string{"delete.retention.ms": "0"}}); err != nil {
			return err
		}
		return log.Append(t.Context(), []topic.Record{{Topic: "orders", Key: []byte("k"), Value: []byte{0xff}}, {Topic: "orders", Key: []byte("k")},
			{Topic: "orders", Key: []byte("x"), Value: []byte{0xff}}})
	})
	compacted := func(want int64) {
		t.Helper()
		list, err := compact(t.Context(), dir, []string{"orders"}, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		if list[0].Records != want {
			t.Fatalf("%d records, should be %d", list[0].Records, want)
		}
	}
	reach := func(offset int64) {
		t.Helper()
		withLog(func(log *disk.Log) error {
			s, err := offsets.Open(t.Context(), log, time.Now)
			if err != nil {
				return err
			}
			return s.Commit(t.Context(), "cache", offsets.Lane("orders", 0), offsets.LogPosition{Offset: offset, Epoch: 1}.Position())
		})
	}
	compacted(2) // the tombstone's term begins
	compacted(2) // and is over, but the sink has read nothing
	reach(1)
	compacted(2) // the tombstone is what it reads next
	reach(2)
	compacted(1)
}
