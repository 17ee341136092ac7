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
	Stopped State = "stopped" // a signal ended it
	Failed  State = "failed"  // Reason says why; the next start of the connector tries again
)

// Progress is the state of a whole copy at one moment. It shares no memory with the weave.
type Progress struct {
	Tables    []TableProgress // in copy order
	Started   time.Time       // when this run began or continued the copy
	Copied    int64           // rows copied in this run
	Took      time.Duration   // from Started to this report
	Pauses    time.Duration   // how much of it the copy was paused, but for the pause that Paused tells of
	Completed bool
	Paused    bool
}

// TableProgress is the state of one table's copy.
type TableProgress struct {
	Table     change.TableName
	Rows      int64 // rows copied so far, in this run and those before it
	Estimated int64 // about how many rows there are; -1: not known
	State     State
	Reason    string // why it has failed
	Signal    string // the id of the signal that asked for it; empty: it is part of the initial copy
	Chunks    int64  // chunks sent in this run
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

// Rate returns the rows copied in a second, in this run up to now and without its pauses; 0 while none are.
func (p Progress) Rate(now time.Time) float64 {
	took := now.Sub(p.Started) - p.Pauses
	if took <= 0 || p.Completed || p.Paused {
		return 0
	}
	return float64(p.Copied) / took.Seconds()
}

// Left estimates by the rate how long the rest of the copy takes; false if that is not known.
func (p Progress) Left(now time.Time) (time.Duration, bool) {
	done, total := p.Rows()
	rate := p.Rate(now)
	if total < 0 || rate == 0 {
		return 0, p.Completed
	}
	return time.Duration(float64(max(0, total-done)) / rate * float64(time.Second)), true
}
