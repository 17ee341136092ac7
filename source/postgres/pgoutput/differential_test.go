package pgoutput

import (
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pglogrepl"
)

// ours writes a decoded message as text.
func ours(m *Message) string {
	switch m.Kind {
	case KindBegin:
		return fmt.Sprintf("begin %d %d", m.Begin.FinalLSN, m.Begin.XID)
	case KindCommit:
		return fmt.Sprintf("commit %d %d %d", m.Commit.Flags, m.Commit.CommitLSN, m.Commit.EndLSN)
	case KindOrigin:
		return fmt.Sprintf("origin %d %q", m.Origin.CommitLSN, m.Origin.Name)
	case KindRelation:
		s := fmt.Sprintf("relation %d %q %q %d", m.Relation.OID, m.Relation.Schema, m.Relation.Name, m.Relation.Identity)
		for _, c := range m.Relation.Columns {
			s += fmt.Sprintf(" %v %q %d %d", c.Key, c.Name, c.TypeOID, c.Modifier)
		}
		return s
	case KindType:
		return fmt.Sprintf("type %d %q %q", m.Type.OID, m.Type.Schema, m.Type.Name)
	case KindInsert, KindUpdate, KindDelete:
		s := fmt.Sprintf("%c %d", m.Kind, m.Row.Relation)
		if m.Row.OldKind != NoOld {
			s += fmt.Sprintf(" %c%s", m.Row.OldKind, cellsText(m.Row.Old))
		}
		if m.Kind != KindDelete {
			s += " N" + cellsText(m.Row.New)
		}
		return s
	case KindTruncate:
		return fmt.Sprintf("truncate %d %v", m.Truncate.Options, m.Truncate.Relations)
	case KindMessage:
		return fmt.Sprintf("message %v %d %q %q", m.Logical.Transactional, m.Logical.LSN, m.Logical.Prefix, m.Logical.Content)
	case KindStreamStart:
		return fmt.Sprintf("start %d %v", m.StreamStart.XID, m.StreamStart.First)
	case KindStreamStop:
		return "stop"
	case KindStreamCommit:
		c := m.StreamCommit
		return fmt.Sprintf("streamed commit %d %d %d %d", c.XID, c.Flags, c.CommitLSN, c.EndLSN)
	case KindStreamAbort:
		return fmt.Sprintf("abort %d %d", m.StreamAbort.XID, m.StreamAbort.SubXID)
	default:
		return "unknown"
	}
}

func cellsText(cells []Cell) string {
	var s strings.Builder
	for _, c := range cells {
		fmt.Fprintf(&s, " %c%q", c.Kind, c.Data)
	}
	return s.String()
}

// theirs writes what pglogrepl decodes of the same message in the same form.
func theirs(m pglogrepl.Message) string {
	tuple := func(t *pglogrepl.TupleData) string {
		var s strings.Builder
		for _, c := range t.Columns {
			fmt.Fprintf(&s, " %c%q", c.DataType, c.Data)
		}
		return s.String()
	}
	row := func(kind byte, relation uint32, old byte, before, after *pglogrepl.TupleData) string {
		s := fmt.Sprintf("%c %d", kind, relation)
		if before != nil {
			s += fmt.Sprintf(" %c%s", old, tuple(before))
		}
		if after != nil {
			s += " N" + tuple(after)
		}
		return s
	}
	switch m := m.(type) {
	case *pglogrepl.BeginMessage:
		return fmt.Sprintf("begin %d %d", m.FinalLSN, m.Xid)
	case *pglogrepl.CommitMessage:
		return fmt.Sprintf("commit %d %d %d", m.Flags, m.CommitLSN, m.TransactionEndLSN)
	case *pglogrepl.OriginMessage:
		return fmt.Sprintf("origin %d %q", m.CommitLSN, m.Name)
	case *pglogrepl.RelationMessageV2:
		s := fmt.Sprintf("relation %d %q %q %d", m.RelationID, m.Namespace, m.RelationName, m.ReplicaIdentity)
		for _, c := range m.Columns {
			s += fmt.Sprintf(" %v %q %d %d", c.Flags&1 != 0, c.Name, c.DataType, c.TypeModifier)
		}
		return s
	case *pglogrepl.TypeMessageV2:
		return fmt.Sprintf("type %d %q %q", m.DataType, m.Namespace, m.Name)
	case *pglogrepl.InsertMessageV2:
		return row('I', m.RelationID, 0, nil, m.Tuple)
	case *pglogrepl.UpdateMessageV2:
		return row('U', m.RelationID, m.OldTupleType, m.OldTuple, m.NewTuple)
	case *pglogrepl.DeleteMessageV2:
		return row('D', m.RelationID, m.OldTupleType, m.OldTuple, nil)
	case *pglogrepl.TruncateMessageV2:
		return fmt.Sprintf("truncate %d %v", m.Option, m.RelationIDs)
	case *pglogrepl.LogicalDecodingMessageV2:
		return fmt.Sprintf("message %v %d %q %q", m.Transactional, m.LSN, m.Prefix, m.Content)
	case *pglogrepl.StreamStartMessageV2:
		return fmt.Sprintf("start %d %v", m.Xid, m.FirstSegment&1 != 0)
	case *pglogrepl.StreamStopMessageV2:
		return "stop"
	case *pglogrepl.StreamCommitMessageV2:
		return fmt.Sprintf("streamed commit %d %d %d %d", m.Xid, m.Flags, m.CommitLSN, m.TransactionEndLSN)
	case *pglogrepl.StreamAbortMessageV2:
		return fmt.Sprintf("abort %d %d", m.Xid, m.SubXid)
	default:
		return fmt.Sprintf("%T", m)
	}
}

// FuzzDifferential compares with pglogrepl: what we decode, it decodes to the same, alone and within a block. What we refuse is not asked
// of it, for it panics.
func FuzzDifferential(f *testing.F) {
	for _, p := range samples {
		f.Add(p)
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		var m Message
		if m.Decode(p) != nil {
			return
		}
		if m.Kind == KindMessage && p[1] > 1 || m.Kind == KindTruncate && len(m.Truncate.Relations) == 0 {
			return // it takes flags for a number, and refuses a truncate of nothing
		}
		other, err := pglogrepl.ParseV2(p, false)
		if err != nil {
			t.Fatalf("pglogrepl: %v for %s", err, hex.EncodeToString(p))
		}
		if got, want := ours(&m), theirs(other); got != want {
			t.Fatalf("%s, pglogrepl %s", got, want)
		}
		xid, message, err := Split(nil, append([]byte{p[0], 0, 0, 1, 2}, p[1:]...))
		if m.Kind == KindOrigin || err != nil {
			return
		}
		if xid != 0x102 || string(message) != string(p) {
			t.Fatalf("split into %d and %x", xid, message)
		}
	})
}
