package elasticsearch

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/elastic/go-elasticsearch/v8/esapi"

	"github.com/tailrace/tailrace/internal/fault"
	"github.com/tailrace/tailrace/sink"
)

// maxBackoff caps the pause between retries.
const maxBackoff = 10 * time.Second

// lane sends one bulk request at a time. Its buffers are reused; only what it returns, rejected and refused, leaves it.
type lane struct {
	k        *Sink
	body     []byte
	items    []item
	reading  []int // states of an _mget
	left     []int // states that are to be sent again
	rejected sink.Rejected
	refused  []int // states whose newest event was rejected
}

// item is one document in a bulk request.
type item struct {
	state  int
	lo, hi int // its lines in lane.body
}

// reason is why Elasticsearch refused something.
type reason struct {
	Type   string  `json:"type"`
	Reason string  `json:"reason"`
	Cause  *reason `json:"caused_by"`
}

func (r *reason) Error() string {
	s := r.Type + ": " + r.Reason
	if r.Cause != nil {
		s += ": " + r.Cause.Reason
	}
	return s
}

type outcome struct {
	Status int     `json:"status"`
	Error  *reason `json:"error"`
}

type bulkAnswer struct {
	Errors bool `json:"errors"`
	Items  []struct {
		Index  *outcome `json:"index"`
		Delete *outcome `json:"delete"`
	} `json:"items"`
}

