package rest

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/tailrace/tailrace/topic"
	"github.com/tailrace/tailrace/worker"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// stream is a request for records under way.
type stream struct {
	t     *testing.T
	resp  *http.Response
	lines chan string
	err   error // why the lines have ended, once they have; nil: the answer is complete
}

func follow(t *testing.T, ctx context.Context, url string) *stream {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, "GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	s := &stream{t: t, lines: make(chan string)}
	if s.resp, err = client.Do(req); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(s.lines)
		defer s.resp.Body.Close()
		sc := bufio.NewScanner(s.resp.Body)
		for sc.Scan() {
			s.lines <- sc.Text()
		}
		s.err = sc.Err()
	}()
	return s
}

// line returns the next line, false if there is none.
func (s *stream) line() (string, bool) {
	s.t.Helper()
	select {
	case l, ok := <-s.lines:
		return l, ok
	case <-time.After(20 * time.Second):
		s.t.Fatal("nothing came")
		return "", false
	}
}

func TestFollowingRecords(t *testing.T) {
	a := newAPI(t, Access{})
	srv := httptest.NewServer(a.h)
	defer srv.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	if err := a.log.Create(ctx, topic.Spec{Name: "t", Partitions: 1}); err != nil {
		t.Fatal(err)
	}
	// The header comes although nothing happens in the topic.
	s := follow(t, ctx, srv.URL+"/tailrace/records?topic=t&from=end")
	if s.resp.StatusCode != 200 || s.resp.Header.Get("Content-Type") != "application/x-ndjson" {
		t.Fatalf("%s %v", s.resp.Status, s.resp.Header)
	}
	// All of a burst comes, though no record follows it.
	var recs []topic.Record
	for i := range 5 {
		recs = append(recs, topic.Record{Topic: "t", Key: fmt.Appendf(nil, "%d", i), Value: []byte("{\n\"v\": \"\u2028 \\u0000\"\n}")})
	}
	recs = append(recs, topic.Record{Topic: "t", Key: []byte("no\nJSON\x1b"), Value: []byte("\xff")})
	if err := a.log.Append(ctx, recs); err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		want := fmt.Sprintf(`{"topic":"t","partition":0,"offset":%d,"timestamp":0,"key":%d,"value":{ "v": "%s \u0000" },"headers":[]}`, i, i, "\u2028")
		if got, _ := s.line(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	if got, _ := s.line(); !strings.Contains(got, `"key":"no\nJSON\u001`) || !strings.Contains(got, `"value":"\udc`) {
		t.Errorf("what is no JSON is %s", got)
	}
	// A stop ends it, and not as if something had gone wrong.
	a.h.(*Server).Drain()
	if got, more := s.line(); more {
		t.Errorf("after the end came %s", got)
	}
	if s.err != nil {
		t.Errorf("the stream ended with %v", s.err)
	}
}

func TestRecordsEndWithTheClient(t *testing.T) {
	a := newAPI(t, Access{})
	served := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer close(served)
		a.h.ServeHTTP(w, r)
	}))
	defer srv.Close()
	if err := a.log.Create(t.Context(), topic.Spec{Name: "t", Partitions: 1}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	s := follow(t, ctx, srv.URL+"/tailrace/records?topic=t")
	cancel()
	if got, more := s.line(); more {
		t.Errorf("came %s", got)
	}
	select {
	case <-served:
	case <-time.After(20 * time.Second):
		t.Error("the handler goes on without its client")
	}
}

func TestRecordsCutShortAreNoEnd(t *testing.T) {
	a := newAPI(t, Access{})
	srv := httptest.NewServer(a.h)
	defer srv.Close()
	if err := a.log.Create(t.Context(), topic.Spec{Name: "t", Partitions: 1}); err != nil {
		t.Fatal(err)
	}
	if err := a.log.Append(t.Context(), []topic.Record{{Topic: "t", Key: []byte("1"), Value: []byte("1")}}); err != nil {
		t.Fatal(err)
	}
	s := follow(t, t.Context(), srv.URL+"/tailrace/records?topic=t&from=start")
	if got, _ := s.line(); !strings.Contains(got, `"offset":0`) {
		t.Fatalf("%s %s", s.resp.Status, got)
	}
	if err := a.log.Close(); err != nil {
		t.Fatal(err)
	}
	if got, more := s.line(); more || s.err == nil {
		t.Errorf("the stream ended as if it were complete: %q", got)
	}
}

func TestAppendRecordAllocatesNothing(t *testing.T) {
	r := &worker.TailRecord{Topic: "shop.public.orders", Offset: 1 << 40, Timestamp: 1700000000000, Key: []byte(`{"id":1}`),
		Value: []byte(`{"before":null,"after":{"id":1,"total":"19.90"},"op":"c"}`), Headers: []byte(`[{"key":"h","value":"v"}]`)}
	buf := make([]byte, 0, 1<<10)
	if n := testing.AllocsPerRun(100, func() { buf = appendRecord(buf[:0], r) }); n > 0 {
		t.Errorf("%v allocations for a record", n)
	}
}
