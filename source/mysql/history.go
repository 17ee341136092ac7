package mysql

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/internal/fault"
	"github.com/tailrace/tailrace/source/mysql/binlog"
	"github.com/tailrace/tailrace/source/mysql/ddl"
)

// A history has the structures of tables at the stream's place, for logs that do not carry them. It follows the statements that
// the stream reads. What it holds is noted in our log together with the positions, one note a table: see change.Note. A position
// names the state that belongs to it, so that a position that somebody set meets no structures of another time.
type history struct {
	known    ddl.Schemas
	dialect  ddl.Dialect
	implicit bool  // explicit_defaults_for_timestamp is OFF, where the log does not say it
	number   int64 // of the state that was noted last
	stored   map[string]bool
	pending  map[string]bool // notes to be made
}

// Keys of notes. Those of tables and databases have names behind them.
const (
	noteState    = "state"
	noteDatabase = "database\x00"
	noteTable    = "table\x00" // database, a zero byte, table
)

func tableNote(n ddl.Name) string { return noteTable + n.Database + "\x00" + n.Table }

func newHistory() *history { return &history{stored: map[string]bool{}, pending: map[string]bool{}} }

// configure asks the server how statements are to be read.
func (h *history) configure(c *conn, f flavor, version string) error {
	r, err := c.row("SELECT @@lower_case_table_names, @@global.explicit_defaults_for_timestamp")
	if err != nil {
		return err
	}
	var major, minor, patch int
	_, _ = fmt.Sscanf(version, "%d.%d.%d", &major, &minor, &patch) // what is missing is 0: comments are executed
	h.dialect = ddl.Dialect{MariaDB: f == mariadb, Version: major*10000 + minor*100 + patch, FoldNames: r[0] != "0"}
	h.implicit = f == mysqld && major < 8 && r[1] == "0"
	return nil
}

// load takes the notes that belong to a state; those of another one are removed with the next position.
func (h *history) load(notes map[string][]byte, state int64) error {
	for key := range notes {
		h.stored[key] = true
	}
	var has int64
	if text := notes[noteState]; text != nil {
		if err := json.Unmarshal(text, &has); err != nil {
			return damaged(noteState, err)
		}
	}
	if state == 0 || has != state {
		for key := range notes {
			h.pending[key] = true
		}
		return nil
	}
	h.number = state
	for key, text := range notes {
		if err := h.take(key, text); err != nil {
			return damaged(key, err)
		}
	}
	return nil
}

func damaged(key string, err error) error {
	return fault.Permanentf("LOG_CORRUPT", "run tailrace log verify", "note %q of the structures of tables: %w", key, err)
}

func (h *history) take(key string, text []byte) error {
	if name, ok := strings.CutPrefix(key, noteDatabase); ok {
		var charset string
		err := json.Unmarshal(text, &charset)
		h.known.SetDatabase(name, charset)
		return err
	}
	name, ok := strings.CutPrefix(key, noteTable)
	if !ok {
		return nil
	}
	database, table, _ := strings.Cut(name, "\x00")
	var t *ddl.Table
	if err := json.Unmarshal(text, &t); err != nil {
		return err
	}
	if n := (ddl.Name{Database: database, Table: table}); t == nil {
		h.known.Forget(n)
	} else {
		h.known.Set(t)
	}
	return nil
}

// empty reports whether nothing is known.
func (h *history) empty() bool { return h.number == 0 }

// notes appends what has changed since the last call, and gives the state a number.
func (h *history) notes(dst []change.Note, now int64) []change.Note {
	if len(h.pending) == 0 {
		return dst
	}
	h.number = max(h.number+1, now)
	h.pending[noteState] = true
	for _, key := range slices.Sorted(maps.Keys(h.pending)) {
		value := h.note(key)
		if value == nil && !h.stored[key] {
			continue
		}
		if h.stored[key] = true; value == nil {
			delete(h.stored, key)
		}
		dst = append(dst, change.Note{Key: key, Value: value})
	}
	clear(h.pending)
	return dst
}

