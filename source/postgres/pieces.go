package postgres

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/snapshot"
)

var (
	_ snapshot.Divider = (*Source)(nil)
	_ snapshot.Namer   = (*Source)(nil)
)

const (
	mostBlocks   = 8192 // of one piece: 64 MiB of a table that is full of holes
	guessDensity = 50   // rows in a block, before we know
	fewRows      = 1024 // a piece that is to have fewer rows has no more than that
)

// A place is a ctid: the number of a block of the table's file and a row's number in it, from 1. Places with row 0 are
// where blocks begin.
type place struct {
	block uint32
	row   uint16
}

func (p place) before(q place) bool { return p.block < q.block || p.block == q.block && p.row < q.row }

// String writes the place as PostgreSQL does.
func (p place) String() string { return fmt.Sprintf("(%d,%d)", p.block, p.row) }

// parsePlace reads "(block,row)".
func parsePlace(text []byte) (p place, err error) {
	inner, ok := bytes.CutPrefix(text, []byte("("))
	i := bytes.IndexByte(inner, ',')
	if !ok || i < 0 || !bytes.HasSuffix(inner, []byte(")")) {
		return p, fmt.Errorf("malformed ctid %q", text)
	}
	block, ok1 := digits(inner[:i], 1<<32-1)
	row, ok2 := digits(inner[i+1:len(inner)-1], 1<<16-1)
	if !ok1 || !ok2 {
		return p, fmt.Errorf("malformed ctid %q", text)
	}
	return place{uint32(block), uint16(row)}, nil
}

// digits reads a decimal number up to most without allocating.
func digits(text []byte, most uint64) (n uint64, ok bool) {
	for _, c := range text {
		if c < '0' || c > '9' {
			return 0, false
		}
		if n = 10*n + uint64(c-'0'); n > most {
			return 0, false
		}
	}
	return n, len(text) > 0
}

// Cursors of pieces are texts: "ctid FILE (BLOCK,ROW)", where FILE is the number of the table's file, or "key " and a key tuple,
// for tables that can't be read by place.
const (
	placePrefix = "ctid "
	keyPrefix   = "key "
)

func placeCursor(file uint32, p place) []byte {
	return fmt.Appendf(nil, "%s%d %v", placePrefix, file, p)
}

func parseCursor(cursor []byte) (file uint32, p place, err error) {
	text, ok := strings.CutPrefix(string(cursor), placePrefix)
	number, at, ok2 := strings.Cut(text, " ")
	n, err := strconv.ParseUint(number, 10, 32)
	if ok && ok2 && err == nil {
		p, err = parsePlace([]byte(at))
	}
	if !ok || !ok2 || err != nil {
		return 0, p, fmt.Errorf("cursor %.60q: %w", cursor, snapshot.ErrCursor)
	}
	return uint32(n), p, nil
}

// An extent is what there is to read of a table by place. It is safe for concurrent use.
type extent struct {
	mu      sync.Mutex
	file    uint32
	blocks  uint32
	density float64 // rows in a block
}

// learn notes how many rows some blocks had.
func (x *extent) learn(rows int, blocks uint32) {
	if blocks == 0 {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.density = max(0.01, (x.density+float64(rows)/float64(blocks))/2)
}

// measure asks for the table's file and its size. Blocks that are added later hold rows that the stream brings: see the proof in
// package snapshot.
func (s *Source) measure(ctx context.Context, st *scanTable) (file uint32, blocks uint32, err error) {
	var pages, size int64
	var rows float64
	err = s.control.do(ctx, func(conn *pgx.Conn) error {
		return conn.QueryRow(ctx, `SELECT COALESCE(pg_relation_filenode(oid), 0)::int8, relpages::int8, reltuples::float8,
			(pg_relation_size(oid) + current_setting('block_size')::int8 - 1) / current_setting('block_size')::int8
			FROM pg_class WHERE oid = $1`, st.relation.shape.oid).Scan(&file, &pages, &rows, &size)
	})
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, 0, snapshot.ErrChanged
	}
	x := &st.extent
	x.mu.Lock()
	defer x.mu.Unlock()
	x.file, x.blocks = file, uint32(size)
	if x.density == 0 {
		x.density = guessDensity
		if pages > 0 && rows > 0 {
			x.density = max(0.01, rows/float64(pages))
		}
	}
	return file, x.blocks, err
}

