package rowcodec

import (
	"fmt"

	"github.com/tailrace/tailrace/change"
)

// Partial reports whether value is a row whose After image lacks columns, so that compaction must not drop the older
// record of its key without Merge. It looks at two bytes. Values that are no rows are not partial.
func (r *Registry) Partial(value []byte) bool { return partial(value) }

func partial(value []byte) bool {
	return len(value) >= 2 && readable(value[0]) && value[1]&(flagPartial|flagRaw) == flagPartial
}

// Merge appends to dst what compaction keeps of two records with the same key, older and newer, when only one can stay:
// newer, in whose After image the Absent columns have taken the values that older has for them. Columns are matched by
// name, as the two may be of different versions of the table; the result is of newer's version. Where older has nothing
// to give (it is nil, a delete, a truncate or Raw) or newer lacks nothing, newer is appended as it is.
//
// Folding the result is folding older and then newer, if nothing of the key remains before older. So a run of records
// is merged from the oldest that is still there to the newest: a delete must not be merged away from above an older row.
// Merge may be called concurrently. A value that cannot be decoded gives an error and dst as it was.
func (r *Registry) Merge(dst, older, newer []byte) ([]byte, error) {
	if !partial(newer) || len(older) == 0 {
		return append(dst, newer...), nil
	}
	old, err := r.split(older)
	if err != nil {
		return dst, fmt.Errorf("the older of two records to merge: %w", err)
	}
	if !old.hasRow() {
		return append(dst, newer...), nil
	}
	young, err := r.split(newer)
	if err != nil {
		return dst, fmt.Errorf("the newer of two records to merge: %w", err)
	}
	if !young.hasRow() {
		return append(dst, newer...), nil
	}
	fill(&young, &old)
	n := len(dst)
	dst = append(dst, newer[:len(newer)-len(young.image)]...)
	if young.row.Complete() {
		dst[n+1] &^= flagPartial
	}
	merged, err := appendRow(dst, young.table, young.row)
	if err != nil {
		return dst[:n], err
	}
	return merged, nil
}

// Erases reports whether value is a truncate: the rows of its table that were before it are gone.
func (r *Registry) Erases(value []byte) bool {
	return len(value) >= 2 && readable(value[0]) && value[1]&opMask == opTruncate && value[1]&flagRaw == 0
}

// Covers reports whether eraser, a truncate, makes older, a record before it in the partition, meaningless: a row or a
// truncate of the same table, be it of another version. Tables may share a topic, and what is not a row is nobody's.
func (r *Registry) Covers(eraser, older []byte) bool {
	if len(older) < 2 || !readable(older[0]) || older[1]&flagRaw != 0 || older[1]&opMask > opTruncate {
		return false
	}
	a, b := r.tableOf(eraser), r.tableOf(older)
	return a != nil && b != nil && (a == b || a.Name == b.Name && sameOrigin(a.Origin, b.Origin))
}

func sameOrigin(a, b *change.Origin) bool {
	return a == b || a != nil && b != nil && a.Connector == b.Connector && a.Name == b.Name
}

// tableOf returns the table that a value refers to, nil if it refers to none that is known.
func (r *Registry) tableOf(value []byte) *change.Table {
	h, _, err := decodeHead(value)
	if err != nil || h.schema == 0 {
		return nil
	}
	t, _ := r.find(h.schema) // unknown is never wrong: nothing is dropped then
	return t
}

// stored is a decoded value as far as Merge needs it.
type stored struct {
	flags byte
	table *change.Table
	image []byte // the bytes of the After image, the end of the value
	row   change.Row
}

// hasRow reports whether the value is a row as it was after the event.
func (s *stored) hasRow() bool {
	return s.flags&flagAfter != 0 && s.flags&flagRaw == 0 && s.flags&opMask <= 2
}

func (r *Registry) split(value []byte) (s stored, err error) {
	h, p, err := decodeHead(value)
	if err != nil {
		return s, err
	}
	if s.flags = h.flags; !s.hasRow() {
		return s, nil
	}
	if h.schema == 0 {
		return s, errValue
	}
	if h.extra >= extraBinlog {
		if p, err = skipRare(h.extra, p); err != nil {
			return s, err
		}
	}
	if s.table, err = r.table(h.schema); err != nil {
		return s, err
	}
	s.row = make(change.Row, len(s.table.Columns))
	if h.flags&flagBefore != 0 {
		if p, err = decodeRow(s.row, s.table, p); err != nil {
			return s, err
		}
	}
	s.image = p
	if p, err = decodeRow(s.row, s.table, p); err != nil {
		return s, err
	}
	if len(p) != 0 {
		return s, errValue
	}
	return s, nil
}

// fill gives the Absent columns of young's row the values of old's.
func fill(young, old *stored) {
	for i := range young.row {
		if young.row[i].Kind != change.Absent {
			continue
		}
		from := i
		if young.table != old.table {
			from = old.table.Column(young.table.Columns[i].Name)
		}
		if from >= 0 {
			young.row[i] = old.row[from]
		}
	}
}
