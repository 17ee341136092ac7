package disk

import (
	"fmt"
	"testing"

	"github.com/tailrace/tailrace/topic"
	"github.com/tailrace/tailrace/topic/disk/vfs"
)

// TestStatsPasses: the figures are the same however few keys fit into memory.
func TestStatsPasses(t *testing.T) {
	l, err := Open(t.Context(), Options{Dir: t.TempDir(), ManualCompaction: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := l.Create(t.Context(), topic.Spec{Name: "a", Partitions: 1}); err != nil {
		t.Fatal(err)
	}
	var recs []topic.Record
	for n := range 3000 {
		r := topic.Record{Topic: "a", Key: fmt.Appendf(nil, "%04d", n%1000), Value: []byte("123456")}
		switch {
		case n%500 == 0:
			r.Key = nil
		case n >= 2000 && n%10 == 1:
			r.Value = nil
		}
		recs = append(recs, r)
	}
	if err := l.Append(t.Context(), recs); err != nil {
		t.Fatal(err)
	}
	in, err := Inspect(t.Context(), vfs.ReadOnly{}, l.opt.Dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, most := range []int{1 << 20, 998, 997, 100, 7} {
		s, err := in.partitionStats(t.Context(), &in.Topics[0], 0, most)
		if err != nil {
			t.Fatal(err)
		}
		s.Bytes, s.Segments = 0, 0
		want := PartitionStats{Topic: "a", Records: 3000, Keys: 998, Live: 898 + 6, Tombstones: 100, PlainBytes: 2994*4 + 2900*6, LiveBytes: 898*10 + 6*6}
		if s != want {
			t.Errorf("%d keys in memory: %+v, want %+v", most, s, want)
		}
	}
}
