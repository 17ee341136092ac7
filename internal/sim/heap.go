package sim

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/snapshot"
)

// A HeapSource reads tables by place, as PostgreSQL reads them by ctid: a row that is written moves. Its reads end early now
// and then. It reads single rows many at once. The DB needs Config.Heap.
type HeapSource struct{ *Source }

var (
	_ snapshot.Divider = (*HeapSource)(nil)
	_ snapshot.Fetcher = (*HeapSource)(nil)
)

// HeapSource opens the database for one run of a connector.
func (db *DB) HeapSource() *HeapSource { return &HeapSource{db.Source()} }

// cursor is a place and, inside of it, the key of the last row.
func cursor(place int, key string) string { return fmt.Sprintf("%03d/%s", place, key) }

// Divide implements snapshot.Divider: pieces have 1 to 30 places.
func (s *HeapSource) Divide(_ context.Context, _ *change.Table, after []byte, _ int) (snapshot.Piece, error) {
	s.db.mu.Lock()
	defer s.db.mu.Unlock()
	p := snapshot.Piece{After: after, Loose: true}
	at := 0
	if after != nil {
		if _, err := fmt.Sscanf(string(after), "%d/", &at); err != nil {
			return p, fmt.Errorf("cursor %q: %w", after, snapshot.ErrCursor)
		}
	}
	if at += 1 + s.db.rng.IntN(30); at >= heapSize {
		p.Last = true
		at = heapSize
	}
	p.To = []byte(cursor(at, ""))
	return p, nil
}

// heapWindow is the window of a read by place.
type heapWindow struct {
	*window
	at []byte
}

var _ snapshot.Cursored = heapWindow{}

// Cursor implements snapshot.Cursored.
func (w heapWindow) Cursor() []byte { return w.at }

// ScanPiece implements snapshot.Divider.
func (s *HeapSource) ScanPiece(ctx context.Context, ct *change.Table, p snapshot.Piece, b *change.Batch) (snapshot.Window, error) {
	db := s.db
	if err := db.pause(ctx); err != nil {
		return nil, err
	}
	db.mu.Lock()
	t := db.find(ct)
	w := heapWindow{&window{db: db, seen: db.seen}, p.To}
	var keys []string
	for k := range t.rows {
		if at := cursor(t.places[k], k); at > string(p.After) && at <= string(p.To) {
			keys = append(keys, k)
		}
	}
	slices.SortFunc(keys, func(a, b string) int { return strings.Compare(cursor(t.places[a], a), cursor(t.places[b], b)) })
	if n := len(keys); n > 1 && db.rng.IntN(3) == 0 {
		keys = keys[:1+db.rng.IntN(n-1)]
		w.cut, w.at = true, []byte(cursor(t.places[keys[len(keys)-1]], keys[len(keys)-1]))
	}
	rows := make([]change.Row, len(keys))
	for i, k := range keys {
		rows[i] = t.rows[k]
	}
	db.mu.Unlock()
	if err := db.pause(ctx); err != nil {
		return nil, err
	}
	for i, k := range keys {
		e := b.Add()
		e.Table, e.Op, e.Topic = t.Table, change.OpRead, t.topic
		e.Key, e.After = b.Copy([]byte(k)), b.CopyRow(rows[i])
	}
	db.mu.Lock()
	w.high = db.lsn
	db.scans = append(db.scans, ScanCall{t.Name.String(), string(p.After), len(b.Events)})
	db.mu.Unlock()
	return w, db.pause(ctx)
}
