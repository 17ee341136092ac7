package snapshot

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/internal/fault"
)

// member is the name under which the progress stands in a position, beside the source's own members.
const member = "snapshot"

// progress is what a position knows of the copy:
//
//	{"lsn":...,"snapshot":{"tables":{"public.orders":{"after":"<base64 key tuple>","rows":20480}},"completed":false}}
//
// A table that is not named was never begun.
type progress struct {
	Tables    map[string]tableProgress `json:"tables"`
	Completed bool                     `json:"completed"`
	Paused    bool                     `json:"paused"`
}

type tableProgress struct {
	After   []byte          `json:"after,omitempty"` // the cursor (by default a key) up to which rows are in the log; encoding/json writes base64
	Rows    int64           `json:"rows,omitempty"`  // rows read, those that the stream overtook included
	Done    bool            `json:"done,omitempty"`
	Stopped bool            `json:"stopped,omitempty"` // done, and not to its end
	Job     *job            `json:"job,omitempty"`
	Mark    json.RawMessage `json:"mark,omitempty"`  // where the table's topic ended before its copy
	Sweep   []byte          `json:"sweep,omitempty"` // not nil: all rows were copied, and the log was swept up to here
}

// A job is what an execute-snapshot signal asks for of one table.
type job struct {
	ID        string `json:"id"`
	Type      string `json:"type"` // incremental or blocking
	Filter    string `json:"filter,omitempty"`
	Surrogate string `json:"surrogate,omitempty"`
	Seq       int64  `json:"seq"` // jobs are done in this order
}

// parseProgress takes the progress out of a position. ok is false when the position has none.
func parseProgress(p change.Position) (pr progress, ok bool, err error) {
	if len(p) == 0 {
		return progress{}, false, nil
	}
	var outer struct {
		Snapshot *progress `json:"snapshot"`
	}
	if err := json.Unmarshal(p, &outer); err != nil {
		return progress{}, false, fault.Permanentf("POSITION_INVALID",
			"correct or reset the connector's offsets", "stored position is not readable: %w", err)
	}
	if outer.Snapshot == nil {
		return progress{}, false, nil
	}
	return *outer.Snapshot, true, nil
}

// appendProgress appends the member with the progress of all tables in their order, comma first.
func appendProgress(dst []byte, tables []*tableState, completed, paused bool) []byte {
	dst = append(dst, `,"`+member+`":{"tables":{`...)
	first := true
	for _, t := range tables {
		if !t.done && t.after == nil && t.rows == 0 && t.job == nil && t.sweep == nil && t.mark == nil {
			continue
		}
		if !first {
			dst = append(dst, ',')
		}
		first = false
		name, _ := json.Marshal(t.name) // a string always marshals
		dst = append(append(dst, name...), ':', '{')
		dst = append(t.append(dst), '}')
	}
	dst = fmt.Appendf(dst, `},"completed":%t`, completed)
	if paused {
		dst = append(dst, `,"paused":true`...)
	}
	return append(dst, '}')
}

// append appends the members of a table's progress.
func (t *tableState) append(dst []byte) []byte {
	if t.after != nil && !t.done {
		dst = append(dst, `"after":"`...)
		dst = base64.StdEncoding.AppendEncode(dst, t.after)
		dst = append(dst, `",`...)
	}
	dst = fmt.Appendf(dst, `"rows":%d`, t.rows)
	if t.done {
		dst = append(dst, `,"done":true`...)
	}
	if t.stopped {
		dst = append(dst, `,"stopped":true`...)
	}
	if t.job != nil {
		text, _ := json.Marshal(t.job) // strings and a number always marshal
		dst = append(append(dst, `,"job":`...), text...)
	}
	if t.mark != nil {
		dst = append(append(dst, `,"mark":`...), t.mark...)
	}
	if t.sweep != nil {
		dst = append(dst, `,"sweep":"`...)
		dst = base64.StdEncoding.AppendEncode(dst, t.sweep)
		dst = append(dst, '"')
	}
	return dst
}

// join returns the source's position with our member added, if there is one. The result is fresh memory: positions outlive batches.
func join(inner change.Position, ours []byte) (change.Position, error) {
	p := bytes.TrimRight(inner, " \t\r\n")
	if len(p) < 2 || p[0] != '{' || p[len(p)-1] != '}' {
		return nil, fmt.Errorf("source gave a position that is not a JSON object: %.80q", inner)
	}
	p = bytes.TrimRight(p[:len(p)-1], " \t\r\n")
	if len(p) == 1 && len(ours) > 0 { // an empty object
		ours = ours[1:]
	}
	out := make([]byte, 0, len(p)+len(ours)+1)
	return append(append(append(out, p...), ours...), '}'), nil
}
