package sinktest

import "fmt"

func absentKeeps(r *run) {
	t, h := items(), r.history()
	for id := range int64(10) {
		h.Create(t, Int(id), Text("a"), Int(0), long("out of line"))
	}
	r.flush(h, 100)
	for n := range int64(20) {
		h.Update(t, Int(n%10), Text("b"), Int(n), Absent())
	}
	r.flush(h, 6)
	r.holds(h, t)
	h.Update(t, Int(3), Absent(), Absent(), Text("only big"))
	h.Update(t, Int(3), Absent(), Int(99), Absent())
	h.Update(t, Int(4), Absent(), Absent(), Absent())
	r.flush(h, 100)
	r.holds(h, t)
}

// absentInBatchOfCreate is the first trap: what must be merged with is not in the target yet but earlier in the batch.
func absentInBatchOfCreate(r *run) {
	t, h := items(), r.history()
	h.Create(t, Int(1), Text("a"), Int(0), long("new"))
	h.Update(t, Int(1), Text("b"), Int(1), Absent())
	h.Create(t, Int(2), Text("a"), Int(0), long("two"))
	h.Update(t, Int(1), Absent(), Int(2), Absent())
	r.flush(h, 100)
	r.holds(h, t)
	h.Update(t, Int(1), Text("c"), Int(3), long("newer"))
	h.Update(t, Int(1), Text("d"), Absent(), Absent())
	h.Update(t, Int(1), Absent(), Int(5), Absent())
	r.flush(h, 100)
	r.holds(h, t)
}

func absentAfterRebirth(r *run) {
	t, h := items(), r.history()
	h.Create(t, Int(1), Text("a"), Int(0), long("first life"))
	r.flush(h, 100)
	h.Delete(t, Int(1))
	h.Create(t, Int(1), Text("b"), Int(1), Null())
	h.Update(t, Int(1), Text("c"), Int(2), Absent())
	r.flush(h, 100)
	r.holds(h, t)
	h.Delete(t, Int(1))
	h.Create(t, Int(1), Text("d"), Int(3), long("third life"))
	h.Update(t, Int(1), Text("e"), Int(4), Absent())
	r.flush(h, 1)
	r.holds(h, t)
}

// absentWithoutRow: the target lost the row, or never had it. What is there is written.
func absentWithoutRow(r *run) {
	t, h := items(), r.history()
	h.Update(t, Int(1), Text("a"), Int(1), Absent())
	r.flush(h, 100)
	r.holds(h, t)
	h.Update(t, Int(1), Absent(), Absent(), Text("now"))
	h.Update(t, Int(2), Text("b"), Absent(), Absent())
	h.Update(t, Int(2), Absent(), Int(2), Absent())
	r.flush(h, 100)
	r.holds(h, t)
}

func nullIsNotAbsent(r *run) {
	t, h := items(), r.history()
	h.Create(t, Int(1), Text("a"), Int(1), Text("x"))
	h.Create(t, Int(2), Text("a"), Int(1), Text("x"))
	r.flush(h, 100)
	h.Update(t, Int(1), Text("b"), Null(), Null())
	h.Update(t, Int(2), Text("b"), Null(), Absent())
	r.flush(h, 100)
	r.holds(h, t)
	h.Update(t, Int(1), Text("c"), Int(5), Absent()) // big stays NULL
	h.Update(t, Int(2), Null(), Absent(), Null())
	r.flush(h, 100)
	r.holds(h, t)
}

// overChunkRow: the snapshot's row with the window's values laid over it, then updates without the column.
func overChunkRow(r *run) {
	t, h := items(), r.history()
	h.Update(t, Int(1), Text("before the chunk"), Int(1), Absent())
	h.Read(t, Int(1), Text("over the chunk's row"), Int(2), long("only the chunk knows"))
	h.Update(t, Int(1), Text("after"), Int(3), Absent())
	h.Read(t, Int(2), Text("r"), Int(0), long("two"))
	r.flush(h, 1)
	r.holds(h, t)
	h.Update(t, Int(2), Text("u"), Absent(), Absent())
	h.Read(t, Int(2), Text("again"), Int(7), long("new"))
	h.Update(t, Int(2), Absent(), Int(8), Absent())
	r.flush(h, 100)
	r.holds(h, t)
}

func keyChangeCompleted(r *run) {
	t, h := items(), r.history()
	h.Create(t, Int(1), Text("a"), Int(1), long("carried over"))
	r.flush(h, 100)
	h.Delete(t, Int(1))
	h.Tombstone(t, Int(1))
	h.Create(t, Int(2), Text("b"), Int(1), long("carried over")) // completed before it was written to the log
	h.Update(t, Int(2), Text("c"), Int(2), Absent())
	r.flush(h, 100)
	r.holds(h, t)
	h.Update(t, Int(2), Absent(), Int(3), Absent())
	r.flush(h, 100)
	r.holds(h, t)
}

// unchangedThousand: set once, 1,000 updates without it; live, replayed from the start, and from the compacted log.
func unchangedThousand(r *run) {
	t, h := items(), r.history()
	h.Create(t, Int(1), Text("a"), Int(-1), long("set once"))
	h.Create(t, Int(2), Text("a"), Int(-1), long("set once"))
	for n := range int64(1000) {
		h.Update(t, Int(1+n%2), Text(fmt.Sprint("update ", n)), Int(n), Absent())
	}
	r.flush(h, 50)
	r.holds(h, t)
	r.reopen()
	r.write(h.Slice(0, h.Len()))
	r.holds(h, t)

	r.close()
	r.target = r.h.New(r.TB)
	r.open(nil)
	r.write(h.Compacted())
	r.holds(h, t)
}

