package binlog

import "math/bits"

// GTID starts a transaction of MySQL. Times are microseconds since the Unix epoch, 0 where the server does not tell.
type GTID struct {
	SID             [16]byte // the UUID of the server that the transaction is from
	Tag             []byte   // since MySQL 8.3; empty for none
	GNO             int64    // its number there
	LastCommitted   int64
	Sequence        int64
	Committed       uint64 // when this server committed it
	FirstCommitted  uint64 // when the server that it is from committed it
	TransactionSize uint64 // bytes of all its events; 0 if not told
}

// Flags of the commit timestamps and versions: the high bit says that the original one follows.
const (
	originalFollows7 = 1 << 55
	originalFollows4 = 1 << 31
	logicalClock     = 2 // the type code before LastCommitted and Sequence
)

func (g *GTID) decode(r *reader) {
	*g = GTID{}
	r.byte() // may the transaction hold statements?
	copy(g.SID[:], r.bytes(16))
	g.GNO = int64(r.uint64())
	if r.left() == 0 || r.byte() != logicalClock {
		return // MySQL 5.6
	}
	g.LastCommitted, g.Sequence = int64(r.uint64()), int64(r.uint64())
	if r.left() < 7 {
		return // MySQL 5.7
	}
	g.Committed = r.uintN(7)
	g.FirstCommitted = g.Committed
	if g.Committed&originalFollows7 != 0 {
		g.Committed &^= originalFollows7
		g.FirstCommitted = r.uintN(7)
	}
	if r.left() > 0 {
		g.TransactionSize = r.lenenc()
	}
}

// decodeTagged decodes a GTID_TAGGED event, which is in the mysql::serialization format: version, size, the last field
// that must be understood, then fields as number and value in ascending order, optional ones left out.
func (g *GTID) decodeTagged(r *reader) {
	*g = GTID{}
	if v := r.varint(); v != 1 && v != 0 {
		r.fail("unknown version of the serialization")
	}
	r.varint() // size
	last := r.varint()
	seenFirst := false
	for r.left() > 0 && r.reason == "" {
		switch field := r.varint(); field {
		case 0:
			r.varint() // flags: one byte of a fixed array, encoded as a number
		case 1:
			for i := range g.SID {
				g.SID[i] = byte(r.varint())
			}
		case 2:
			g.GNO = r.varintSigned()
		case 3:
			g.Tag = r.bytes(int(min(r.varint(), uint64(len(r.p)))))
		case 4:
			g.LastCommitted = r.varintSigned()
		case 5:
			g.Sequence = r.varintSigned()
		case 6:
			g.Committed = r.varint()
		case 7:
			g.FirstCommitted, seenFirst = r.varint(), true
		case 8:
			g.TransactionSize = r.varint()
		case 9, 10, 11: // server versions, commit group ticket
			r.varint()
		default:
			if field <= last {
				r.fail("unknown field of a tagged GTID")
			}
			r.off = len(r.p) // ignorable, and so are those behind it
		}
	}
	if !seenFirst {
		g.FirstCommitted = g.Committed
	}
}

// varint reads a number of the mysql::serialization format: as many one bits as bytes follow the first, a zero bit, then
// the number, little endian.
func (r *reader) varint() uint64 {
	if r.left() <= 0 {
		r.fail("ends early")
		return 0
	}
	n := bits.TrailingZeros8(^r.p[r.off]) + 1
	b := r.bytes(n)
	if n == 9 {
		return littleEndian(b[min(1, len(b)):])
	}
	return littleEndian(b) >> n
}

// varintSigned reads a signed number: its sign is the lowest bit, negative numbers are stored as their complement.
func (r *reader) varintSigned() int64 {
	v := r.varint()
	if v&1 != 0 {
		return ^int64(v >> 1)
	}
	return int64(v >> 1)
}

// GTIDRange is a run of transactions of one server: First to Last, both included.
type GTIDRange struct {
	SID         [16]byte
	Tag         []byte
	First, Last int64
}

