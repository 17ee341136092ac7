package pgoutput

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"reflect"
	"strings"
	"testing"
)

// build writes a message from numbers of fixed width, strings (ended by a zero byte) and raw bytes.
func build(fields ...any) []byte {
	var p []byte
	for _, f := range fields {
		switch f := f.(type) {
		case byte:
			p = append(p, f)
		case int32: // a rune: the kind of a message, tuple or cell
			p = append(p, byte(f))
		case uint16:
			p = binary.BigEndian.AppendUint16(p, f)
		case uint32:
			p = binary.BigEndian.AppendUint32(p, f)
		case uint64:
			p = binary.BigEndian.AppendUint64(p, f)
		case string:
			p = append(append(p, f...), 0)
		case []byte:
			p = append(p, f...)
		}
	}
	return p
}

func cell(s string) []byte { return build('t', uint32(len(s)), []byte(s)) }

var samples = map[string][]byte{
	"begin":    build('B', uint64(0x16B3748), uint64(789), uint32(731)),
	"commit":   build('C', byte(0), uint64(0x16B3748), uint64(0x16B3778), uint64(789)),
	"origin":   build('O', uint64(5), "upstream"),
	"relation": build('R', uint32(16385), "public", `a"b`, byte('d'), uint16(2), byte(1), "id", uint32(23), uint32(0xFFFFFFFF), byte(0), "v", uint32(1043), uint32(14)),
	"type":     build('Y', uint32(16400), "public", "mood"),
	"insert":   build('I', uint32(16385), 'N', uint16(3), cell("1"), 'n', build('b', uint32(2), []byte{0, 1})),
	"update":   build('U', uint32(16385), 'N', uint16(2), cell("1"), 'u'),
	"key":      build('U', uint32(16385), 'K', uint16(2), cell("1"), 'n', 'N', uint16(2), cell("2"), cell("")),
	"full":     build('U', uint32(16385), 'O', uint16(1), cell("1"), 'N', uint16(1), cell("2")),
	"delete":   build('D', uint32(16385), 'K', uint16(1), cell("1")),
	"truncate": build('T', uint32(2), byte(3), uint32(16385), uint32(16390)),
	"message":  build('M', byte(1), uint64(77), "prefix", uint32(3), []byte("abc")),

	"stream_start":  build('S', uint32(731), byte(1)),
	"stream_stop":   build('E'),
	"stream_commit": build('c', uint32(731), byte(0), uint64(0x16B3748), uint64(0x16B3778), uint64(789)),
	"stream_abort":  build('A', uint32(731), uint32(733)),
}

func TestDecode(t *testing.T) {
	one, two, empty := Cell{Text, []byte("1")}, Cell{Text, []byte("2")}, Cell{Text, []byte{}}
	want := map[string]any{
		"begin":  Begin{FinalLSN: 0x16B3748, CommitTime: 789, XID: 731},
		"commit": Commit{CommitLSN: 0x16B3748, EndLSN: 0x16B3778, CommitTime: 789},
		"origin": Origin{CommitLSN: 5, Name: []byte("upstream")},
		"relation": Relation{OID: 16385, Schema: "public", Name: `a"b`, Identity: 'd',
			Columns: []Column{{true, "id", 23, -1}, {false, "v", 1043, 14}}},
		"type":     Type{OID: 16400, Schema: []byte("public"), Name: []byte("mood")},
		"insert":   Row{Relation: 16385, Old: []Cell{}, New: []Cell{one, {Kind: Null}, {Binary, []byte{0, 1}}}},
		"update":   Row{Relation: 16385, Old: []Cell{}, New: []Cell{one, {Kind: Unchanged}}},
		"key":      Row{Relation: 16385, OldKind: OldKey, Old: []Cell{one, {Kind: Null}}, New: []Cell{two, empty}},
		"full":     Row{Relation: 16385, OldKind: OldFull, Old: []Cell{one}, New: []Cell{two}},
		"delete":   Row{Relation: 16385, OldKind: OldKey, Old: []Cell{one}, New: []Cell{}},
		"truncate": Truncate{Options: TruncateCascade | TruncateRestartIdentity, Relations: []uint32{16385, 16390}},
		"message":  Logical{Transactional: true, LSN: 77, Prefix: []byte("prefix"), Content: []byte("abc")},

		"stream_start":  StreamStart{XID: 731, First: true},
		"stream_stop":   nil,
		"stream_commit": StreamCommit{XID: 731, Commit: Commit{CommitLSN: 0x16B3748, EndLSN: 0x16B3778, CommitTime: 789}},
		"stream_abort":  StreamAbort{XID: 731, SubXID: 733},
	}
	m := Message{Row: Row{Old: []Cell{}, New: []Cell{}}}
	for name, p := range samples {
		t.Run(name, func(t *testing.T) {
			if err := m.Decode(p); err != nil {
				t.Fatal(err)
			}
			got := map[Kind]any{KindBegin: m.Begin, KindCommit: m.Commit, KindOrigin: m.Origin, KindRelation: m.Relation,
				KindType: m.Type, KindInsert: m.Row, KindUpdate: m.Row, KindDelete: m.Row, KindTruncate: m.Truncate,
				KindMessage: m.Logical, KindStreamStart: m.StreamStart, KindStreamCommit: m.StreamCommit, KindStreamAbort: m.StreamAbort}[m.Kind]
			if !reflect.DeepEqual(got, want[name]) {
				t.Errorf("got %+v, want %+v", got, want[name])
			}
		})
	}
}

