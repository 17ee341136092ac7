package redis

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"
	"go.uber.org/goleak"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/internal/servers"
	"github.com/tailrace/tailrace/internal/servers/proxy"
	"github.com/tailrace/tailrace/sink"
	"github.com/tailrace/tailrace/sink/sinktest"
)

// bench is a Redis server seen by a test: directly and through a proxy, under a prefix of its own.
type bench struct {
	testing.TB
	client rueidis.Client
	proxy  *proxy.Proxy
	prefix string
	props  map[string]string
	now    func() time.Time
}

func newBench(t testing.TB, addr string, props map[string]string) *bench {
	t.Helper()
	c, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{addr}, ForceSingleClient: true, DisableCache: true, PipelineMultiplex: -1})
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{TB: t, client: c, proxy: proxy.New(t, addr), now: time.Now,
		prefix: fmt.Sprintf("test:%s:%d:", strings.NewReplacer("/", "_", "*", "_", "[", "_", "]", "_").Replace(t.Name()), time.Now().UnixNano())}
	b.props = map[string]string{"redis.uri": "redis://" + b.proxy.Addr(), "key.format": b.prefix + "${topic}:${key}", "state.prefix": b.prefix + "state:"}
	maps.Copy(b.props, props)
	t.Cleanup(func() {
		b.wipe()
		c.Close()
	})
	return b
}

// wipe removes all keys of the test.
func (b *bench) wipe() {
	b.Helper()
	for _, key := range b.keys("*") {
		b.do("DEL", key)
	}
}

func (b *bench) open(t testing.TB, props map[string]string) sink.Sink {
	t.Helper()
	all := maps.Clone(b.props)
	maps.Copy(all, props)
	s, err := Plugin.Open(t.Context(), sink.Setup{Connector: "conn", Props: all, Logger: slog.New(slog.DiscardHandler), Now: func() time.Time { return b.now() }})
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	return s
}

func (b *bench) do(args ...string) rueidis.RedisMessage {
	b.Helper()
	m, err := b.client.Do(context.Background(), b.client.B().Arbitrary(args...).Build()).ToMessage()
	if err != nil && !rueidis.IsRedisNil(err) {
		b.Fatalf("%s: %v", args, err)
	}
	return m
}

func (b *bench) get(key string) string {
	b.Helper()
	m := b.do("GET", b.prefix+key)
	if m.IsNil() {
		return "(nil)"
	}
	s, err := m.ToString()
	if err != nil {
		b.Fatal(err)
	}
	return s
}

func (b *bench) keys(pattern string) []string {
	b.Helper()
	m := b.do("KEYS", b.prefix+pattern)
	list, err := m.AsStrSlice()
	if err != nil {
		b.Fatal(err)
	}
	return list
}

// rows reads the rows of a topic back, as documents or hashes.
func (b *bench) rows(t testing.TB, topic string, table *change.Table) []map[string]string {
	var out []map[string]string
	for _, key := range b.keys(topic + ":*") {
		if b.props["redis.type"] == "hash" {
			m := b.do("HGETALL", key)
			row, err := m.AsStrMap()
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, row)
			continue
		}
		m := b.do("GET", key)
		doc, err := m.ToString()
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, splitDocument(t, doc))
	}
	return out
}

func harness(t *testing.T, addr string, props map[string]string) sinktest.Harness {
	return sinktest.Harness{
		// Proxies of targets that a case makes beside its first.
		Leaks: []goleak.Option{
			goleak.IgnoreAnyFunction("github.com/tailrace/tailrace/internal/servers/proxy.(*Proxy).accept"),
			goleak.IgnoreAnyFunction("github.com/tailrace/tailrace/internal/servers/proxy.(*Proxy).pass"),
		},
		New: func(t testing.TB) sinktest.Target {
			b := newBench(t, addr, props)
			return sinktest.Target{
				Open: b.open,
				Rows: b.rows,
				FailAfterWrite: func(testing.TB) {
					b.proxy.DropAnswer("EXEC", writeJSON.sum, writeHash.sum)
				},
				Hang: func(testing.TB) func() { return b.proxy.Hang() },
			}
		},
	}
}

func TestSinktest(t *testing.T) {
	addr := servers.Need(t, "redis")
	t.Run("json", func(t *testing.T) {
		sinktest.Run(t, harness(t, addr, nil))
	})
	t.Run("json_ttl", func(t *testing.T) {
		sinktest.Run(t, harness(t, addr, map[string]string{"ttl.ms": "3600000"}))
	})
	t.Run("json_one_row_a_call", func(t *testing.T) {
		sinktest.Run(t, harness(t, addr, map[string]string{"batch.size": "1"}))
	})
	t.Run("hash", func(t *testing.T) {
		h := harness(t, addr, map[string]string{"redis.type": "hash"})
		h.Text = func(c *change.Column, v change.Value) string {
			if v.Kind <= change.Null {
				return "(null)"
			}
			return string(appendField(nil, c, v))
		}
		sinktest.Run(t, h)
	})
}
