package mysql

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// A flavor is which of the two families a server is of.
type flavor uint8

const (
	mysqld flavor = iota
	mariadb
)

// String returns Debezium's name of the connector kind.
func (f flavor) String() string {
	if f == mariadb {
		return "mariadb"
	}
	return "mysql"
}

// A gtidSet is a set of global transaction identifiers as each of the families has it. A gtidSet is not safe for
// concurrent use.
type gtidSet interface {
	appendText(dst []byte) []byte // as the server writes it
	empty() bool
}

// A run is the transactions first to last, both included.
type run struct{ first, last int64 }

// A source is the transactions of one server, by its UUID, under one tag.
type gtidSource struct {
	sid  [16]byte
	tag  string
	runs []run // ascending, with gaps between them
}

// A mysqlSet is MySQL's: any transactions of any servers, with gaps. Its text is uuid[:tag]:1-50:63-100,...; one UUID may
// have a part for transactions without a tag and one for each tag.
type mysqlSet struct{ sources []gtidSource } // by UUID, then tag

// A mariaGTID is the last transaction of a domain. In each domain transactions are ordered.
type mariaGTID struct {
	domain, server uint32
	seq            uint64
}

// A mariaSet is MariaDB's: the last transaction of each domain.
type mariaSet struct{ last []mariaGTID } // by domain

var (
	_ gtidSet = (*mysqlSet)(nil)
	_ gtidSet = (*mariaSet)(nil)
)

// parseGTIDs parses the text of a set; an empty one gives an empty set.
func (f flavor) parseGTIDs(text string) (gtidSet, error) {
	if f == mariadb {
		return parseMariaSet(text)
	}
	return parseMySQLSet(text)
}

func compareSource(s gtidSource, sid [16]byte, tag string) int {
	return cmp.Or(bytes.Compare(s.sid[:], sid[:]), strings.Compare(s.tag, tag))
}

// source returns the part of a server and tag, which it makes if there is none.
func (s *mysqlSet) source(sid [16]byte, tag string) *gtidSource {
	i, ok := slices.BinarySearchFunc(s.sources, sid, func(e gtidSource, sid [16]byte) int { return compareSource(e, sid, tag) })
	if !ok {
		s.sources = slices.Insert(s.sources, i, gtidSource{sid: sid, tag: tag})
	}
	return &s.sources[i]
}

// add adds one transaction. Where it follows the last one it allocates nothing.
func (s *mysqlSet) add(sid [16]byte, tag []byte, gno int64) {
	s.source(sid, string(tag)).add(run{gno, gno})
}

// add adds a run and joins those that touch it.
func (s *gtidSource) add(r run) {
	i, _ := slices.BinarySearchFunc(s.runs, r.first-1, func(e run, first int64) int { return cmp.Compare(e.last, first) })
	k := i // runs i to k-1 touch r
	for ; k < len(s.runs) && s.runs[k].first <= r.last+1; k++ {
		r.first, r.last = min(r.first, s.runs[k].first), max(r.last, s.runs[k].last)
	}
	if k == i+1 {
		s.runs[i] = r
		return
	}
	s.runs = slices.Replace(s.runs, i, k, r)
}

// has reports whether a transaction is in the set.
func (s *mysqlSet) has(sid [16]byte, tag []byte, gno int64) bool {
	for i := range s.sources {
		if p := &s.sources[i]; p.sid == sid && p.tag == string(tag) {
			k, found := slices.BinarySearchFunc(p.runs, gno, func(e run, n int64) int { return cmp.Compare(e.last, n) })
			return found || k < len(p.runs) && p.runs[k].first <= gno
		}
	}
	return false
}

// union adds all transactions of o that come from servers that keep says yes to.
func (s *mysqlSet) union(o *mysqlSet, keep func(uuid string) bool) {
	for i := range o.sources {
		from := &o.sources[i]
		if !keep(formatUUID(from.sid)) {
			continue
		}
		to := s.source(from.sid, from.tag)
		for _, r := range from.runs {
			to.add(r)
		}
	}
}