// Every proper prefix of a message and every message with a byte too many is an error.
func TestDecodeTruncated(t *testing.T) {
	var m Message
	for name, p := range samples {
		for n := range len(p) {
			var e *Error
			if err := m.Decode(p[:n]); !errors.As(err, &e) {
				t.Errorf("%s cut at %d of %d: %v", name, n, len(p), err)
			}
		}
		if err := m.Decode(append(bytes.Clone(p), 0)); err == nil {
			t.Errorf("%s with a byte too many is accepted", name)
		}
	}
}

func TestDecodeMalformed(t *testing.T) {
	for _, tt := range []struct {
		name string
		p    []byte
		want string
	}{
		{"empty", nil, "empty"},
		{"unknown", []byte("Z"), "unknown kind"},
		{"cell", build('I', uint32(1), 'N', uint16(1), 'x'), "unknown kind of cell"},
		{"huge_cell", build('I', uint32(1), 'N', uint16(1), 't', uint32(0xFFFFFFFF)), "ends early"},
		{"many_cells", build('I', uint32(1), 'N', uint16(0xFFFF)), "ends early"},
		{"no_new", build('U', uint32(1), 'K', uint16(0), 'X'), "does not start with N"},
		{"old", build('D', uint32(1), 'N', uint16(0)), "neither K nor O"},
		{"relations", build('T', uint32(0x40000001), byte(0), uint32(1)), "does not fit"},
		{"content", build('M', byte(0), uint64(1), "p", uint32(0x80000000)), "ends early"},
		{"name", []byte("O12345678abc"), "name without end"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var m Message
			if err := m.Decode(tt.p); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

func TestDecodeDoesNotAllocate(t *testing.T) {
	var m Message
	for _, name := range []string{"begin", "commit", "insert", "update", "key", "full", "delete", "truncate", "message"} {
		p := samples[name]
		if n := testing.AllocsPerRun(100, func() {
			if err := m.Decode(p); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// FuzzDecode checks that decoding never panics, is a function of the bytes alone, and that what it returns lies within
// the payload.
func FuzzDecode(f *testing.F) {
	for _, p := range samples {
		f.Add(p)
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		var fresh Message
		used := Message{Row: Row{Old: make([]Cell, 3), New: make([]Cell, 7)}, Relation: Relation{Columns: make([]Column, 2)}}
		err := fresh.Decode(p)
		if again := used.Decode(p); (err == nil) != (again == nil) {
			t.Fatalf("%v, then %v for %s", err, again, hex.EncodeToString(p))
		}
		if err != nil {
			return
		}
		size := 0
		for _, cells := range [][]Cell{fresh.Row.Old, fresh.Row.New} {
			for _, c := range cells {
				size += len(c.Data) + 1
			}
		}
		if size += len(fresh.Logical.Content) + len(fresh.Relation.Columns) + 4*len(fresh.Truncate.Relations); size > len(p) {
			t.Fatalf("%d bytes out of %d", size, len(p))
		}
	})
}
