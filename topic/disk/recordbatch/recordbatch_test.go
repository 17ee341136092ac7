package recordbatch_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/tailrace/tailrace/topic"
	"github.com/tailrace/tailrace/topic/disk/recordbatch"
)

var compressions = []recordbatch.Compression{recordbatch.None, recordbatch.Gzip, recordbatch.Snappy, recordbatch.LZ4, recordbatch.Zstd}

func samples() []topic.Record {
	recs := []topic.Record{
		{Offset: 100, Timestamp: 1_700_000_000_000},
		{Offset: 101, Timestamp: 1_600_000_000_000, Key: []byte{}, Value: []byte{}},
		{Offset: 105, Timestamp: -1, Key: []byte("k"), Value: nil},
		{Offset: 1 << 20, Timestamp: 1_800_000_000_000, Key: nil, Value: []byte("v"), Headers: []topic.Header{{Key: "a", Value: nil}, {Key: "", Value: []byte{}}, {Key: "a", Value: []byte("x")}}},
	}
	for i := range 300 {
		recs = append(recs, topic.Record{Offset: 1<<20 + 1 + int64(i), Timestamp: int64(i), Key: fmt.Appendf(nil, "key %d", i), Value: bytes.Repeat([]byte("value "), i%50)})
	}
	return recs
}

func encode(dst []byte, recs []topic.Record, c recordbatch.Compression) []byte {
	var b recordbatch.Builder
	b.Begin(dst, recs[0].Offset, c)
	for i := range recs {
		b.Append(&recs[i], int32(recs[i].Offset-recs[0].Offset))
	}
	return b.Finish()
}

func decode(d *recordbatch.Decoder, b []byte) ([]topic.Record, error) {
	if _, err := d.Reset(b); err != nil {
		return nil, err
	}
	var recs []topic.Record
	var headers []topic.Header
	for {
		var r topic.Record
		var ok bool
		var err error
		headers, ok, err = d.Next(&r, headers)
		if err != nil {
			return recs, err
		}
		if !ok {
			return recs, nil
		}
		recs = append(recs, r)
	}
}

func same(a, b topic.Record) bool {
	eq := func(x, y []byte) bool { return (x == nil) == (y == nil) && bytes.Equal(x, y) }
	return a.Offset == b.Offset && a.Timestamp == b.Timestamp && eq(a.Key, b.Key) && eq(a.Value, b.Value) &&
		slices.EqualFunc(a.Headers, b.Headers, func(x, y topic.Header) bool { return x.Key == y.Key && eq(x.Value, y.Value) })
}

func TestRoundTrip(t *testing.T) {
	for _, c := range compressions {
		t.Run(fmt.Sprint(c), func(t *testing.T) {
			var d recordbatch.Decoder
			for range 2 { // reused
				recs := samples()
				b := encode([]byte("before"), recs, c)
				if string(b[:6]) != "before" {
					t.Fatal("the bytes before the batch are gone")
				}
				b = append(b[6:], "after"...)
				h, err := recordbatch.Check(b)
				if err != nil {
					t.Fatal(err)
				}
				if h.Compression != c || h.Size != len(b)-5 || h.BaseOffset != 100 || int(h.Count) != len(recs) || h.LastOffset() != recs[len(recs)-1].Offset || h.MaxTime != 1_800_000_000_000 {
					t.Fatalf("%+v", h)
				}
				got, err := decode(&d, b)
				if err != nil || len(got) != len(recs) {
					t.Fatalf("%d records, %v", len(got), err)
				}
				for i := range got {
					if !same(got[i], recs[i]) {
						t.Fatalf("record %d is %+v, want %+v", i, got[i], recs[i])
					}
				}
				recordbatch.SetBaseOffset(b, 7000)
				if got, err = decode(&d, b); err != nil || got[2].Offset != 7005 {
					t.Fatalf("renumbered: %+v, %v", got[2], err)
				}
			}
		})
	}
}

// TestBytes compares with a batch put together by hand from Kafka's documentation.
func TestBytes(t *testing.T) {
	recs := []topic.Record{{Offset: 5, Timestamp: 1000, Key: []byte("k"), Value: []byte("v"), Headers: []topic.Header{{Key: "h", Value: nil}}}, {Offset: 6, Timestamp: 998, Value: []byte{}}}
	want := "0000000000000005" + "00000048" + "ffffffff" + "00"[:0] + "02" + "CRCCRCCR" + "0000" + "00000001" + "00000000000003e8" + "00000000000003e8" +
		"ffffffffffffffff" + "ffff" + "ffffffff" + "00000002" +
		"16" + "00" + "00" + "00" + "026b" + "0276" + "02" + "0268" + "01" +
		"0c" + "00" + "03" + "02" + "01" + "00" + "00"
	got := encode(nil, recs, recordbatch.None)
	crc := hex.EncodeToString(got[17:21])
	length := hex.EncodeToString(binary.BigEndian.AppendUint32(nil, uint32(len(got)-12)))
	want = strings.Replace(strings.Replace(want, "CRCCRCCR", crc, 1), "00000048", length, 1)
	if hex.EncodeToString(got) != want {
		t.Fatalf("got  %x\nwant %s", got, want)
	}
	if len(got) != 61+12+7 {
		t.Fatalf("%d bytes", len(got))
	}
}

