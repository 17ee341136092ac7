package elasticsearch

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/elastic/go-elasticsearch/v8/esapi"
	"go.uber.org/goleak"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/internal/servers"
	"github.com/tailrace/tailrace/internal/servers/proxy"
	"github.com/tailrace/tailrace/sink"
	"github.com/tailrace/tailrace/sink/sinktest"
)

// open opens a sink whose indexes have a prefix of their own.
func openTest(t testing.TB, props map[string]string) *Sink {
	t.Helper()
	s, err := Plugin.Open(context.Background(), sink.Setup{Connector: "conn", Props: props, Logger: slog.New(slog.DiscardHandler), Now: time.Now})
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	return s.(*Sink)
}

func target(t testing.TB, addr string) sinktest.Target {
	p := proxy.New(t, strings.TrimPrefix(addr, "http://"))
	props := map[string]string{"connection.url": "http://" + p.Addr(), "refresh": "true", "retry.backoff.ms": "1",
		"index.prefix": fmt.Sprintf("t%d-", time.Now().UnixNano())}
	direct := maps.Clone(props)
	direct["connection.url"] = addr
	k := openTest(t, direct)
	t.Cleanup(func() {
		defer k.Close()
		var all map[string]json.RawMessage
		if _, err := k.call(context.Background(), esapi.IndicesGetRequest{Index: []string{props["index.prefix"] + "*"}}, &all); err != nil {
			t.Error(err)
		}
		for index := range all {
			if _, err := k.call(context.Background(), esapi.IndicesDeleteRequest{Index: []string{index}}, nil); err != nil {
				t.Error(err)
			}
		}
	})
	return sinktest.Target{
		Open: func(t testing.TB, more map[string]string) sink.Sink {
			all := maps.Clone(props)
			maps.Copy(all, more)
			return openTest(t, all)
		},
		Rows: func(t testing.TB, topic string, _ *change.Table) []map[string]string {
			size := 10_000
			var got struct {
				Hits struct {
					Hits []struct {
						Source map[string]json.RawMessage `json:"_source"`
					} `json:"hits"`
				} `json:"hits"`
			}
			status, err := k.call(t.Context(), esapi.SearchRequest{Index: []string{indexName(props["index.prefix"], topic)}, Size: &size, Body: bytes.NewReader([]byte(`{}`))}, &got)
			if status == http.StatusNotFound {
				return nil
			}
			if err != nil {
				t.Fatal(err)
			}
			var rows []map[string]string
			for _, h := range got.Hits.Hits {
				row := map[string]string{}
				for name, raw := range h.Source {
					if string(raw) != "null" {
						row[name] = string(raw)
					}
				}
				rows = append(rows, row)
			}
			return rows
		},
		FailAfterWrite: func(testing.TB) { p.DropAnswer("_bulk") },
		Hang:           func(testing.TB) func() { return p.Hang() },
	}
}

func TestSinktest(t *testing.T) {
	addr := servers.Need(t, "elasticsearch8")
	sinktest.Run(t, sinktest.Harness{
		New: func(t testing.TB) sinktest.Target { return target(t, addr) },
		Leaks: []goleak.Option{
			goleak.IgnoreAnyFunction("github.com/tailrace/tailrace/internal/servers/proxy.(*Proxy).accept"),
			goleak.IgnoreAnyFunction("github.com/tailrace/tailrace/internal/servers/proxy.(*Proxy).pass"),
			goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"),
			goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"),
		},
	})
}

func TestNames(t *testing.T) {
	for topic, want := range map[string]string{"shop.public.Orders": "shop.public.orders", "a b/c": "a_b_c", "_x": "t_x", "..": "t.."} {
		if got := indexName("", topic); got != want {
			t.Errorf("index of %q is %q, want %q", topic, got, want)
		}
	}
	tb := sinktest.Table("t", 1, []string{"a", "b"}, sinktest.Column("a", "text"), sinktest.Column("b", "text"))
	one := appendID(nil, tb, change.Row{sinktest.Text("x:"), sinktest.Text("y")})
	two := appendID(nil, tb, change.Row{sinktest.Text("x"), sinktest.Text(":y")})
	if bytes.Equal(one, two) {
		t.Errorf("two keys have the id %s", one)
	}
	if long := appendID(nil, tb, change.Row{sinktest.Text(strings.Repeat("x", 600)), sinktest.Text("y")}); len(long) > maxID {
		t.Errorf("id of %d bytes", len(long))
	}
}
