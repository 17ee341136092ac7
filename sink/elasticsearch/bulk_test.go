package elasticsearch

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/sink"
	"github.com/tailrace/tailrace/sink/sinktest"
)

// fake is an Elasticsearch that knows _bulk with external versions, and refuses what its hooks say.
type fake struct {
	mu       sync.Mutex
	docs     map[string]string // _id -> document
	versions map[string]uint64 // also of deleted documents
	seen     []string          // _ids in the order in which they were accepted
	whole    func() int        // status of a whole request, 0: go on
	item     func(id string, doc string) (int, string)
	sent     int // items received
}

func newFake(t *testing.T) (*fake, map[string]string) {
	f := &fake{docs: map[string]string{}, versions: map[string]uint64{}}
	srv := httptest.NewServer(f)
	t.Cleanup(srv.Close)
	return f, map[string]string{"connection.url": srv.URL, "retry.backoff.ms": "1", "max.retries": "50"}
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Elastic-Product", "Elasticsearch")
	w.Header().Set("Content-Type", "application/json")
	if r.URL.Path != "/_bulk" {
		io.WriteString(w, "{}")
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.whole != nil {
		if status := f.whole(); status != 0 {
			w.WriteHeader(status)
			io.WriteString(w, `{"error":"refused"}`)
			return
		}
	}
	var out []string
	lines := bufio.NewScanner(r.Body)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var action map[string]struct {
			ID      string `json:"_id"`
			Version uint64 `json:"version"`
		}
		if err := json.Unmarshal(lines.Bytes(), &action); err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		for op, a := range action {
			doc := ""
			if op == "index" {
				lines.Scan()
				doc = lines.Text()
			}
			out = append(out, fmt.Sprintf("{%q:%s}", op, f.apply(op, a.ID, a.Version, doc)))
		}
	}
	fmt.Fprintf(w, `{"items":[%s]}`, strings.Join(out, ","))
}

func (f *fake) apply(op, id string, version uint64, doc string) string {
	f.sent++
	if f.item != nil {
		if status, kind := f.item(id, doc); status != 0 {
			return fmt.Sprintf(`{"status":%d,"error":{"type":%q,"reason":"because"}}`, status, kind)
		}
	}
	if version <= f.versions[id] {
		return `{"status":409,"error":{"type":"version_conflict_engine_exception","reason":"old"}}`
	}
	f.versions[id] = version
	f.seen = append(f.seen, id)
	if op == "delete" {
		_, found := f.docs[id]
		delete(f.docs, id)
		if !found {
			return `{"status":404}`
		}
		return `{"status":200}`
	}
	f.docs[id] = doc
	return `{"status":201}`
}

var (
	fakeColumns = []change.Column{sinktest.Column("id", "int8"), sinktest.Column("n", "int8")}
)

func history() (*sinktest.History, *change.Table) {
	return sinktest.NewHistory("shop.public.t"), sinktest.Table("t", 1, []string{"id"}, fakeColumns...)
}

func TestBulk(t *testing.T) {
	t.Run("case86_only_refused_items_are_sent_again", func(t *testing.T) {
		f, props := newFake(t)
		h, tb := history()
		for id := range int64(100) {
			h.Create(tb, sinktest.Int(id), sinktest.Int(id))
		}
		wholes, refused := 0, map[string]int{}
		f.whole = func() int {
			wholes++
			return map[int]int{1: 429, 2: 503}[wholes]
		}
		f.item = func(id, _ string) (int, string) {
			if len(id) == 1 && refused[id] < 3 {
				refused[id]++
				return 429, "es_rejected_execution_exception"
			}
			return 0, ""
		}
		k := openTest(t, props)
		defer k.Close()
		if err := k.Write(t.Context(), h.Take()); err != nil {
			t.Fatal(err)
		}
		if len(f.docs) != 100 {
			t.Errorf("%d documents, want 100", len(f.docs))
		}
		if want := 100 + 3*10; f.sent != want {
			t.Errorf("%d items were sent, want %d: each item that was accepted once, the ten refused ones three times more", f.sent, want)
		}
	})
	t.Run("case87_a_conflicting_row_is_rejected_alone", func(t *testing.T) {
		f, props := newFake(t)
		h, tb := history()
		for id := range int64(500) {
			h.Create(tb, sinktest.Int(id), sinktest.Int(id))
		}
		f.item = func(id, _ string) (int, string) {
			if id == "250" {
				return 400, "document_parsing_exception"
			}
			return 0, ""
		}
		k := openTest(t, props)
		defer k.Close()
		err := k.Write(t.Context(), h.Take())
		var rejected sink.Rejected
		if !errors.As(err, &rejected) || len(rejected) != 1 || rejected[0].Index != 250 || !strings.Contains(rejected[0].Err.Error(), "document_parsing_exception") {
			t.Fatalf("error is %v", err)
		}
		if len(f.docs) != 499 {
			t.Errorf("%d documents, want 499", len(f.docs))
		}
	})
	t.Run("case88_replay_is_success", func(t *testing.T) {
		f, props := newFake(t)
		h, tb := history()
		h.Create(tb, sinktest.Int(1), sinktest.Int(1))
		h.Delete(tb, sinktest.Int(2)) // was never there
		k := openTest(t, props)
		defer k.Close()
		for range 2 {
			if err := k.Write(t.Context(), h.Slice(0, h.Len())); err != nil {
				t.Fatal(err)
			}
		}
		if len(f.seen) != 2 {
			t.Errorf("%v were accepted, want each once", f.seen)
		}
	})
	t.Run("case89_hundred_updates_of_one_id", func(t *testing.T) {
		f, props := newFake(t)
		h, tb := history()
		calls := 0
		f.item = func(string, string) (int, string) {
			if calls++; calls%5 == 0 {
				return 429, "es_rejected_execution_exception"
			}
			return 0, ""
		}
		k := openTest(t, props)
		defer k.Close()
		h.Create(tb, sinktest.Int(1), sinktest.Int(0))
		for n := range int64(100) {
			h.Update(tb, sinktest.Int(1), sinktest.Int(n+1))
			if n%7 != 6 && n != 99 {
				continue
			}
			if err := k.Write(t.Context(), h.Take()); err != nil {
				t.Fatal(err)
			}
		}
		if got := f.docs["1"]; got != `{"id":1,"n":100}` {
			t.Errorf("document is %s", got)
		}
	})
	t.Run("a request that is too large is cut in halves", func(t *testing.T) {
		f, props := newFake(t)
		h, tb := history()
		for id := range int64(64) {
			h.Create(tb, sinktest.Int(id), sinktest.Int(id))
		}
		n := 0
		f.whole = func() int {
			if n++; n <= 2 {
				return 413
			}
			return 0
		}
		k := openTest(t, props)
		defer k.Close()
		if err := k.Write(t.Context(), h.Take()); err != nil || len(f.docs) != 64 {
			t.Errorf("%d documents: %v", len(f.docs), err)
		}
	})
	t.Run("an error names what the cluster says and no secret", func(t *testing.T) {
		f, props := newFake(t)
		f.whole = func() int { return 401 }
		all := maps.Clone(props)
		all["connection.username"], all["connection.password"] = "u", "hunter2"
		h, tb := history()
		h.Create(tb, sinktest.Int(1), sinktest.Int(1))
		k := openTest(t, all)
		defer k.Close()
		err := k.Write(t.Context(), h.Take())
		if err == nil || !strings.Contains(err.Error(), "connection.password") || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("error is %v", err)
		}
	})
}
