package sinktest

import (
	"fmt"
	"strings"

	"github.com/tailrace/tailrace/change"
)

// cases is the list, in the order of Run. Names are part of the API: Harness.Unsupported refers to them.
func cases() []testCase {
	list := []testCase{
		{"create_update_delete", createUpdateDelete},
		{"snapshot_rows", snapshotRows},
		{"case04_key_change", keyChange},
		{"composite_keys", compositeKeys},
		{"tombstones", tombstones},
		{"delete_of_nothing", deleteOfNothing},
		{"truncate_between_generations", truncateBetweenGenerations},
		{"truncate_in_batch", truncateInBatch},
		{"case107_truncate_in_each_partition", truncatePartitions},
		{"hundred_updates_of_one_key", hundredUpdates},
		{"two_tables", twoTables},
		{"raw_events", rawEvents},
		{"empty_batch", emptyBatch},
		{"large_batch", largeBatch},
		{"absent_keeps_the_column", absentKeeps},
		{"absent_in_batch_of_create", absentInBatchOfCreate},
		{"absent_after_delete_and_create", absentAfterRebirth},
		{"absent_without_a_row", absentWithoutRow},
		{"null_is_not_absent", nullIsNotAbsent},
		{"case104_update_laid_over_chunk_row", overChunkRow},
		{"case105_key_change_completed", keyChangeCompleted},
		{"case106_unchanged_for_1000_updates", unchangedThousand},
		{"case93_add_column", addColumn},
		{"case93_drop_column", dropColumn},
		{"case93_rename", renameColumn},
		{"replay_of_old_batch", replayOldBatch},
		{"replay_of_everything", replayEverything},
		{"replay_does_not_resurrect", noResurrection},
		{"replay_with_absent", replayAbsent},
	}
	list = append(list, faultCases()...)
	return append(list, valueCases()...)
}

// items is the table of most cases.
func items() *change.Table {
	return Table("items", 1, []string{"id"}, Column("id", "int8"), Column("name", "text"), Column("n", "int8"), Column("big", "text"))
}

// long is a value that PostgreSQL would keep out of line.
func long(seed string) change.Value { return Text(strings.Repeat(seed+" ", 2000)) }

func createUpdateDelete(r *run) {
	t, h := items(), r.history()
	for id := range int64(10) {
		h.Create(t, Int(id), Text(fmt.Sprint("first ", id)), Int(id*id), Text("x"))
	}
	r.flush(h, 100)
	r.holds(h, t)
	for id := range int64(5) {
		h.Update(t, Int(id), Text("second"), Int(-id), Text("y"))
	}
	r.flush(h, 2)
	r.holds(h, t)
	for id := int64(3); id < 8; id++ {
		h.Delete(t, Int(id))
	}
	r.flush(h, 3)
	r.holds(h, t)
	h.Create(t, Int(4), Text("again"), Int(4), Text("z"))
	r.flush(h, 3)
	r.holds(h, t)
}

func snapshotRows(r *run) {
	t, h := items(), r.history()
	for id := range int64(20) {
		h.Read(t, Int(id), Text("read"), Int(id), Null())
	}
	h.Read(t, Int(3), Text("read again"), Int(3), Text("not null"))
	r.flush(h, 7)
	r.holds(h, t)
}

func keyChange(r *run) {
	t, h := items(), r.history()
	h.Create(t, Int(1), Text("a"), Int(1), Text("x"))
	r.flush(h, 10)
	h.Delete(t, Int(1))
	h.Tombstone(t, Int(1))
	h.Create(t, Int(9), Text("a"), Int(1), Text("x"))
	r.flush(h, 10)
	r.holds(h, t)
	// There and back again, in one batch.
	h.Delete(t, Int(9))
	h.Create(t, Int(1), Text("b"), Int(1), Text("x"))
	h.Delete(t, Int(1))
	h.Create(t, Int(9), Text("c"), Int(1), Text("x"))
	r.flush(h, 10)
	r.holds(h, t)
}

