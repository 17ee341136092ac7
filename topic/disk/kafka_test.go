package disk_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tailrace/tailrace/internal/servers"
	"github.com/tailrace/tailrace/topic"
	"github.com/tailrace/tailrace/topic/disk"
)

// compressions are those that a topic can have.
func compressions() []string { return []string{"none", "gzip", "snappy", "lz4", "zstd"} }

// mixedLog makes a log with a topic for each compression: keys, values and headers, null and empty ones, tombstones,
// segments that compaction rewrote and some that it has not seen. With whole false the last records are in the journal only.
func mixedLog(t *testing.T, dir string, whole bool) *disk.Log {
	t.Helper()
	l := open(t, disk.Options{Dir: dir, SegmentBytes: 20 << 10, ManualCompaction: true, Now: func() time.Time { return time.UnixMilli(1_700_000_000_000) }})
	put := func(from, to int) {
		for n := from; n < to; n += 50 {
			var recs []topic.Record
			for _, c := range compressions() {
				for i := n; i < n+50; i++ {
					r := topic.Record{Topic: c, Partition: int32(i % 2), Timestamp: 1_600_000_000_000 + int64(i*7%50), Key: fmt.Appendf(nil, "key-%d", i%300),
						Value: []byte(strings.Repeat(fmt.Sprintf("value %d ", i), 1+i%9))}
					switch i % 11 {
					case 1:
						r.Value = nil
					case 2:
						r.Key = nil
					case 3:
						r.Key, r.Value = []byte{}, []byte{}
					case 4:
						r.Headers = []topic.Header{{Key: "a", Value: []byte("1")}, {Key: "", Value: nil}, {Key: "b", Value: []byte{}}}
					}
					recs = append(recs, r)
				}
			}
			if err := l.Append(t.Context(), recs); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, c := range compressions() {
		if err := l.Create(t.Context(), topic.Spec{Name: c, Partitions: 2, Config: map[string]string{"compression.type": c}}); err != nil {
			t.Fatal(err)
		}
	}
	put(0, 1000)
	for _, c := range compressions() {
		if err := l.Compact(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	put(1000, 1500)
	if err := l.Checkpoint(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !whole {
		put(1500, 1700)
	}
	return l
}

// shown is a record as kafka-dump-log shows it: no values of headers.
type shown struct {
	offset, timestamp int64
	key, value        string
	headers           string
}

func show(r *topic.Record) shown {
	text := func(b []byte) string {
		if b == nil {
			return "<null>"
		}
		return string(b)
	}
	names := []string{}
	for _, h := range r.Headers {
		names = append(names, h.Key)
	}
	return shown{r.Offset, r.Timestamp, text(r.Key), text(r.Value), strings.Join(names, ",")}
}

// TestKafkaDumpLog: Kafka's own tool reads every segment file, and finds in it what the log has.
func TestKafkaDumpLog(t *testing.T) {
	dir := t.TempDir()
	l := mixedLog(t, dir, true)
	want, err := lanes(t.Context(), l)
	if err != nil {
		t.Fatal(err)
	}
	segments, err := filepath.Glob(filepath.Join(dir, "topics", "*", "*.log"))
	if err != nil || len(segments) < 20 {
		t.Fatalf("%d segments, %v", len(segments), err)
	}
	// The tool takes a file for what its name says: the base offset, without the count of compactions.
	lane := map[string]string{}
	var files []string
	for i, s := range segments {
		b, err := os.ReadFile(s)
		if err != nil {
			t.Fatal(err)
		}
		base, _, _ := strings.Cut(filepath.Base(s), ".")
		name := filepath.Join(t.TempDir(), strconv.Itoa(i), base+".log")
		topicName, rest, _ := strings.Cut(filepath.Base(filepath.Dir(s)), "@")
		lane[name] = topicName + "/" + rest[len(rest)-1:]
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, b, 0o644); err != nil {
			t.Fatal(err)
		}
		files = append(files, name)
	}
	d := parseDump(t, servers.KafkaDump(t, files...), lane)
	for key, recs := range want {
		expect := make([]shown, len(recs))
		for i := range recs {
			expect[i] = show(&recs[i])
		}
		if !reflect.DeepEqual(d.records[key], expect) {
			t.Errorf("%s: Kafka reads %d records, the log has %d, or they differ", key, len(d.records[key]), len(expect))
		}
		if c, _, _ := strings.Cut(key, "/"); c != "none" && d.codecs[c] == 0 {
			t.Errorf("no batch is compressed by %s: %v", c, d.codecs)
		}
	}
	if d.horizons == 0 {
		t.Error("no batch has a delete horizon")
	}
	t.Run("damage_is_seen", func(t *testing.T) {
		plain := files[slices.IndexFunc(files, func(f string) bool { return lane[f] == "none/0" })]
		b, err := os.ReadFile(plain)
		if err != nil {
			t.Fatal(err)
		}
		b[bytes.Index(b, []byte("value"))] ^= 1
		if err := os.WriteFile(plain, b, 0o644); err != nil {
			t.Fatal(err)
		}
		if out := servers.KafkaDump(t, plain); !strings.Contains(out, "isvalid: false") {
			t.Errorf("a damaged batch looks valid: %.500s", out)
		}
	})
}

// dumped is what kafka-dump-log has printed.
type dumped struct {
	records  map[string][]shown // by lane, in the order of files
	codecs   map[string]int     // batches
	horizons int
}

// parseDump reads the tool's output. It fails for anything that is not valid or not understood.
func parseDump(t *testing.T, out string, lane map[string]string) dumped {
	t.Helper()
	d := dumped{records: map[string][]shown{}, codecs: map[string]int{}}
	batch := regexp.MustCompile(`^baseOffset: (\d+) lastOffset: (\d+) count: (\d+) .* deleteHorizonMs: (\S+) position: \d+ .*magic: 2 compresscodec: (\w+) crc: \d+ isvalid: true$`)
	record := regexp.MustCompile(`^\| offset: (\d+) CreateTime: (\d+) keySize: (-?\d+) valueSize: (-?\d+) sequence: -1 headerKeys: \[(.*?)\](?: key: (.*?))?(?: payload: (.*))?$`)
	follows := regexp.MustCompile(`^\s+-?\d+ is followed by \d+$`)
	var at string
	for line := range strings.SplitSeq(strings.TrimSpace(out), "\n") {
		if name, ok := strings.CutPrefix(line, "Dumping "); ok {
			if at = lane[name]; at == "" {
				t.Fatalf("%q", line)
			}
			continue
		}
		// Offsets that compaction left out are worth a remark to the tool.
		if strings.HasPrefix(line, "Log starting offset: ") || strings.HasPrefix(line, "Non-consecutive offsets in ") || follows.MatchString(line) {
			continue
		}
		if m := batch.FindStringSubmatch(line); m != nil {
			d.codecs[strings.ToLower(m[5])]++
			if m[4] != "OptionalLong.empty" {
				d.horizons++
			}
			continue
		}
		m := record.FindStringSubmatch(line)
		if m == nil {
			t.Fatalf("kafka-dump-log says %q", line)
		}
		s := shown{key: m[6], value: m[7], headers: m[5]}
		s.offset, _ = strconv.ParseInt(m[1], 10, 64)
		s.timestamp, _ = strconv.ParseInt(m[2], 10, 64)
		if m[3] == "-1" {
			s.key = "<null>"
		}
		if m[4] == "-1" {
			s.value = "<null>"
		}
		d.records[at] = append(d.records[at], s)
	}
	return d
}
