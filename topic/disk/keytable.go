package disk

import "hash/maphash"

// A keyTable maps keys to the newest offset of each, in bounded memory: it holds 128-bit hashes of keys instead of the
// keys. The hashes are seeded anew for each table; that any two of a billion keys are taken for one has odds of 1 in 10^20.
type keyTable struct {
	seeds   [2]maphash.Seed
	entries []keyEntry // a power of two of them; offset -1: empty
	used    int
	most    int // entries
}

type keyEntry struct {
	a, b   uint64
	offset int64 // twice the offset, plus 1 if the record there is partial
}

const keyEntryBytes = 24

// newKeyTable makes a table that takes at most about so many bytes, the moment included when it has grown and the old
// entries are still there.
func newKeyTable(bytes int64) *keyTable {
	most := 64
	for int64(most)*2*keyEntryBytes*3/2 <= bytes {
		most *= 2
	}
	t := &keyTable{seeds: [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}, most: most}
	t.entries = emptyEntries(min(most, 1024))
	return t
}

func emptyEntries(n int) []keyEntry {
	e := make([]keyEntry, n)
	for i := range e {
		e[i].offset = -1
	}
	return e
}

// put notes that key is at offset, the newest so far, with a value that is partial or whole. It returns false, and notes
// nothing, if the table is full.
func (t *keyTable) put(key []byte, offset int64, partial bool) bool {
	offset *= 2
	if partial {
		offset++
	}
	e := t.find(key)
	if e.offset >= 0 {
		e.offset = offset
		return true
	}
	if t.used+1 > len(t.entries)*3/4 {
		if len(t.entries) == t.most {
			return false
		}
		t.grow()
		e = t.find(key)
	}
	e.a, e.b = t.hash(key)
	e.offset = offset
	t.used++
	return true
}

// newest returns the offset noted for key, -1 if there is none, and whether the value there is partial.
func (t *keyTable) newest(key []byte) (offset int64, partial bool) {
	o := t.find(key).offset
	return o >> 1, o >= 0 && o&1 == 1
}

func (t *keyTable) hash(key []byte) (a, b uint64) {
	return maphash.Bytes(t.seeds[0], key), maphash.Bytes(t.seeds[1], key)
}

func (t *keyTable) find(key []byte) *keyEntry {
	a, b := t.hash(key)
	return t.slot(a, b)
}

func (t *keyTable) slot(a, b uint64) *keyEntry {
	mask := uint64(len(t.entries) - 1)
	for i := a & mask; ; i = (i + 1) & mask {
		e := &t.entries[i]
		if e.offset < 0 || e.a == a && e.b == b {
			return e
		}
	}
}

func (t *keyTable) grow() {
	old := t.entries
	t.entries = emptyEntries(2 * len(old))
	for _, e := range old {
		if e.offset >= 0 {
			*t.slot(e.a, e.b) = e
		}
	}
}