// note returns the value of a note, nil if there is to be none.
func (h *history) note(key string) []byte {
	var value any
	if key == noteState {
		value = h.number
	} else if name, ok := strings.CutPrefix(key, noteDatabase); ok {
		charset, ok := h.known.Database(name)
		if !ok {
			return nil
		}
		value = charset
	} else if name, ok := strings.CutPrefix(key, noteTable); ok {
		database, table, _ := strings.Cut(name, "\x00")
		n := ddl.Name{Database: database, Table: table}
		t := h.known.Table(n)
		if t == nil && !h.known.Doubtful(n) {
			return nil
		}
		value = t // null: it is there, and its structure is not known
	} else {
		return nil
	}
	text, _ := json.Marshal(value) // texts and numbers marshal
	return text
}

// apply follows a statement and returns what it did. text is the statement in UTF-8.
func (h *history) apply(q *binlog.Query, text []byte) ddl.Effect {
	d := h.dialect
	d.AnsiQuotes, d.NoBackslash = q.SQLMode&binlog.ModeANSIQuotes != 0, q.SQLMode&binlog.ModeNoBackslashEscapes != 0
	d.ImplicitTimestamps = q.ImplicitTimestamps || h.implicit
	d.Charset, _ = binlog.CharsetName(q.Server)
	d.Charset = modern(d.Charset)
	e := h.known.Apply(ddl.Statement{Text: string(text), Database: string(q.Schema), Failed: q.Error != 0}, d)
	for _, names := range [][]ddl.Name{e.Changed, e.Dropped, e.Unknown} {
		for _, n := range names {
			h.pending[tableNote(n)] = true
		}
	}
	for _, name := range append(e.DroppedDatabases, e.Databases...) {
		h.pending[noteDatabase+name] = true
	}
	for key := range h.stored {
		for _, name := range e.DroppedDatabases {
			if strings.HasPrefix(key, noteTable+name+"\x00") {
				h.pending[key] = true
			}
		}
	}
	return e
}

// modern returns the name of a charset as later servers and package binlog have it.
func modern(charset string) string {
	if charset == "utf8" {
		return "utf8mb3"
	}
	return charset
}

// set takes the structure of a table as the catalog has it; nil: it is not there.
func (h *history) set(n ddl.Name, d *detail) {
	if h.pending[tableNote(n)] = true; d == nil {
		h.known.Remove(n)
		return
	}
	h.known.Set(&ddl.Table{Name: n, Charset: modern(d.charset), Columns: d.columns, Key: d.primary})
}

// forget gives a table up that is there.
func (h *history) forget(n ddl.Name) {
	h.known.Forget(n)
	h.pending[tableNote(n)] = true
}

// learn takes the structures of tables, and the charsets of databases that are given, from the catalog: of those that no statement between the place in the log and the moment of
// the read has touched, for only then it is what they are at the place. The others stay unknown.
func (s *stream) learn(ctx context.Context, at status, names []ddl.Name, databases map[string]string) error {
	tables := map[string][]string{}
	for _, n := range names {
		tables[n.Database] = append(tables[n.Database], n.Table)
	}
	details := map[ddl.Name]*detail{}
	var end status
	err := s.src.control.do(ctx, func(c *conn) (err error) {
		for database, list := range tables {
			found, err := describeTables(c, s.src.flavor, database, list)
			if err != nil {
				return fmt.Errorf("structures of tables of %s: %w", database, err)
			}
			for table, d := range found {
				details[ddl.Name{Database: database, Table: table}] = d
			}
		}
		end, err = readStatus(c)
		return err
	})
	if err != nil {
		return err
	}
	touched, err := s.touched(ctx, at, end)
	if err != nil {
		return err
	}
	for _, n := range names {
		if touched[n] || touched[ddl.Name{Database: n.Database}] {
			s.history.forget(n)
		} else {
			s.history.set(n, details[n])
		}
	}
	for name, charset := range databases {
		if !touched[ddl.Name{Database: name}] {
			s.history.known.SetDatabase(name, charset)
			s.history.pending[noteDatabase+name] = true
		}
	}
	return nil
}

