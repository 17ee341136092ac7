package elasticsearch

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/internal/servers"
	"github.com/tailrace/tailrace/internal/servers/proxy"
	"github.com/tailrace/tailrace/sink"
	"github.com/tailrace/tailrace/sink/sinktest"
)

func openTest(t testing.TB, props map[string]string) *Sink {
	t.Helper()
	s, err := Plugin.Open(context.Background(), sink.Setup{Connector: "conn", Props: props, Logger: slog.New(slog.DiscardHandler), Now: time.Now})
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	return s.(*Sink)
}

func (f *fake) props() map[string]string {
	return map[string]string{"connection.url": f.srv.URL, "retry.backoff.ms": "1", "max.retries": "20"}
}

func fakeTarget(t testing.TB) sinktest.Target {
	f := newFake(t)
	return sinktest.Target{
		Open: func(t testing.TB, more map[string]string) sink.Sink {
			all := f.props()
			maps.Copy(all, more)
			return openTest(t, all)
		},
		Rows: func(t testing.TB, topic string, _ *change.Table) []map[string]string {
			return f.rows(t, indexName("", topic, ""))
		},
		FailAfterWrite: func(testing.TB) {
			f.mu.Lock()
			f.lose = 1
			f.mu.Unlock()
		},
		Restart: func(testing.TB) { f.srv.CloseClientConnections() },
		Hang: func(testing.TB) func() {
			f.mu.Lock()
			f.hang = make(chan struct{})
			f.mu.Unlock()
			return func() {
				f.mu.Lock()
				close(f.hang)
				f.hang = nil
				f.mu.Unlock()
			}
		},
		Refuse: func(t testing.TB, topic string, _ *change.Table, column string) change.Value {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.item = func(id string) (int, string) {
				if id == "123" {
					return 400, "document_parsing_exception"
				}
				return 0, ""
			}
			return sinktest.Text("refused")
		},
	}
}

// serverSide are goroutines of the test's own servers and of connections that are being closed.
func serverSide() []goleak.Option {
	return []goleak.Option{
		goleak.IgnoreAnyFunction("github.com/tailrace/tailrace/internal/servers/proxy.(*Proxy).accept"),
		goleak.IgnoreAnyFunction("github.com/tailrace/tailrace/internal/servers/proxy.(*Proxy).pass"),
		goleak.IgnoreAnyFunction("net/http.(*Server).Serve"),
		goleak.IgnoreAnyFunction("net/http.(*conn).serve"),
		goleak.IgnoreAnyFunction("net/http.(*connReader).backgroundRead"),
	}
}

func TestSinktestOnFake(t *testing.T) {
	sinktest.Run(t, sinktest.Harness{New: fakeTarget, Leaks: serverSide()})
}

// TestSinktestOneByOne sends the same in requests of a few documents, many at a time.
func TestSinktestOneByOne(t *testing.T) {
	sinktest.Run(t, sinktest.Harness{Leaks: serverSide(), New: func(t testing.TB) sinktest.Target {
		target := fakeTarget(t)
		whole := target.Open
		target.Open = func(t testing.TB, more map[string]string) sink.Sink {
			few := map[string]string{"batch.size": "3", "max.in.flight.requests": "8", "bulk.size.bytes": "1024", "connection.compression": "true"}
			maps.Copy(few, more)
			return whole(t, few)
		}
		return target
	}})
}

func TestSinktest(t *testing.T) {
	addr := servers.Need(t, "elasticsearch8")
	sinktest.Run(t, sinktest.Harness{New: func(t testing.TB) sinktest.Target { return target(t, addr) }, Leaks: serverSide()})
}

// node speaks to a real server directly.
type node struct {
	t    testing.TB
	addr string
	http *http.Client
}

func newNode(t testing.TB, addr string) node {
	return node{t, addr, &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}}
}

