package binlog

import (
	"bytes"
	"encoding/binary"
	"strconv"
)

// Format is a format description: it starts a file or a dump and says how the events that follow are built.
type Format struct {
	Server    string // the server's version: "8.0.15", "10.11.6-MariaDB-log"
	MariaDB   bool
	Checksums bool // every event ends with a CRC-32

	version int // of the server: 80015 for 8.0.15
}

// formatVersion is that of MySQL 5.0 and all later servers.
const formatVersion = 4

func (d *Decoder) formatDescription(e *Event, r *reader) {
	if v := r.uint16(); v != formatVersion {
		r.fail("binlog format version " + strconv.Itoa(int(v)) + ", only 4 is known")
	}
	server := r.bytes(50)
	if n := bytes.IndexByte(server, 0); n >= 0 {
		server = server[:n]
	}
	r.uint32() // when the file was made
	if r.byte() != HeaderSize {
		r.fail("unknown size of event headers")
	}
	f := &Format{Server: string(server), MariaDB: bytes.Contains(server, []byte("MariaDB")), version: versionOf(string(server))}
	sizes := r.rest()
	if f.checksumAware() {
		// One byte of algorithm and a checksum, which is there even where the algorithm is none.
		if len(sizes) < 1+checksumSize {
			r.fail("ends early")
			return
		}
		sizes = sizes[:len(sizes)-checksumSize]
		switch alg := sizes[len(sizes)-1]; alg {
		case 0:
		case 1:
			f.Checksums = true
			if !formatChecksum(r.p, e.Header.Flags) {
				r.fail("the checksum does not match: the event is damaged")
			}
		default:
			r.fail("unknown checksum algorithm " + strconv.Itoa(int(alg)))
		}
		sizes = sizes[:len(sizes)-1]
	}
	if r.reason != "" {
		return
	}
	d.rowSizes = [256]byte{}
	if len(sizes) < len(d.rowSizes) {
		copy(d.rowSizes[1:], sizes)
	}
	if e.Header.Flags&FlagArtificial == 0 {
		clear(d.maps) // a new file: perhaps the server was started again, which numbers its tables anew
	}
	d.format, e.Format = f, f
}

// formatChecksum verifies the checksum of a format description, which was made before the file was marked as in use.
func formatChecksum(p []byte, flags uint16) bool {
	const flagsAt = 17
	if flags&FlagInUse != 0 {
		p = bytes.Clone(p)
		p[flagsAt] &^= FlagInUse
	}
	return checksumOf(p) == binary.LittleEndian.Uint32(p[len(p)-checksumSize:])
}

// checksumAware reports whether the server knows checksums: MySQL since 5.6.1, MariaDB since 5.3.
func (f *Format) checksumAware() bool {
	if f.MariaDB {
		return f.version >= 50300
	}
	return f.version >= 50601
}

// versionOf reads the first three numbers of a server's version: 80015 for "8.0.15-log".
func versionOf(server string) (version int) {
	for range 3 {
		n := 0
		for n < len(server) && server[n] >= '0' && server[n] <= '9' {
			n++
		}
		v, _ := strconv.Atoi(server[:n]) // nothing stands for 0
		version = version*100 + min(v, 99)
		if server = server[n:]; server != "" && server[0] == '.' {
			server = server[1:]
		} else {
			server = ""
		}
	}
	return version
}

// Rotate names the file and the position in it where the log goes on. A rotate with FlagArtificial starts each dump.
type Rotate struct {
	Position uint64
	File     []byte
}

// heartbeat decodes the second version of heartbeats, which has 64-bit positions.
func heartbeat(r *reader) (h Rotate) {
	for r.left() > 0 && r.reason == "" {
		field := r.byte()
		if field == 0 {
			break
		}
		value := reader{p: r.bytes(r.length())}
		switch field {
		case 1:
			h.File = value.rest()
		case 2:
			h.Position = value.lenenc()
		}
		r.fail(value.reason)
	}
	return h
}

// Incident tells that the server could not log something: rows are missing from here on.
type Incident struct {
	Number  uint16
	Message []byte
}

// XA is the end of the first phase of a distributed transaction: its rows precede it, and become valid only when an
// XA COMMIT of the same identifier comes; OnePhase means that they are valid now.
type XA struct {
	OnePhase bool
	FormatID int32
	GlobalID []byte
	BranchID []byte
}

func (x *XA) decode(r *reader) {
	*x = XA{OnePhase: r.byte() != 0, FormatID: int32(r.uint32())}
	global, branch := r.uint32(), r.uint32()
	if global > 64 || branch > 64 {
		r.fail("the parts of an XA identifier have 64 bytes at most")
		return
	}
	x.GlobalID, x.BranchID = r.bytes(int(global)), r.bytes(int(branch))
}

// AppendID appends the identifier as XA statements in the log spell it: X'676c',X'6272',1.
func (x *XA) AppendID(dst []byte) []byte {
	hexed := func(dst, p []byte) []byte {
		dst = append(dst, "X'"...)
		for _, c := range p {
			dst = append(dst, "0123456789abcdef"[c>>4], "0123456789abcdef"[c&15])
		}
		return append(dst, '\'')
	}
	dst = append(hexed(dst, x.GlobalID), ',')
	dst = append(hexed(dst, x.BranchID), ',')
	return strconv.AppendInt(dst, int64(x.FormatID), 10)
}
