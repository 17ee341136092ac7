//go:build invariants

package change

import "testing"

// TestInvariant6 looks at a batch's memory after Reset, which in this build shows.
func TestInvariant6(t *testing.T) {
	var b Batch
	p, r := b.Copy([]byte("bytes")), b.Row(2)
	huge := b.Copy(make([]byte, maxRetained+1))
	b.Reset()
	for _, q := range [][]byte{p, huge} {
		for _, c := range q {
			if c != 0xCC {
				t.Fatalf("bytes outlived Reset: %x", q[:5])
			}
		}
	}
	if r[0].Kind != 0xCC || r[1].Kind.Valid() {
		t.Errorf("values outlived Reset: %v", r)
	}
	if n := b.Row(2); n[0].Kind != Absent || n[1].Num != 0 {
		t.Errorf("poison came out in a new row: %v", n)
	}
}
