package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/internal/compare"
)

// modelLog is all that the log has of one connector, by table.
type modelLog struct {
	name    string
	schema  string
	topics  map[string]*bytes.Buffer // table -> lines as tail prints them
	chapter *chronicle
}

// judge holds every log against the source, and itself.
func (r *modelRun) judge(ctx context.Context) error {
	last := &r.samples[len(r.samples)-1]
	sides := []compare.Side{last}
	var logs []*modelLog
	for _, name := range []string{modelStream, modelWoven, modelCopy} {
		l, err := r.read(ctx, name)
		if err != nil {
			return err
		}
		logs, sides = append(logs, l), append(sides, l.side(name, nil))
	}
	// O1 and O3: the fold of what was streamed, of what was copied and streamed, and of what was copied are the tables.
	if err := r.compare(ctx, last.bags, sides); err != nil {
		return err
	}
	for _, name := range []string{modelStream, modelWoven} {
		sides = append(sides, compare.NewRedis(r.cache, func(t *compare.Table) string {
			return strings.Join([]string{r.name + name, t.Schema, t.Name}, ".") + ":"
		}))
	}
	if err := r.compare(ctx, last.keyed, sides); err != nil {
		return err
	}
	for _, l := range logs[:2] {
		if err := r.chronicle(ctx, l); err != nil {
			return err
		}
	}
	return r.replay(ctx, logs[0])
}

// compare counts each table that differs.
func (r *modelRun) compare(ctx context.Context, tables []*compare.Table, sides []compare.Side) error {
	results, err := compare.Run(ctx, tables, sides)
	if err != nil {
		return err
	}
	differ := 0
	for i := range results {
		if !results[i].Equal() {
			differ++
		}
	}
	if r.violations += differ; differ == 0 {
		return nil
	}
	if err := compare.Print(r.out, results, sides); err != nil {
		return err
	}
	compare.Explain(ctx, r.out, results, sides)
	return nil
}

// read reads all that the log has of a connector, and keeps it beside the daemon's data.
func (r *modelRun) read(ctx context.Context, name string) (*modelLog, error) {
	l := &modelLog{name: name, schema: r.load.schema.name, topics: map[string]*bytes.Buffer{}}
	prefix := r.name + name + "." + l.schema + "."
	topics := []string{prefix + "journal"}
	for _, t := range r.load.schema.ever() {
		topics = append(topics, prefix+t.name)
	}
	in, err := r.daemon.Tail(ctx, topics...)
	if err != nil || in == nil {
		return l, errors.Join(err, errors.New("the log has nothing"))
	}
	all, err := io.ReadAll(in)
	if err = errors.Join(err, in.Close(), os.WriteFile(filepath.Join(r.dir, name+".json"), all, 0o644)); err != nil {
		return nil, err
	}
	for _, line := range bytes.SplitAfter(all, []byte("\n")) {
		if len(line) == 0 {
			continue
		}
		rec, err := compare.ParseRecord(line)
		if err != nil {
			return nil, err
		}
		table := strings.TrimPrefix(rec.Topic, prefix)
		if l.topics[table] == nil {
			l.topics[table] = &bytes.Buffer{}
		}
		l.topics[table].Write(line)
		r.events++
	}
	return l, nil
}

// lines returns a reader of a table's records.
func (l *modelLog) lines(table string) io.Reader {
	if b := l.topics[table]; b != nil {
		return bytes.NewReader(b.Bytes())
	}
	return strings.NewReader("")
}

// side is the log as a side of a comparison, under the name; cut leaves out what comes after a moment, nil: nothing.
func (l *modelLog) side(name string, cut func(table string) (io.Reader, error)) compare.Side {
	if cut == nil {
		cut = func(table string) (io.Reader, error) { return l.lines(table), nil }
	}
	return modelSide{compare.NewLog(func(_ context.Context, table string) (io.ReadCloser, error) {
		in, err := cut(table)
		return io.NopCloser(in), err
	}, func(t *compare.Table) string { return t.Name }), "log " + name}
}

// modelSide is a side under another name.
type modelSide struct {
	compare.Side
	name string
}

