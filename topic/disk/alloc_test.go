//go:build !race

// The race detector makes sync.Pool forget at random, so that what allocates is counted without it.

package disk_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/tailrace/tailrace/topic"
)

// What an append and a read may allocate, whatever the number of records. An append opens three files: the manifest twice, to
// see that nobody has taken the log over, and each MiB the journal's mark. A read returns memory that the reader keeps.
const (
	allocsPerAppend = 20
	allocsPerRead   = 0
)

// TestNoAllocs: nothing is allocated per record, to append and to read. What grows with the log is one index entry for each
// 64 KiB, in slices that double.
func TestNoAllocs(t *testing.T) {
	l := benchLog(t)
	for _, records := range []int{1, 1000, 16_000} {
		recs := rows(records)
		var err error
		n := testing.AllocsPerRun(8, func() {
			if err == nil {
				err = l.Append(t.Context(), recs)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		if n > allocsPerAppend {
			t.Errorf("%v allocations to append %d records", n, records)
		}
	}
	for _, most := range []int{1, 100, 4000} {
		r, err := l.Reader(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for i := range 3 {
			if err := r.Add(fmt.Sprintf("shop.public.t%d", i), 0, topic.Start); err != nil {
				t.Fatal(err)
			}
		}
		read := func() {
			if err == nil {
				_, err = r.Read(t.Context(), most)
			}
		}
		for range 6 { // the reader's buffers grow to what such reads need
			read()
		}
		if n := testing.AllocsPerRun(15, read); n > allocsPerRead {
			t.Errorf("%v allocations to read %d records", n, most)
		}
		if err := errors.Join(err, r.Close()); err != nil {
			t.Fatal(err)
		}
	}
}
