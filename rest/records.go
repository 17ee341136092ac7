package rest

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/tailrace/tailrace/internal/jsontext"
	"github.com/tailrace/tailrace/worker"
)

// flushEvery is how long records may wait in a buffer before they are sent.
const flushEvery = 50 * time.Millisecond

// records streams records as JSON lines until the present end, or until the client goes.
func (s *Server) records(q *request) {
	v := q.r.URL.Query()
	req := worker.TailRequest{Topics: v["topic"], From: v.Get("from"), Until: v.Get("until")}
	if len(req.Topics) == 0 {
		fail(q.w, http.StatusBadRequest, "the parameter topic is missing")
		return
	}
	if slices.Contains(req.Topics, worker.ConfigTopic) { // Invariant 9
		fail(q.w, http.StatusForbidden, worker.ConfigTopic+" may hold secrets: GET /connectors?expand=info shows what can be shown of it")
		return
	}
	if q.r.Method == http.MethodHead {
		(&lines{w: q.w}).begin()
		return
	}
	ctx, cancel := context.WithCancel(q.r.Context())
	defer cancel()
	l := &lines{w: q.w, rc: http.NewResponseController(q.w)}
	_ = l.rc.SetWriteDeadline(time.Time{}) // a stream has no end; a writer without deadlines needs none lifted
	var ticking sync.WaitGroup
	ticking.Go(func() { l.tick(ctx, cancel, s.stopping, req.Until == "") })
	err := s.w.Tail(ctx, req, l.record)
	gone := q.r.Context().Err() != nil
	stopped := err != nil && ctx.Err() != nil && !gone
	cancel()
	ticking.Wait()
	switch {
	case err == nil, stopped && req.Until == "":
		l.begin()
	case gone:
	case !l.begun && !stopped:
		var invalid *worker.InvalidError
		if errors.As(err, &invalid) {
			fail(q.w, http.StatusBadRequest, invalid.Problems[0].String())
			return
		}
		q.failed(err, err.Error())
	default: // the client must not take it for the end
		if !stopped {
			s.opt.Logger.Warn("records were cut short", "topics", req.Topics, "error", err)
		}
		panic(http.ErrAbortHandler)
	}
}

// lines writes records to a client. Its methods may be called concurrently.
type lines struct {
	w  http.ResponseWriter
	rc *http.ResponseController

	mu    sync.Mutex
	buf   []byte
	begun bool // the header was sent
	dirty bool // something was written and not flushed
}

// record implements the emit of worker.Tail.
func (l *lines) record(r *worker.TailRecord) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.header()
	l.buf, l.dirty = appendRecord(l.buf[:0], r), true
	_, err := l.w.Write(l.buf)
	return err
}

// begin sends the header if nothing was sent yet.
func (l *lines) begin() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.header()
}

func (l *lines) header() {
	if l.begun {
		return
	}
	l.begun = true
	l.w.Header().Set("Content-Type", "application/x-ndjson")
	l.w.Header().Set("Cache-Control", "no-store")
	l.w.WriteHeader(http.StatusOK)
}

// tick flushes now and then until ctx is done, so that no record waits for the next one, and a client that follows a topic
// in which nothing happens gets its header. It calls cancel when the client can't be written to, and for a client that
// follows when stopping is closed.
func (l *lines) tick(ctx context.Context, cancel func(), stopping <-chan struct{}, follows bool) {
	t := time.NewTicker(flushEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-stopping:
			if follows {
				cancel()
				return
			}
			stopping = nil // what has an end comes to it
		case <-t.C:
		}
		if err := l.flush(follows); err != nil {
			cancel()
			return
		}
	}
}

func (l *lines) flush(follows bool) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.begun && follows {
		l.header()
		l.dirty = true
	}
	if !l.dirty {
		return nil
	}
	l.dirty = false
	return l.rc.Flush()
}

// appendRecord appends a record as one line of JSON. Keys and values that are JSON are put in as they are.
func appendRecord(dst []byte, r *worker.TailRecord) []byte {
	dst = jsontext.AppendText(append(dst, `{"topic":`...), r.Topic)
	dst = strconv.AppendInt(append(dst, `,"partition":`...), int64(r.Partition), 10)
	dst = strconv.AppendInt(append(dst, `,"offset":`...), r.Offset, 10)
	dst = strconv.AppendInt(append(dst, `,"timestamp":`...), r.Timestamp, 10)
	dst = appendJSON(append(dst, `,"key":`...), r.Key)
	dst = appendJSON(append(dst, `,"value":`...), r.Value)
	dst = append(dst, `,"headers":`...)
	if r.Headers == nil {
		dst = append(dst, "[]"...)
	}
	return append(append(dst, r.Headers...), "}\n"...)
}

// appendJSON appends p as it is if it is JSON, otherwise as a string. It stays one line.
func appendJSON(dst, p []byte) []byte {
	if p == nil {
		return append(dst, "null"...)
	}
	return jsontext.AppendJSON(dst, p)
}