// write writes the documents of the states. It sends again, with pauses, what was refused for now, and gives up when
// nothing was accepted in max.retries tries in a row.
func (l *lane) write(ctx context.Context, states []int) error {
	for try := 0; ; try++ {
		n := len(states)
		err := l.pass(ctx, states)
		if err == nil && len(l.left) == 0 {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if fault.IsPermanent(err) {
			return err
		}
		if len(l.left) < n {
			try = 0
		}
		if try >= l.k.cfg.Retries {
			return err
		}
		if err := l.k.pause(ctx, try); err != nil {
			return err
		}
		// left is the lane's own memory: the next pass appends behind what it reads.
		states = append([]int(nil), l.left...)
	}
}

// pass tries to write each of the states once. The states that are to be sent again are in left, with the reason in the
// error.
func (l *lane) pass(ctx context.Context, states []int) error {
	l.left = l.left[:0]
	old, err := l.read(ctx, states)
	if err != nil {
		l.left = append(l.left, states...)
		return err
	}
	var why error
	for i := 0; i < len(states); {
		before := len(l.left)
		i += l.build(states[i:], old)
		err := l.send(ctx, l.items)
		if err != nil {
			why = err
		}
		// No second request to a cluster that takes nothing of the first, or can't be reached.
		if err != nil && (ctx.Err() != nil || fault.IsPermanent(err) || len(l.left)-before == len(l.items)) {
			l.left = append(l.left, states[i:]...)
			return why
		}
	}
	return why
}

// build makes the body of a request of the first of the states, up to bulk.size.bytes, and returns how many it holds.
func (l *lane) build(states []int, old map[int][]byte) int {
	l.body, l.items = l.body[:0], l.items[:0]
	for _, n := range states {
		s, at := &l.k.fold.States[n], len(l.body)
		l.body = appendAction(l.body, l.k.places[n].index, s.Deleted, l.k.id(n), s.Version)
		if !s.Deleted {
			l.body = appendDocument(l.body, s, old[n], l.k.partition)
		}
		l.items = append(l.items, item{n, at, len(l.body)})
		if len(l.body) >= l.k.cfg.Bytes {
			break
		}
	}
	return len(l.items)
}

// send writes items, which are neighbours in body, by one request; by two if it is too large, or wrong as a whole.
func (l *lane) send(ctx context.Context, items []item) error {
	r := esapi.BulkRequest{Body: bytes.NewReader(l.body[items[0].lo:items[len(items)-1].hi]), FilterPath: filter()}
	if l.k.cfg.Refresh {
		r.Refresh = "true"
	}
	text, err := l.k.client.do(ctx, r)
	if err != nil {
		return l.failed(ctx, items, err)
	}
	if bytes.HasPrefix(text, []byte(`{"errors":false`)) {
		return nil
	}
	var got bulkAnswer
	if err := json.Unmarshal(text, &got); err != nil {
		return l.again(items, fmt.Errorf("elasticsearch: unreadable answer: %w", err))
	}
	if len(got.Items) != len(items) {
		return l.again(items, fmt.Errorf("elasticsearch answered %d items of %d", len(got.Items), len(items)))
	}
	return l.judge(items, &got)
}

func filter() []string { return []string{"errors", "items.*.status", "items.*.error"} }

// failed decides what becomes of a request that failed as a whole.
func (l *lane) failed(ctx context.Context, items []item, err error) error {
	switch status := statusOf(err); {
	case status != http.StatusRequestEntityTooLarge && status != http.StatusBadRequest:
		return l.again(items, err)
	case len(items) == 1:
		l.reject(items[0].state, err)
		return nil
	}
	half := len(items) / 2
	first := l.send(ctx, items[:half])
	if ctx.Err() != nil || fault.IsPermanent(first) {
		return l.again(items[half:], first)
	}
	return errors.Join(first, l.send(ctx, items[half:]))
}

func (l *lane) again(items []item, why error) error {
	for _, it := range items {
		l.left = append(l.left, it.state)
	}
	return why
}

// judge decides what becomes of each item: an older version than the document's is old news and success, as is the
// delete of what is not there.
func (l *lane) judge(items []item, got *bulkAnswer) error {
	var why error
	waiting := 0
	for i, g := range got.Items {
		o := g.Index
		if o == nil {
			o = g.Delete
		}
		n := items[i].state
		if o == nil {
			return l.again(items[i:], errors.New("elasticsearch: unreadable answer: an item without an outcome"))
		}
		switch {
		case o.Status >= 200 && o.Status < 300 || o.Status == http.StatusConflict:
		case o.Status == http.StatusNotFound && o.Error == nil && l.k.fold.States[n].Deleted:
		case o.forGood():
			l.reject(n, fmt.Errorf("elasticsearch refuses the document %s: %w", l.k.id(n), o.Error))
		default:
			waiting++
			l.left = append(l.left, n)
			why = o.why()
		}
	}
	if why != nil {
		why = fmt.Errorf("elasticsearch refuses %d of %d documents for now: %w", waiting, len(items), why)
	}
	return why
}

// forGood reports whether the document itself is the reason: its content contradicts the mapping. Whatever an operator can
// cure without touching the row (a closed or missing index, a write block, privileges, load) is for now.
func (o *outcome) forGood() bool {
	if o.Error == nil || o.Status != http.StatusBadRequest && o.Status != http.StatusRequestEntityTooLarge {
		return false
	}
	switch o.Error.Type {
	case "index_closed_exception", "index_not_found_exception", "cluster_block_exception", "es_rejected_execution_exception", "routing_missing_exception":
		return false
	case "illegal_argument_exception": // what an alias or a data stream answers to every document
		return !strings.Contains(o.Error.Reason, "no write index") && !strings.Contains(o.Error.Reason, "op_type of create")
	}
	return true
}

func (o *outcome) why() error {
	err := fmt.Errorf("status %d", o.Status)
	if o.Error != nil {
		err = fmt.Errorf("%d %w", o.Status, o.Error)
		switch {
		case o.Error.Type == "routing_missing_exception" || o.Error.Type == "illegal_argument_exception" && !o.forGood():
			err = fault.Permanent("INDEX_REFUSED", "name an index by topic.to.external.resource.mapping that is no data stream, no alias without a write index, and demands no routing", err)
		case o.Error.Type == "security_exception":
			err = fault.Permanent("AUTH_FAILED", "give the role the privileges to write the index", err)
		}
	}
	return err
}

// reject rejects the newest event that went into a state; those before it are tried again by Write.
func (l *lane) reject(state int, err error) {
	newest := true
	l.k.fold.Events(&l.k.fold.States[state], func(i int) {
		if newest {
			l.rejected = append(l.rejected, sink.RowError{Index: i, Err: err})
		} else if len(l.refused) == 0 || l.refused[len(l.refused)-1] != state {
			l.refused = append(l.refused, state)
		}
		newest = false
	})
}

// pause waits before try+1: between half and all of a time that doubles.
func (k *Sink) pause(ctx context.Context, try int) error {
	d := min(k.cfg.Backoff<<min(try, 20), maxBackoff)
	t := time.NewTimer(d/2 + time.Duration(k.jitter()*float64(d/2)))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