func (n node) call(method, path, body string) (int, []byte) {
	n.t.Helper()
	req, err := http.NewRequest(method, n.addr+path, strings.NewReader(body))
	if err != nil {
		n.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := n.http.Do(req)
	if err != nil {
		n.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		n.t.Fatal(err)
	}
	return resp.StatusCode, text
}

func (n node) must(method, path, body string) []byte {
	n.t.Helper()
	status, text := n.call(method, path, body)
	if status >= 300 {
		n.t.Fatalf("%s %s: %d %s", method, path, status, text)
	}
	return text
}

// rows returns all documents of an index, page by page.
func (n node) rows(index string) (rows []map[string]string) {
	if status, _ := n.call("POST", "/"+index+"/_refresh", ""); status == http.StatusNotFound {
		return nil
	}
	after := ""
	for {
		var got struct {
			Hits struct {
				Hits []struct {
					Source json.RawMessage   `json:"_source"`
					Sort   []json.RawMessage `json:"sort"`
				} `json:"hits"`
			} `json:"hits"`
		}
		text := n.must("POST", "/"+index+"/_search", `{"size":1000,"sort":[{"_seq_no":"asc"}]`+after+`}`)
		if err := json.Unmarshal(text, &got); err != nil {
			n.t.Fatal(err)
		}
		for _, h := range got.Hits.Hits {
			rows = append(rows, textRow(n.t, h.Source))
		}
		if len(got.Hits.Hits) < 1000 {
			return rows
		}
		after = fmt.Sprintf(`,"search_after":[%s]`, got.Hits.Hits[999].Sort[0])
	}
}

// prefix makes a prefix for the test's own indexes and removes them at its end.
func (n node) prefix() string {
	p := fmt.Sprintf("t%d-%d-", time.Now().UnixNano(), targets.Add(1))
	n.t.Cleanup(func() {
		var all map[string]json.RawMessage
		if err := json.Unmarshal(n.must("GET", "/"+p+"*/_mapping", ""), &all); err != nil {
			n.t.Error(err)
		}
		for index := range all {
			n.must("DELETE", "/"+index, "")
		}
	})
	return p
}

var targets atomic.Int64 // makes prefixes unique

func target(t testing.TB, addr string) sinktest.Target {
	p := proxy.New(t, strings.TrimPrefix(addr, "http://"))
	n := newNode(t, addr)
	props := map[string]string{"connection.url": "http://" + p.Addr(), "retry.backoff.ms": "1", "index.prefix": n.prefix(), "index.settings": `{"index.number_of_shards":1}`}
	return sinktest.Target{
		Open: func(t testing.TB, more map[string]string) sink.Sink {
			all := maps.Clone(props)
			maps.Copy(all, more)
			return openTest(t, all)
		},
		Rows: func(t testing.TB, topic string, _ *change.Table) []map[string]string {
			return n.rows(indexName(props["index.prefix"], topic, ""))
		},
		FailAfterWrite: func(testing.TB) { p.DropAnswer("_bulk") },
		Hang:           func(testing.TB) func() { return p.Hang() },
		Refuse: func(t testing.TB, topic string, _ *change.Table, _ string) change.Value {
			// Lucene takes no term of more than 32766 bytes.
			index := indexName(props["index.prefix"], topic, "")
			n.must("PUT", "/"+index+"/_mapping", `{"properties":{"name":{"type":"text","fields":{"keyword":{"type":"keyword","ignore_above":100000}}}}}`)
			return sinktest.Text(strings.Repeat("x", 40000))
		},
	}
}

func write(t *testing.T, k *Sink, b *change.Batch) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	err := k.Write(ctx, b)
	sinktest.Scribble(b)
	return err
}

func pairs() (*sinktest.History, *change.Table) {
	return sinktest.NewHistory("shop.public.t"), sinktest.Table("t", 1, []string{"id"}, sinktest.Column("id", "int8"), sinktest.Column("n", "int8"))
}

func contains(p []byte, s string) bool { return bytes.Contains(p, []byte(s)) }