func addColumn(r *run) {
	t, h := items(), r.history()
	h.Create(t, Int(1), Text("a"), Int(1), Text("x"))
	r.flush(h, 100)
	v2 := Table("items", 2, []string{"id"}, Column("id", "int8"), Column("name", "text"), Column("n", "int8"), Column("big", "text"), Column("extra", "text"))
	h.Create(t, Int(2), Text("b"), Int(2), Text("y"))
	h.Update(v2, Int(1), Text("a"), Int(10), Absent(), Text("e1"))
	h.Update(t, Int(2), Text("old version"), Int(3), Absent()) // compaction mixes versions
	h.Create(v2, Int(3), Text("c"), Int(3), Text("z"), Null())
	r.flush(h, 100)
	r.holds(h, v2)
	h.Update(v2, Int(2), Absent(), Absent(), Absent(), Text("e2"))
	r.flush(h, 100)
	r.holds(h, v2)
}

func dropColumn(r *run) {
	t, h := items(), r.history()
	h.Create(t, Int(1), Text("a"), Int(1), Text("x"))
	h.Create(t, Int(2), Text("b"), Int(2), Text("y"))
	r.flush(h, 100)
	v2 := Table("items", 2, []string{"id"}, Column("id", "int8"), Column("name", "text"), Column("big", "text"))
	h.Update(t, Int(2), Text("b2"), Int(3), Absent())
	h.Update(v2, Int(1), Text("a2"), Absent())
	h.Create(v2, Int(3), Text("c"), Null())
	h.Delete(v2, Int(2))
	r.flush(h, 100)
	r.holds(h, v2)
}

func renameColumn(r *run) {
	t, h := items(), r.history()
	h.Create(t, Int(1), Text("a"), Int(1), Text("x"))
	h.Create(t, Int(2), Text("b"), Int(2), Text("y"))
	r.flush(h, 100)
	// A rename moves the column in the middle, so positions shift as well.
	v2 := Table("items", 2, []string{"id"}, Column("n", "int8"), Column("id", "int8"), Column("title", "text"), Column("big", "text"))
	h.Update(v2, Int(10), Int(1), Text("a as title"), Absent())
	h.Create(v2, Int(30), Int(3), Text("c"), Text("z"))
	h.Delete(v2, Int(3))
	r.flush(h, 100)
	r.holds(h, v2)
}

func replayOldBatch(r *run) {
	t, h := items(), r.history()
	for id := range int64(10) {
		h.Create(t, Int(id), Text("a"), Int(0), Text("x"))
	}
	first := h.Len()
	r.flush(h, 100)
	for n := range int64(50) {
		h.Update(t, Int(n%10), Text("b"), Int(n), Text("y"))
	}
	r.flush(h, 100)
	r.write(h.Slice(0, first)) // old news is success
	r.holds(h, t)
	r.write(h.Slice(first, first+20))
	r.holds(h, t)
	r.write(h.Slice(h.Len()-1, h.Len())) // the same version again
	r.holds(h, t)
}

func replayEverything(r *run) {
	t, h := items(), r.history()
	for n := range int64(300) {
		id := n * 7 % 23
		switch n % 11 {
		case 0, 5:
			h.Delete(t, Int(id))
			h.Tombstone(t, Int(id))
		case 1, 2, 3:
			h.Create(t, Int(id), Text("c"), Int(n), long(fmt.Sprint(n)))
		case 4:
			if n == 147 {
				h.Truncate(t)
			}
			h.Read(t, Int(id), Text("r"), Int(n), Null())
		default:
			h.Update(t, Int(id), Text("u"), Int(n), Absent())
		}
	}
	for _, size := range []int{13, 1000, 1, 64} {
		r.reopen()
		h.taken = 0
		r.flush(h, size)
		r.holds(h, t)
	}
}

func noResurrection(r *run) {
	t, h := items(), r.history()
	h.Create(t, Int(1), Text("a"), Int(1), Text("x"))
	h.Update(t, Int(1), Text("b"), Int(2), Text("x"))
	h.Create(t, Int(2), Text("stays"), Int(2), Text("x"))
	old := h.Len()
	r.flush(h, 100)
	h.Delete(t, Int(1))
	r.flush(h, 100)
	r.write(h.Slice(0, old))
	r.holds(h, t)
	r.write(h.Slice(1, 2))
	r.holds(h, t)
}

func replayAbsent(r *run) {
	t, h := items(), r.history()
	h.Create(t, Int(1), Text("a"), Int(1), long("first"))
	h.Update(t, Int(1), Text("b"), Int(2), Absent())
	h.Update(t, Int(1), Text("c"), Int(3), long("second"))
	h.Update(t, Int(1), Text("d"), Int(4), Absent())
	r.flush(h, 1)
	r.holds(h, t)
	for from := range h.Len() {
		r.write(h.Slice(from, from+1))
		r.holds(h, t)
		r.write(h.Slice(from, h.Len()))
		r.holds(h, t)
	}
}
