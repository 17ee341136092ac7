package rowcodec

import (
	"encoding/binary"
	"math"

	"github.com/tailrace/tailrace/change"
)

// rare decodes the members that few events have. Those of one transaction share them, so what was made of the last bytes
// serves for the same bytes again: nothing is allocated for a row.
type rare struct {
	binlogBytes  []byte
	binlog       *change.Binlog
	replicaBytes []byte
	replica      *change.Replica
	txID         string
}

// decode reads the members that extra announces from p into e. What follows them is rest.
func (r *rare) decode(e *change.Event, extra byte, p []byte) (form change.Form, rest []byte, err error) {
	s := scanner{p: p}
	if extra&extraBinlog != 0 {
		row := s.uvarint()
		e.Row = uint32(row)
		if b := s.sized(); r.binlog == nil || string(b) != string(r.binlogBytes) {
			if r.binlog = decodeBinlog(b); r.binlog == nil || row > math.MaxUint32 {
				r.binlog = nil
				return 0, nil, errValue
			}
			r.binlogBytes = append(r.binlogBytes[:0], b...)
		}
		e.Binlog = r.binlog
	}
	if extra&extraReplica != 0 {
		if b := s.sized(); r.replica == nil || string(b) != string(r.replicaBytes) {
			t := scanner{p: b}
			r.replica = &change.Replica{Origin: t.text(), LSN: t.uvarint()}
			if t.failed || len(t.p) > 0 {
				r.replica = nil
				return 0, nil, errValue
			}
			r.replicaBytes = append(r.replicaBytes[:0], b...)
		}
		e.Replica = r.replica
	}
	if extra&extraOrder != 0 {
		if b := s.sized(); string(b) != r.txID {
			r.txID = string(b)
		}
		e.TxID, e.TxOrder, e.TxInTable = r.txID, s.uvarint(), s.uvarint()
	}
	if extra&extraForm != 0 {
		if form = change.Form(s.byte()); !form.Valid() {
			s.fail()
		}
	}
	if s.failed {
		return 0, nil, errValue
	}
	return form, s.p, nil
}

func decodeBinlog(p []byte) *change.Binlog {
	s := scanner{p: p}
	b := &change.Binlog{File: s.text(), GTID: s.text(), Query: s.text()}
	id := s.uvarint()
	b.ServerID, b.Thread = uint32(id), s.uvarint()
	if s.failed || len(s.p) > 0 || id > math.MaxUint32 {
		return nil
	}
	return b
}

// skipRare returns what follows the members that extra announces.
func skipRare(extra byte, p []byte) ([]byte, error) {
	var r rare
	var e change.Event
	_, rest, err := r.decode(&e, extra, p)
	return rest, err
}

// sized reads bytes with their length before them. They alias the input.
func (s *scanner) sized() []byte {
	n, w := binary.Uvarint(s.p)
	if w <= 0 || n > uint64(len(s.p)-w) {
		s.fail()
		return nil
	}
	p := s.p[w : w+int(n)]
	s.p = s.p[w+int(n):]
	return p
}