func compositeKeys(r *run) {
	t := Table("items", 1, []string{"b", "a"}, Column("a", "text"), Column("v", "int8"), Column("b", "text"))
	h := r.history()
	// Pairs (a, b) whose tuples (b, a) a separator without escapes would confuse.
	pairs := [][2]string{{"", ""}, {"1", "11"}, {"11", "1"}, {`"`, `"`}}
	for _, sep := range []string{",", "|", "/", ":", `\`, " ", ".", "_", "-", "+", "~", "%2C", "\x1f"} {
		pairs = append(pairs, [2]string{"r", "p" + sep + "q"}, [2]string{"q" + sep + "r", "p"}, [2]string{sep, "p"}, [2]string{"", "p" + sep},
			[2]string{sep + "r", "p" + sep}, [2]string{"r", "p" + sep + sep}, [2]string{sep + sep + "r", "p"})
	}
	for i, p := range pairs {
		h.Create(t, Text(p[0]), Int(int64(i)), Text(p[1]))
	}
	r.flush(h, 100)
	r.holds(h, t)
	for i, p := range pairs {
		if i%2 == 0 {
			h.Delete(t, Text(p[1]), Text(p[0]))
		} else {
			h.Update(t, Text(p[0]), Int(int64(100+i)), Text(p[1]))
		}
	}
	r.flush(h, 100)
	r.holds(h, t)
}

func tombstones(r *run) {
	t, h := items(), r.history()
	h.Create(t, Int(1), Text("a"), Int(1), Text("x"))
	h.Create(t, Int(2), Text("b"), Int(2), Text("y"))
	h.Create(t, Int(3), Text("c"), Int(3), Text("z"))
	r.flush(h, 10)
	h.Delete(t, Int(1))
	h.Tombstone(t, Int(1))
	h.Tombstone(t, Int(2)) // all that compaction left of its delete
	r.flush(h, 10)
	r.holds(h, t)
	h.Create(t, Int(1), Text("new"), Int(1), Text("x"))
	r.flush(h, 10)
	r.holds(h, t)
}

func deleteOfNothing(r *run) {
	t, h := items(), r.history()
	h.Delete(t, Int(1)) // the table is not there either
	r.flush(h, 10)
	h.Create(t, Int(2), Text("b"), Int(2), Text("y"))
	h.Delete(t, Int(3))
	h.Delete(t, Int(3))
	h.Tombstone(t, Int(3))
	r.flush(h, 10)
	r.holds(h, t)
}

func truncateBetweenGenerations(r *run) {
	t, h := items(), r.history()
	h.Truncate(t) // of nothing
	r.flush(h, 10)
	for id := range int64(30) {
		h.Create(t, Int(id), Text("old"), Int(id), Text("x"))
	}
	r.flush(h, 10)
	h.Truncate(t)
	r.flush(h, 10)
	r.holds(h, t)
	for id := int64(20); id < 40; id++ {
		h.Create(t, Int(id), Text("new"), Int(id), Text("y"))
	}
	r.flush(h, 10)
	r.holds(h, t)
}

func truncateInBatch(r *run) {
	t, h := items(), r.history()
	for id := range int64(10) {
		h.Create(t, Int(id), Text("old"), Int(id), Text("x"))
	}
	r.flush(h, 10)
	h.Create(t, Int(50), Text("old"), Int(50), Text("x"))
	h.Update(t, Int(1), Text("old but newer"), Int(1), Absent())
	h.Truncate(t)
	h.Create(t, Int(1), Text("new"), Int(1), Null())
	h.Update(t, Int(1), Text("newer"), Int(2), Absent())
	h.Truncate(t)
	h.Create(t, Int(2), Text("newest"), Int(2), Null())
	r.flush(h, 100)
	r.holds(h, t)
}

// truncatePartitions: a truncate is in every partition of its topic. Each removes the rows of its own partition that came
// before it, wherever the other partitions are, whose versions say nothing about its own.
func truncatePartitions(r *run) {
	const partitions = 3
	t := items()
	var parts []*History
	for p := range partitions {
		h := r.history()
		h.Origin = fmt.Sprint(r.topic, "-", p)
		parts = append(parts, h)
	}
	fill := func(p, n int, name string) {
		for i := range n {
			parts[p].Create(t, Int(int64(i*partitions+p)), Text(name), Int(int64(i)), long(name))
		}
	}
	check := func() {
		r.Helper()
		r.holds(merged(parts, t), t)
	}
	for p := range partitions {
		fill(p, 20-9*p, "first") // so that versions of partitions are far apart
		r.flush(parts[p], 7)
	}
	check()
	for _, order := range [][]int{{0, 1, 2}, {2, 0, 1}} {
		for _, p := range order { // this partition runs ahead, the others have not come to the truncate
			parts[p].Update(t, Int(int64(p)), Text("before"), Int(1), Absent())
			parts[p].Truncate(t)
			fill(p, 4, "next")
			parts[p].Update(t, Int(int64(p)), Text("after"), Int(2), Absent())
			r.flush(parts[p], 3)
			check()
		}
	}
	for p := range partitions { // again, all of it, as after a crash
		r.write(parts[p].Slice(0, parts[p].Len()))
	}
	check()
	r.reopen()
	for p := range partitions {
		r.insist(func() *change.Batch { return parts[p].Slice(parts[p].Len()/2, parts[p].Len()) })
	}
	check()
}

func hundredUpdates(r *run) {
	t, h := items(), r.history()
	h.Create(t, Int(1), Text("start"), Int(0), Text("x"))
	for n := range int64(100) {
		h.Update(t, Int(1), Text("in one batch"), Int(n+1), Text("x"))
	}
	r.flush(h, 1000)
	r.holds(h, t)
	for n := range int64(100) {
		h.Update(t, Int(1), Text("in many"), Int(1000+n), Absent())
		if n%10 == 0 {
			h.Delete(t, Int(1))
			h.Create(t, Int(1), Text("reborn"), Int(n), Text("y"))
		}
	}
	r.flush(h, 7)
	r.holds(h, t)
}

func twoTables(r *run) {
	a, h := items(), r.history()
	b := Table("others", 1, []string{"id"}, Column("id", "int8"), Column("v", "text"))
	for id := range int64(10) {
		h.Topic = r.topic
		h.Create(a, Int(id), Text("a"), Int(id), Text("x"))
		h.Topic = "shop.public.others"
		h.Create(b, Int(id), Text("b"))
	}
	h.Truncate(b)
	h.Create(b, Int(77), Text("after"))
	r.flush(h, 100)
	r.holds(h, b)
	h.Topic = r.topic
	r.holds(h, a)
}

func rawEvents(r *run) {
	t, h := items(), r.history()
	h.Raw(change.OpMessage, "prefix", "a message")
	h.Create(t, Int(1), Text("a"), Int(1), Text("x"))
	h.Raw(change.OpCreate, `{"id":7}`, `{"id":7,"name":"an outbox payload"}`)
	h.Raw(change.OpTombstone, `{"id":1}`, "")
	h.Create(t, Int(2), Text("b"), Int(2), Text("y"))
	r.flush(h, 100)
	r.holds(h, t)
	h.Raw(change.OpMessage, "prefix", "alone in its batch")
	r.flush(h, 100)
	r.holds(h, t)
}

func emptyBatch(r *run) {
	t, h := items(), r.history()
	r.write(&change.Batch{Origin: h.Origin, Resume: Resume(0)})
	h.Create(t, Int(1), Text("a"), Int(1), Text("x"))
	r.flush(h, 100)
	r.write(&change.Batch{Origin: h.Origin, Resume: Resume(5)})
	r.holds(h, t)
}

func largeBatch(r *run) {
	t, h := items(), r.history()
	big := Text(strings.Repeat("0123456789abcdef", 1<<14)) // 256 KiB
	for id := range int64(3000) {
		v := Text("small")
		if id%150 == 0 {
			v = big
		}
		h.Create(t, Int(id), Text("row"), Int(id), v)
	}
	r.flush(h, 5000)
	r.holds(h, t)
}
