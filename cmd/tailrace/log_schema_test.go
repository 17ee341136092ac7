package main

import (
	"errors"
	"fmt"
	"log/slog"
	"testing"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/change/rowcodec"
	"github.com/tailrace/tailrace/topic"
	"github.com/tailrace/tailrace/topic/disk"
)

// TestSurvivorsOfTwoVersions: rows of a table from before and after an ALTER TABLE are compacted, with the schemas; after a
// restart a new sink finds every survivor under the version that it was written with, or was completed under.
func TestSurvivorsOfTwoVersions(t *testing.T) {
	t.Run("case108_old_and_new_versions", func(t *testing.T) {
		name := change.TableName{Schema: "public", Table: "orders"}
		column := func(name string, kind change.Kind) change.Column {
			return change.Column{Name: name, Type: change.Type{Kind: kind, Name: kind.String()}}
		}
		id, a, b := column("id", change.Int), column("a", change.Text), column("b", change.Text)
		before := &change.Table{Name: name, Version: 1, Columns: []change.Column{id, a}, Key: []int{0}}
		after := &change.Table{Name: name, Version: 2, Columns: []change.Column{id, b, a}, Key: []int{0}}
		row := func(batch *change.Batch, table *change.Table, n int, values ...string) {
			r := change.Row{{Kind: change.Int, Num: uint64(n)}}
			for _, v := range values {
				if v == "" {
					r = append(r, change.Value{}) // Absent
				} else {
					r = append(r, change.Value{Kind: change.Text, Data: []byte(v)})
				}
			}
			*batch.Add() = change.Event{Table: table, Op: change.OpUpdate, Topic: "orders", Key: fmt.Appendf(nil, "%03d", n), After: r}
		}
		dir := t.TempDir()
		with := func(do func(log *disk.Log, reg *rowcodec.Registry) error) {
			t.Helper()
			log, err := disk.Open(t.Context(), disk.Options{Dir: dir, SegmentBytes: 1000, ManualCompaction: true})
			if err != nil {
				t.Fatal(err)
			}
			reg, err := rowcodec.Open(t.Context(), log)
			if err == nil {
				err = do(log, reg)
			}
			if err := errors.Join(err, log.Close()); err != nil {
				t.Fatal(err)
			}
		}
		put := func(fill func(batch *change.Batch)) {
			t.Helper()
			with(func(log *disk.Log, reg *rowcodec.Registry) error {
				if err := log.Create(t.Context(), topic.Spec{Name: "orders", Partitions: 1}); err != nil && !errors.Is(err, topic.ErrTopicExists) {
					return err
				}
				var batch change.Batch
				fill(&batch)
				recs, err := reg.NewEncoder(rowcodec.EncoderOptions{}).Encode(&batch, nil)
				if err != nil {
					return err
				}
				return log.Append(t.Context(), recs)
			})
			if _, err := compact(t.Context(), dir, nil, slog.New(slog.DiscardHandler)); err != nil {
				t.Fatal(err)
			}
		}
		const rows = 30
		put(func(batch *change.Batch) {
			for range 20 {
				for n := range rows {
					row(batch, before, n, fmt.Sprint("old a ", n))
				}
			}
		})
		put(func(batch *change.Batch) {
			for n := 10; n < rows; n++ {
				if n < 20 {
					row(batch, after, n, fmt.Sprint("new b ", n), "") // what it leaves unsaid was said before the ALTER
				} else {
					row(batch, after, n, fmt.Sprint("new b ", n), fmt.Sprint("new a ", n))
				}
			}
		})
		seen := 0
		with(func(log *disk.Log, reg *rowcodec.Registry) error {
			d := reg.NewDecoder()
			return topic.Scan(t.Context(), log, "orders", func(r *topic.Record) error {
				var got change.Batch
				if err := d.Decode([]topic.Record{*r}, 1, &got); err != nil {
					return err
				}
				e := &got.Events[0]
				n := int(e.After[0].Num)
				seen++
				values := map[string]string{}
				for i, c := range e.Table.Columns {
					values[c.Name] = string(e.After[i].Data)
				}
				want := map[string]string{"id": "", "b": fmt.Sprint("new b ", n), "a": fmt.Sprint("new a ", n)}
				version := uint32(2)
				switch {
				case n < 10:
					want, version = map[string]string{"id": "", "a": fmt.Sprint("old a ", n)}, 1
				case n < 20:
					want["a"] = fmt.Sprint("old a ", n)
				}
				if fmt.Sprint(values) != fmt.Sprint(want) || e.Table.Version != version {
					return fmt.Errorf("row %d of version %d is %v, should be %v of version %d", n, e.Table.Version, values, want, version)
				}
				return nil
			})
		})
		if seen != rows {
			t.Errorf("%d survivors of %d rows", seen, rows)
		}
	})
}