// minus returns the transactions of s that are not in o.
func (s *mysqlSet) minus(o *mysqlSet) *mysqlSet {
	left := &mysqlSet{}
	for i := range s.sources {
		p := &s.sources[i]
		var other []run
		for k := range o.sources {
			if q := &o.sources[k]; q.sid == p.sid && q.tag == p.tag {
				other = q.runs
			}
		}
		if runs := subtract(p.runs, other); len(runs) > 0 {
			left.sources = append(left.sources, gtidSource{p.sid, p.tag, runs})
		}
	}
	return left
}

func subtract(runs, minus []run) (left []run) {
	for _, r := range runs {
		for _, m := range minus {
			if m.last < r.first {
				continue
			}
			if m.first > r.last {
				break
			}
			if m.first > r.first {
				left = append(left, run{r.first, m.first - 1})
			}
			r.first = m.last + 1
		}
		if r.first <= r.last {
			left = append(left, r)
		}
	}
	return left
}

func (s *mysqlSet) empty() bool {
	return !slices.ContainsFunc(s.sources, func(p gtidSource) bool { return len(p.runs) > 0 })
}

func (s *mysqlSet) appendText(dst []byte) []byte {
	var last *gtidSource
	for i := range s.sources {
		p := &s.sources[i]
		if len(p.runs) == 0 {
			continue
		}
		if last == nil || last.sid != p.sid {
			if last != nil {
				dst = append(dst, ',')
			}
			dst = appendUUID(dst, p.sid)
		}
		if last = p; p.tag != "" {
			dst = append(append(dst, ':'), p.tag...)
		}
		for _, r := range p.runs {
			dst = strconv.AppendInt(append(dst, ':'), r.first, 10)
			if r.last > r.first {
				dst = strconv.AppendInt(append(dst, '-'), r.last, 10)
			}
		}
	}
	return dst
}

// encode writes the set as COM_BINLOG_DUMP_GTID takes it: the number of parts, then of each the UUID, with tags its tag,
// and its runs with their ends excluded. The format with tags has its number in the first and the last byte of the count;
// only servers that know tags give us some.
func (s *mysqlSet) encode() []byte {
	var parts []gtidSource
	tagged := false
	for _, p := range s.sources {
		if len(p.runs) > 0 {
			parts = append(parts, p)
			tagged = tagged || p.tag != ""
		}
	}
	count := uint64(len(parts))
	if tagged {
		count = count<<8 | 1<<56 | 1
	}
	b := binary.LittleEndian.AppendUint64(nil, count)
	for _, p := range parts {
		b = append(b, p.sid[:]...)
		if tagged {
			b = append(append(b, byte(len(p.tag)<<1)), p.tag...)
		}
		b = binary.LittleEndian.AppendUint64(b, uint64(len(p.runs)))
		for _, r := range p.runs {
			b = binary.LittleEndian.AppendUint64(b, uint64(r.first))
			b = binary.LittleEndian.AppendUint64(b, uint64(r.last+1))
		}
	}
	return b
}

// maxGNO is the largest number that a transaction of MySQL can have.
const maxGNO = 1<<63 - 2

func parseMySQLSet(text string) (*mysqlSet, error) {
	s := &mysqlSet{}
	for part := range strings.SplitSeq(text, ",") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		fields := strings.Split(part, ":")
		sid, ok := parseUUID(strings.TrimSpace(fields[0]))
		if !ok || len(fields) < 2 {
			return nil, fmt.Errorf("malformed GTID set: %q is not uuid:numbers", part)
		}
		tag := ""
		for _, f := range fields[1:] {
			f = strings.TrimSpace(f)
			if isTag(f) {
				tag = strings.ToLower(f)
				continue
			}
			from, to, ranged := strings.Cut(f, "-")
			r := run{}
			var err1, err2 error
			r.first, err1 = strconv.ParseInt(from, 10, 64)
			if r.last = r.first; ranged {
				r.last, err2 = strconv.ParseInt(to, 10, 64)
			}
			if err1 != nil || err2 != nil || r.first < 1 || r.last < r.first || r.last > maxGNO {
				return nil, fmt.Errorf("malformed GTID set: %q is not a number or a range of numbers", f)
			}
			s.source(sid, tag).add(r)
		}
	}
	return s, nil
}

