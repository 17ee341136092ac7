package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/redis/rueidis"
)

// placeholder stands in events for a large value that an update left unchanged.
const placeholder = "__debezium_unavailable_value"

// item is a row of the table, as far as it is compared.
type item struct {
	ID     int64   `json:"id"`
	Client int     `json:"client"`
	Ver    int64   `json:"ver"`
	Name   *string `json:"name"`
	Big    *string `json:"big"`
}

func (i item) text() string {
	show := func(s *string) string {
		if s == nil {
			return "null"
		}
		h := sha256.Sum256([]byte(*s))
		return hex.EncodeToString(h[:8])
	}
	return fmt.Sprintf("%d|%d|%d|%s|%s", i.ID, i.Client, i.Ver, show(i.Name), show(i.Big))
}

// verdict is what the comparison found.
type verdict struct {
	lost, doubled, misordered int
	equal                     bool
	notes                     []string
}

func (v *verdict) note(format string, args ...any) {
	if len(v.notes) < 20 {
		v.notes = append(v.notes, fmt.Sprintf(format, args...))
	}
}

// history folds the records of the log and looks for what must not be in it.
type history struct {
	v       *verdict
	items   map[int64]item
	last    map[int64]int64 // newest ver seen of a key
	seen    map[string]bool // transaction, LSN, op and key of every streamed change
	journal map[[2]int64]int
}

type event struct {
	Topic string `json:"topic"`
	Value *struct {
		Before *item           `json:"before"`
		After  json.RawMessage `json:"after"`
		Op     string          `json:"op"`
		Source struct {
			Tx  int64 `json:"txId"`
			LSN int64 `json:"lsn"`
		} `json:"source"`
	} `json:"value"`
	Key json.RawMessage `json:"key"`
}

// read takes the output of `tailrace tail -o json`.
func (h *history) read(r io.Reader) error {
	in := bufio.NewReaderSize(r, 1<<20)
	for {
		line, err := in.ReadBytes('\n')
		if errors.Is(err, io.EOF) && len(line) == 0 {
			return nil
		}
		if err != nil {
			return fmt.Errorf("tail was cut short: %w", err)
		}
		var e event
		if err := json.Unmarshal(line, &e); err != nil {
			return fmt.Errorf("tail printed %.200q: %w", line, err)
		}
		if e.Value == nil { // a tombstone
			continue
		}
		if err := h.apply(&e); err != nil {
			return err
		}
	}
}

func (h *history) apply(e *event) error {
	if e.Value.Op != "r" {
		id := fmt.Sprintf("%s %d %d %s %s", e.Topic, e.Value.Source.Tx, e.Value.Source.LSN, e.Value.Op, e.Key)
		if h.seen[id] {
			h.v.doubled++
			h.v.note("twice in the log: %s", id)
		}
		h.seen[id] = true
	}
	if e.Topic == "camp.public.journal" {
		var j struct{ Client, Seq int64 }
		if err := json.Unmarshal(e.Value.After, &j); err != nil {
			return err
		}
		h.journal[[2]int64{j.Client, j.Seq}]++
		return nil
	}
	if e.Value.Op == "d" {
		delete(h.items, e.Value.Before.ID)
		return nil
	}
	var row item
	if err := json.Unmarshal(e.Value.After, &row); err != nil {
		return err
	}
	if row.Big != nil && *row.Big == placeholder {
		row.Big = h.items[row.ID].Big // nil before the snapshot's row, which comes later and is whole
	}
	if row.Ver < h.last[row.ID] {
		h.v.misordered++
		h.v.note("key %d: ver %d (%s) after %d", row.ID, row.Ver, e.Value.Op, h.last[row.ID])
	}
	if row.Name != nil && *row.Name == "phantom" {
		h.v.doubled++
		h.v.note("rolled-back row %d is in the log", row.ID)
	}
	h.last[row.ID] = row.Ver
	h.items[row.ID] = row
	return nil
}

// compare reads log, source and sink at rest.
func compare(ctx context.Context, l *lab) (verdict, error) {
	v := verdict{equal: true}
	h := &history{v: &v, items: map[int64]item{}, last: map[int64]int64{}, seen: map[string]bool{}, journal: map[[2]int64]int{}}
	cmd := exec.CommandContext(ctx, l.bin, "tail", "camp.public.item", "camp.public.journal", "--from", "start", "--until", "end", "-o", "json", "--url", l.url())
	out, err := cmd.StdoutPipe()
	if err != nil {
		return v, err
	}
	if err := cmd.Start(); err != nil {
		return v, err
	}
	if err := errors.Join(h.read(out), cmd.Wait()); err != nil {
		return v, err
	}
	source, err := l.source(ctx, h)
	if err != nil {
		return v, err
	}
	sink, err := l.sinkRows(ctx)
	if err != nil {
		return v, err
	}
	for name, got := range map[string]map[int64]item{"log": h.items, "sink": sink} {
		for id, want := range source {
			if g, ok := got[id]; !ok || g.text() != want.text() {
				v.equal = false
				v.note("%s differs at key %d: %s, source has %s", name, id, g.text(), want.text())
			}
		}
		for id := range got {
			if _, ok := source[id]; !ok {
				v.equal = false
				v.note("%s has key %d, the source does not", name, id)
			}
		}
	}
	fmt.Printf("rows: source %d, log %d, sink %d; transactions %d; records judged %d\n", len(source), len(h.items), len(sink), len(h.journal), len(h.seen))
	return v, nil
}

// source reads the tables and holds the journal against the log's.
func (l *lab) source(ctx context.Context, h *history) (map[int64]item, error) {
	rows, err := l.conn.Query(ctx, "select client::bigint, seq from journal")
	if err != nil {
		return nil, err
	}
	committed, err := pgx.CollectRows(rows, func(r pgx.CollectableRow) (k [2]int64, err error) { return k, r.Scan(&k[0], &k[1]) })
	if err != nil {
		return nil, err
	}
	for _, k := range committed {
		if h.journal[k] == 0 {
			h.v.lost++
			h.v.note("transaction %d of client %d is not in the log", k[1], k[0])
		}
	}
	if rows, err = l.conn.Query(ctx, "select id, client, ver, name, big from item"); err != nil {
		return nil, err
	}
	items, err := pgx.CollectRows(rows, func(r pgx.CollectableRow) (i item, err error) {
		return i, r.Scan(&i.ID, &i.Client, &i.Ver, &i.Name, &i.Big)
	})
	m := make(map[int64]item, len(items))
	for _, i := range items {
		m[i.ID] = i
	}
	return m, err
}

// sinkRows reads the rows in Redis.
func (l *lab) sinkRows(ctx context.Context) (map[int64]item, error) {
	c, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{l.redis.Addr}, DisableCache: true})
	if err != nil {
		return nil, err
	}
	defer c.Close()
	m := map[int64]item{}
	for cursor := uint64(0); ; {
		page, err := c.Do(ctx, c.B().Scan().Cursor(cursor).Match("camp.public.item:*").Count(5000).Build()).AsScanEntry()
		if err != nil {
			return nil, err
		}
		for keys := range slices.Chunk(page.Elements, 1000) {
			values, err := c.Do(ctx, c.B().Mget().Key(keys...).Build()).AsStrSlice()
			if err != nil {
				return nil, err
			}
			for _, text := range values {
				var i item
				if err := json.Unmarshal([]byte(text), &i); err != nil {
					return nil, err
				}
				m[i.ID] = i
			}
		}
		if cursor = page.Cursor; cursor == 0 {
			return m, nil
		}
	}
}