func TestHorizon(t *testing.T) {
	var b recordbatch.Builder
	b.Begin(nil, 10, recordbatch.None)
	b.SetDeleteHorizon(5000)
	b.Append(&topic.Record{Timestamp: 3000, Key: []byte("k")}, 0)
	b.Extend(9)
	var d recordbatch.Decoder
	buf := b.Finish()
	h, err := d.Reset(buf)
	if err != nil || !h.DeleteHorizon || h.BaseTime != 5000 || h.MaxTime != 3000 || h.LastOffset() != 19 {
		t.Fatalf("%+v, %v", h, err)
	}
	got, err := decode(&d, buf)
	if err != nil || len(got) != 1 || got[0].Timestamp != 3000 {
		t.Fatalf("%+v, %v", got, err)
	}
}

// TestTornBytes cuts and flips every byte: nothing panics, and nothing but the base offset and the leader epoch, which
// no checksum covers, can change unnoticed.
func TestTornBytes(t *testing.T) {
	for _, c := range compressions {
		b := encode(nil, samples()[:20], c)
		var d recordbatch.Decoder
		for i := range b {
			if _, err := decode(&d, b[:i]); !errors.Is(err, recordbatch.ErrShort) {
				t.Fatalf("cut at %d: %v", i, err)
			}
			if i < 8 || i >= 12 && i < 16 {
				continue
			}
			bad := slices.Clone(b)
			bad[i] ^= 0x41
			if _, err := decode(&d, bad); err == nil {
				t.Fatalf("byte %d of compression %d changed, and nobody noticed", i, c)
			}
		}
	}
}

func TestExtremes(t *testing.T) {
	recs := []topic.Record{{Timestamp: math.MinInt64}, {Offset: 1, Timestamp: math.MaxInt64}, {Offset: math.MaxInt32, Timestamp: 0}}
	var d recordbatch.Decoder
	got, err := decode(&d, encode(nil, recs, recordbatch.None))
	if err != nil {
		t.Fatal(err)
	}
	for i := range got {
		if !same(got[i], recs[i]) {
			t.Fatalf("%+v, want %+v", got[i], recs[i])
		}
	}
}

func TestRecordBound(t *testing.T) {
	for _, r := range samples() {
		if size, bound := len(encode(nil, []topic.Record{r}, recordbatch.None))-recordbatch.HeaderSize, recordbatch.RecordBound(&r); size > bound {
			t.Fatalf("%+v has %d bytes, the bound is %d", r, size, bound)
		}
	}
}

func TestNoAllocs(t *testing.T) {
	recs := samples()
	var b recordbatch.Builder
	var d recordbatch.Decoder
	var headers []topic.Header
	buf := make([]byte, 0, 1<<20)
	var rec topic.Record
	n := testing.AllocsPerRun(100, func() {
		b.Begin(buf[:0], 100, recordbatch.None)
		for i := range recs {
			b.Append(&recs[i], int32(recs[i].Offset-100))
		}
		buf = b.Finish()
		if _, err := d.Reset(buf); err != nil {
			t.Fatal(err)
		}
		headers = headers[:0]
		for {
			var ok bool
			var err error
			if headers, ok, err = d.Next(&rec, headers); err != nil {
				t.Fatal(err)
			} else if !ok {
				break
			}
		}
	})
	if n != 0 {
		t.Fatalf("%v allocations for %d records", n, len(recs))
	}
}

// FuzzDecode feeds arbitrary bytes, with their checksum made right so that the records are looked at. What decodes must
// encode to something that decodes to the same.
func FuzzDecode(f *testing.F) {
	for _, c := range compressions {
		f.Add(encode(nil, samples()[:5], c))
	}
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		recordbatch.FixCRC(b)
		var d recordbatch.Decoder
		recs, err := decode(&d, b)
		if err != nil || len(recs) == 0 {
			return
		}
		base := int64(binary.BigEndian.Uint64(b))
		var bl recordbatch.Builder
		bl.Begin(nil, base, recordbatch.None)
		for i := range recs {
			bl.Append(&recs[i], int32(recs[i].Offset-base))
		}
		var d2 recordbatch.Decoder
		again, err := decode(&d2, bl.Finish())
		if err != nil || len(again) != len(recs) {
			t.Fatalf("%d records instead of %d: %v", len(again), len(recs), err)
		}
		for i := range recs {
			if !same(recs[i], again[i]) {
				t.Fatalf("record %d is %+v, was %+v", i, again[i], recs[i])
			}
		}
	})
}

func BenchmarkEncode(b *testing.B) {
	recs := samples()
	var bl recordbatch.Builder
	buf := make([]byte, 0, 1<<20)
	b.ReportAllocs()
	for b.Loop() {
		bl.Begin(buf[:0], 100, recordbatch.None)
		for i := range recs {
			bl.Append(&recs[i], int32(recs[i].Offset-100))
		}
		buf = bl.Finish()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(recs)), "ns/record")
}