// previousGTIDs decodes a set of GTIDs. Sets with tags keep their count of servers elsewhere and mark the format in the
// highest byte.
func previousGTIDs(r *reader, to []GTIDRange) []GTIDRange {
	head := r.uint64()
	tagged := head>>56 == 1
	n := head
	if tagged {
		n = head << 8 >> 16
	}
	for range n {
		var g GTIDRange
		copy(g.SID[:], r.bytes(16))
		if tagged {
			g.Tag = r.bytes(int(min(r.varint(), uint64(len(r.p)))))
		}
		for k := r.uint64(); k > 0 && r.reason == ""; k-- {
			g.First, g.Last = int64(r.uint64()), int64(r.uint64())-1
			if r.reason == "" {
				to = append(to, g)
			}
		}
		if r.reason != "" {
			return to
		}
	}
	return to
}

// MariaGTID starts a transaction of MariaDB and identifies it: Domain-Server-Sequence.
type MariaGTID struct {
	Domain   uint32
	Server   uint32
	Sequence uint64
	Flags    byte
	ThreadID uint32 // since MariaDB 10.11.7 where the server was told to log it, else 0
	XA       XA     // set if Flags has MariaPreparedXA or MariaCompletedXA
	// Alter is a number if the transaction is the end of an ALTER that was logged in two phases (binlog_alter_two_phase):
	// the sequence number of its start.
	Alter      uint64
	AlterPhase AlterPhase
}

// Flags of a MariaGTID.
const (
	MariaStandalone    = 0x01 // one event follows, a DDL statement; no XID or COMMIT ends it
	MariaGroupCommit   = 0x02
	MariaTransactional = 0x04
	MariaAllowParallel = 0x08
	MariaWaited        = 0x10
	MariaDDL           = 0x20
	MariaPreparedXA    = 0x40 // the transaction ends with an XA PREPARE
	MariaCompletedXA   = 0x80 // it is the XA COMMIT or XA ROLLBACK of a prepared one
)

// AlterPhase says which part of a two-phase ALTER a MariaDB transaction is.
type AlterPhase byte

// The phases of an ALTER. The statement's text is in all of them, but it takes effect at AlterCommit.
const (
	NoAlterPhase  AlterPhase = 0
	AlterStart    AlterPhase = 1
	AlterCommit   AlterPhase = 2
	AlterRollback AlterPhase = 3
)

// Flags of the second set, which is there if the event is long enough.
const (
	extraMultiEngine   = 0x01
	extraStartAlter    = 0x02
	extraCommitAlter   = 0x04
	extraRollbackAlter = 0x08
	extraThreadID      = 0x10
)

func (g *MariaGTID) decode(r *reader, server uint32) {
	*g = MariaGTID{Server: server, Sequence: r.uint64(), Domain: r.uint32(), Flags: r.byte()}
	if g.Flags&MariaGroupCommit != 0 {
		r.uint64() // commit id
	}
	if g.Flags&(MariaPreparedXA|MariaCompletedXA) != 0 {
		g.XA.FormatID = int32(r.uint32())
		global, branch := int(r.byte()), int(r.byte())
		g.XA.GlobalID, g.XA.BranchID = r.bytes(global), r.bytes(branch)
	}
	if r.left() == 0 {
		return
	}
	extra := r.byte() // 0 where old servers pad the event to a fixed size
	if extra&extraMultiEngine != 0 {
		r.byte()
	}
	switch {
	case extra&extraStartAlter != 0:
		g.AlterPhase = AlterStart
	case extra&extraCommitAlter != 0:
		g.AlterPhase, g.Alter = AlterCommit, r.uint64()
	case extra&extraRollbackAlter != 0:
		g.AlterPhase, g.Alter = AlterRollback, r.uint64()
	}
	if extra&extraThreadID != 0 {
		g.ThreadID = r.uint32()
	}
}

// gtidList decodes the state at the start of a MariaDB file: the last transaction of each server in each domain, the
// newest of a domain last.
func gtidList(r *reader, to []MariaGTID) []MariaGTID {
	n := r.uint32() & (1<<28 - 1) // the high bits are flags
	for range n {
		g := MariaGTID{Domain: r.uint32(), Server: r.uint32(), Sequence: r.uint64()}
		if r.reason != "" {
			return to
		}
		to = append(to, g)
	}
	return to
}