// Divide implements snapshot.Divider: so many blocks of the table's file as have about so many rows. A table that is no
// ordinary one (a partitioned table as a whole) is one piece, which ScanPiece reads in the order of keys and cuts short.
func (s *Source) Divide(ctx context.Context, t *change.Table, after []byte, rows int) (snapshot.Piece, error) {
	st := s.lookup(t)
	if st == nil {
		return snapshot.Piece{}, fmt.Errorf("table %s: %w", t.Name, snapshot.ErrChanged)
	}
	if !st.heap {
		return snapshot.Piece{After: after, Rows: rows, Last: true}, nil
	}
	p := snapshot.Piece{After: after, Rows: rows, Loose: true}
	x := &st.extent
	x.mu.Lock()
	file, blocks := x.file, x.blocks
	x.mu.Unlock()
	var from place
	if after != nil {
		var known uint32
		var err error
		if known, from, err = parseCursor(after); err != nil {
			return p, err
		}
		if known != file {
			if file, blocks, err = s.measure(ctx, st); err != nil {
				return p, err
			}
		}
		if known != file {
			return p, fmt.Errorf("table %s: %w", t.Name, snapshot.ErrCursor)
		}
	} else {
		var err error
		if file, blocks, err = s.measure(ctx, st); err != nil {
			return p, err
		}
	}
	x.mu.Lock()
	n := uint32(min(max(float64(rows)/x.density, 1), mostBlocks))
	x.mu.Unlock()
	to := uint64(from.block) + uint64(n)
	if p.Last = to >= uint64(blocks); p.Last {
		to = max(uint64(blocks), uint64(from.block))
	}
	p.After, p.To = placeCursor(file, from), placeCursor(file, place{block: uint32(to)})
	return p, nil
}

// ScanPiece implements snapshot.Divider.
func (s *Source) ScanPiece(ctx context.Context, t *change.Table, p snapshot.Piece, b *change.Batch) (snapshot.Window, error) {
	st := s.lookup(t)
	if st == nil {
		return nil, fmt.Errorf("table %s: %w", t.Name, snapshot.ErrChanged)
	}
	if !st.heap {
		return s.scanInKeyOrder(ctx, st, p, b)
	}
	file, from, err := parseCursor(p.After)
	if err != nil {
		return nil, err
	}
	_, to, err := parseCursor(p.To)
	if err != nil {
		return nil, err
	}
	w, err := s.readChunk(ctx, st, st.byPlace(file, from, to, p.Rows), b)
	if err != nil {
		return nil, err
	}
	at := p.To
	if w.cut {
		at = placeCursor(file, w.last)
	} else {
		st.extent.learn(len(b.Events), to.block-from.block)
	}
	return placedWindow{w, at}, nil
}

// byPlace makes the read of the rows between two places.
func (st *scanTable) byPlace(file uint32, from, to place, rows int) read {
	q := read{limit: 2 * rows, cut: true, places: true, file: file}
	if rows < fewRows { // they are large: the density is that of their small parts
		q.limit = rows
	}
	where := []string{fmt.Sprintf("ctid > '%v' AND ctid <= '%v'", from, to)}
	if st.filter != "" {
		where = append(where, "("+st.filter+")")
	}
	q.sql = "SELECT ctid, " + st.relation.selectList() + " FROM " + st.relation.target + conditions(where) + " LIMIT " + strconv.Itoa(q.limit)
	return q
}

// scanInKeyOrder reads the next rows of a table that can't be read by place.
func (s *Source) scanInKeyOrder(ctx context.Context, st *scanTable, p snapshot.Piece, b *change.Batch) (snapshot.Window, error) {
	var after []byte
	if p.After != nil {
		var ok bool
		if after, ok = bytes.CutPrefix(p.After, []byte(keyPrefix)); !ok {
			return nil, fmt.Errorf("cursor %.60q: %w", p.After, snapshot.ErrCursor)
		}
	}
	q, err := st.inKeyOrder(after, p.Rows)
	if err != nil {
		return nil, fmt.Errorf("cursor %.60q: %w", p.After, snapshot.ErrCursor)
	}
	w, err := s.readChunk(ctx, st, q, b)
	if err != nil {
		return nil, err
	}
	at := p.After
	if n := len(b.Events); n > 0 {
		at = append([]byte(keyPrefix), b.Events[n-1].Key...)
	}
	return placedWindow{w, at}, nil
}

// Topic implements snapshot.Namer.
func (s *Source) Topic(t *change.Table) string { return s.settings.topic(t.Name.Schema, t.Name.Table) }

// A pool is sessions that are used one at a time each. It grows with its use and never has more sessions than were used at the
// same time.
type pool struct {
	settings  *settings
	connector string
	mu        sync.Mutex
	idle      []*session
	closed    bool
}

// chunkBuffer is what a connection that reads chunks takes from the network at once.
const chunkBuffer = 256 << 10

// buffered makes a connection read so many bytes at once.
func buffered(c *pgconn.Config, size int) {
	c.BuildFrontend = func(r io.Reader, w io.Writer) *pgproto3.Frontend {
		return pgproto3.NewFrontend(bufio.NewReaderSize(r, size), w)
	}
}

// do runs f with a connection of the pool.
func (p *pool) do(ctx context.Context, f func(*pgx.Conn) error) error {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return errors.New("source is closed")
	}
	var s *session
	if n := len(p.idle); n > 0 {
		s, p.idle = p.idle[n-1], p.idle[:n-1]
	} else {
		s = &session{settings: p.settings, connector: p.connector}
	}
	p.mu.Unlock()
	err := s.do(ctx, f)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return errors.Join(err, s.close(context.WithoutCancel(ctx)))
	}
	p.idle = append(p.idle, s)
	return err
}

// close closes the sessions that are idle; those in use close when they are given back.
func (p *pool) close(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	var errs []error
	for _, s := range p.idle {
		errs = append(errs, s.close(ctx))
	}
	p.idle = nil
	return errors.Join(errs...)
}