func (s modelSide) Name() string { return s.name }

var _ compare.Side = (*modelSample)(nil)

// Name implements compare.Side.
func (s *modelSample) Name() string { return fmt.Sprintf("source at %d", s.seq) }

// Read implements compare.Side.
func (s *modelSample) Read(_ context.Context, t *compare.Table, emit func(key, line string) error) error {
	h := s.rows[t.Name]
	for i := range h.keys {
		if err := emit(h.keys[i], h.lines[i]); err != nil {
			return err
		}
	}
	return nil
}

// chronicle holds a log against the journal.
func (r *modelRun) chronicle(ctx context.Context, l *modelLog) error {
	h := newChronicle(r.out, r.db.transaction)
	l.chapter, h.copied = h, r.copiedWhole
	if l.name == modelWoven {
		h.copied = func(table string) bool { return strings.HasPrefix(table, bagPrefix) }
	}
	journal := compare.NewTable(l.schema, "journal", []compare.Column{{Name: "client", Kind: change.Int}, {Name: "seq", Kind: change.Int}}, 0, 1)
	if err := h.read(journal, l.lines("journal")); err != nil {
		return err
	}
	for _, t := range r.load.schema.ever() {
		if err := h.read(t.compared(l.schema), l.lines(t.name)); err != nil {
			return fmt.Errorf("log %s: %w", l.name, err)
		}
	}
	var commits []string
	err := r.db.side(r.name).Read(ctx, journal, func(key, _ string) error {
		commits = append(commits, key)
		return nil
	})
	if err != nil {
		return err
	}
	h.close(commits)
	if l.name == modelStream {
		h.proves()
		for table, n := range r.load.truncated {
			if !h.copied(table) && h.alone[table] != n {
				h.lost++
				h.complain("%s: truncated %d times, %d in the log", table, n, h.alone[table])
			}
		}
	}
	if !h.clean() {
		fmt.Fprintf(r.out, "  log %s of seed %d: %s\n", l.name, r.seed, h.verdict)
		r.violations += h.lost + h.doubled + h.misordered
	}
	return nil
}

// copiedWhole reports whether the first connector copied a table without a key.
func (r *modelRun) copiedWhole(table string) bool {
	return strings.HasPrefix(table, latePrefix) || r.recopied[table]
}

// replay folds the log up to each sample. (O2)
func (r *modelRun) replay(ctx context.Context, l *modelLog) error {
	for i := range r.samples {
		s := &r.samples[i]
		moment := l.chapter.place(fmt.Sprintf("%d-%d", modelSampler, s.seq))
		sides := []compare.Side{s, l.side(l.name, func(table string) (io.Reader, error) { return l.until(r.db, table, moment) })}
		keyed := slices.DeleteFunc(slices.Clone(s.keyed), func(t *compare.Table) bool { return r.load.tornTables[t.Name] })
		bags := slices.DeleteFunc(slices.Clone(s.bags), func(t *compare.Table) bool { return r.copiedWhole(t.Name) })
		for _, tables := range [][]*compare.Table{keyed, bags} {
			if err := r.compare(ctx, tables, sides); err != nil {
				return err
			}
		}
	}
	return nil
}

// until returns the records of a table up to a moment, the number of a commit.
func (l *modelLog) until(d dialect, table string, moment int64) (io.Reader, error) {
	var out bytes.Buffer
	lines := bufio.NewReader(l.lines(table))
	for {
		line, err := lines.ReadBytes('\n')
		if err == io.EOF {
			return &out, nil
		}
		if err != nil {
			return nil, err
		}
		rec, err := compare.ParseRecord(line)
		if err != nil {
			return nil, err
		}
		if rec.Value != nil {
			e, err := compare.ParseEvent(rec.Value)
			if err != nil {
				return nil, err
			}
			if e.Op != "r" {
				id, number, err := d.transaction(e.Source)
				if err != nil {
					return nil, err
				}
				if number == 0 {
					number = l.chapter.of(id).number
				}
				if number > moment {
					return &out, nil
				}
			}
		}
		out.Write(line)
	}
}
