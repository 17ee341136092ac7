package snapshot

import (
	"time"

	"github.com/tailrace/tailrace/change"
)

// State is how far a table's copy has come.
type State string

const (
	Waiting State = "waiting" // not begun
	Copying State = "copying"
	Done    State = "done"
)

// Progress is the state of a whole copy at one moment. It shares no memory with the weave.
type Progress struct {
	Tables    []TableProgress // in copy order
	Started   time.Time       // when this run began or continued the copy
	Completed bool
}

// TableProgress is the state of one table's copy.
type TableProgress struct {
	Table     change.TableName
	Rows      int64 // rows copied so far, in this run and those before it
	Estimated int64 // about how many rows there are; -1: not known
	State     State
}

// Rows returns the rows copied and the rows there are in all, -1 if a table's number is not known.
func (p Progress) Rows() (done, total int64) {
	for _, t := range p.Tables {
		done += t.Rows
		switch {
		case t.State == Done:
			t.Estimated = t.Rows
		case t.Estimated >= 0:
			t.Estimated = max(t.Estimated, t.Rows)
		}
		if t.Estimated < 0 || total < 0 {
			total = -1
		} else {
			total += t.Estimated
		}
	}
	return done, total
}