// isTag reports whether a field of a set is a tag: a letter or underscore, then those or digits, 32 at most.
func isTag(f string) bool {
	if len(f) == 0 || len(f) > 32 {
		return false
	}
	for i, c := range []byte(f) {
		letter := c|0x20 >= 'a' && c|0x20 <= 'z' || c == '_'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return true
}

func parseUUID(text string) (sid [16]byte, ok bool) {
	if len(text) == 36 {
		if text[8] != '-' || text[13] != '-' || text[18] != '-' || text[23] != '-' {
			return sid, false
		}
		text = strings.ReplaceAll(text, "-", "")
	}
	if len(text) != 32 {
		return sid, false
	}
	_, err := hex.Decode(sid[:], []byte(text))
	return sid, err == nil
}

func appendUUID(dst []byte, sid [16]byte) []byte {
	for i, n := range [...]int{4, 2, 2, 2, 6} {
		if i > 0 {
			dst = append(dst, '-')
		}
		at := [...]int{0, 4, 6, 8, 10}[i]
		dst = hex.AppendEncode(dst, sid[at:at+n])
	}
	return dst
}

func formatUUID(sid [16]byte) string { return string(appendUUID(nil, sid)) }

// appendGTID appends the text of one transaction.
func appendGTID(dst []byte, sid [16]byte, tag []byte, gno int64) []byte {
	dst = append(appendUUID(dst, sid), ':')
	if len(tag) > 0 {
		dst = append(append(dst, tag...), ':')
	}
	return strconv.AppendInt(dst, gno, 10)
}

// set makes a transaction the last one of its domain.
func (s *mariaSet) set(g mariaGTID) {
	i, ok := slices.BinarySearchFunc(s.last, g.domain, func(e mariaGTID, d uint32) int { return cmp.Compare(e.domain, d) })
	if ok {
		s.last[i] = g
		return
	}
	s.last = slices.Insert(s.last, i, g)
}

// domain returns the last transaction of a domain, the zero value if it has none.
func (s *mariaSet) domain(d uint32) mariaGTID {
	for _, g := range s.last {
		if g.domain == d {
			return g
		}
	}
	return mariaGTID{}
}

func (s *mariaSet) empty() bool { return len(s.last) == 0 }

func (s *mariaSet) appendText(dst []byte) []byte {
	for i, g := range s.last {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = g.appendText(dst)
	}
	return dst
}

func (g mariaGTID) appendText(dst []byte) []byte {
	dst = strconv.AppendUint(dst, uint64(g.domain), 10)
	dst = strconv.AppendUint(append(dst, '-'), uint64(g.server), 10)
	return strconv.AppendUint(append(dst, '-'), g.seq, 10)
}

func parseMariaSet(text string) (*mariaSet, error) {
	s := &mariaSet{}
	for part := range strings.SplitSeq(text, ",") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		fields := strings.Split(part, "-")
		if len(fields) != 3 {
			return nil, fmt.Errorf("malformed GTID position: %q is not domain-server-sequence", part)
		}
		domain, err1 := strconv.ParseUint(fields[0], 10, 32)
		server, err2 := strconv.ParseUint(fields[1], 10, 32)
		seq, err3 := strconv.ParseUint(fields[2], 10, 64)
		if err1 != nil || err2 != nil || err3 != nil {
			return nil, fmt.Errorf("malformed GTID position: %q is not domain-server-sequence", part)
		}
		s.set(mariaGTID{uint32(domain), uint32(server), seq})
	}
	return s, nil
}