// touched returns the tables that statements between two places of the log may have changed; a database, with an empty name of a
// table, stands for all of its tables.
func (s *stream) touched(ctx context.Context, from, to status) (map[ddl.Name]bool, error) {
	touched := map[ddl.Name]bool{}
	err := s.src.excerpt(ctx, from, to, func(e *binlog.Event, _ status) (bool, error) {
		if e.Kind != binlog.KindQuery {
			return false, nil
		}
		st := scanStatement(s.decoded(&e.Query), string(e.Query.Schema))
		if !st.verb.ddl() || st.verb == verbTruncate {
			return false, nil
		}
		for _, r := range st.tables {
			n := ddl.Name(r)
			if s.history.dialect.FoldNames {
				n = ddl.Name{Database: strings.ToLower(r.Database), Table: strings.ToLower(r.Table)}
			}
			touched[n] = true
		}
		return false, nil
	})
	return touched, err
}

// prepare makes the history ready for the stream's beginning. The structures of captured tables that it does not know are taken
// from the catalog: without them a statement that is to come could not be followed. Where the log has structures with its rows
// that is not needed, but on MariaDB, some of whose types it does not tell (see binlog.TableMap.Refine). at is where the stream begins, if that is known.
func (s *stream) prepare(ctx context.Context, at status) error {
	var names []ddl.Name
	databases := map[string]string{}
	err := s.src.control.do(ctx, func(c *conn) error {
		id, err := identify(c, s.src.flavor)
		if err != nil {
			return err
		}
		if err := s.history.configure(c, s.src.flavor, id.version); err != nil {
			return err
		}
		r, err := c.row("SHOW GLOBAL VARIABLES LIKE 'binlog_row_metadata'")
		if err != nil || at.file == "" || r != nil && r[1] == "FULL" && s.src.flavor != mariadb {
			return err
		}
		if names, err = s.unknownTables(c); err != nil || len(names) == 0 && !s.history.empty() {
			return err
		}
		rows, err := c.rows("SELECT SCHEMA_NAME, DEFAULT_CHARACTER_SET_NAME FROM information_schema.SCHEMATA")
		for _, r := range rows {
			if _, known := s.history.known.Database(r[0]); !known && s.src.settings.capturesDatabase(r[0]) {
				databases[r[0]] = modern(r[1])
			}
		}
		return err
	})
	if err != nil || len(names)+len(databases) == 0 {
		return err
	}
	return s.learn(ctx, at, names, databases)
}

// unknownTables lists the captured tables whose structure the history should have and has not. Of a database that it knows it has all
// tables: others were made behind the place, by statements that are to come. Tables that are not captured are noted as being there:
// another name may bring them into capture.
func (s *stream) unknownTables(c *conn) (names []ddl.Name, err error) {
	rows, err := c.rows(`SELECT TABLE_SCHEMA, TABLE_NAME FROM information_schema.TABLES WHERE TABLE_TYPE IN ('BASE TABLE', 'SYSTEM VERSIONED')`)
	if err != nil {
		return nil, err
	}
	for _, r := range rows {
		n := ddl.Name{Database: r[0], Table: r[1]}
		_, all := s.history.known.Database(n.Database)
		switch captured := s.src.settings.captures(n.Database, n.Table); {
		case captured && (!all && s.history.known.Table(n) == nil || s.history.known.Doubtful(n)):
			names = append(names, n)
		case !captured && !all && s.src.settings.capturesDatabase(n.Database):
			s.history.forget(n)
		}
	}
	return names, nil
}

// structure returns the structure of a table at the stream's place, nil if it can't be known. again asks the catalog although the
// history has one.
func (s *stream) structure(ctx context.Context, name tableRef, again bool) (*ddl.Table, error) {
	n := ddl.Name(name)
	if t := s.history.known.Table(n); t != nil && !again {
		return t, nil
	}
	if err := s.learn(ctx, status{file: s.file, pos: s.at}, []ddl.Name{n}, nil); err != nil {
		return nil, err
	}
	return s.history.known.Table(n), nil
}

// follow applies a statement to the history and drops what was made of the structures that it changed.
func (s *stream) follow(text []byte) {
	e := s.history.apply(&s.ev.Query, text)
	changed := map[tableRef]bool{}
	for _, names := range [][]ddl.Name{e.Changed, e.Dropped, e.Unknown} {
		for _, n := range names {
			changed[tableRef(n)] = true
		}
	}
	if len(changed) == 0 {
		return
	}
	for m := range s.relations {
		if !m.Full() && changed[tableRef{m.Schema, m.Table}] {
			delete(s.relations, m)
		}
	}
}
