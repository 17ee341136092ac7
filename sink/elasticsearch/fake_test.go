package elasticsearch

import (
	"bufio"
	"bytes"
	"cmp"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tailrace/tailrace/internal/jsontext"
)

// fake is a strict Elasticsearch in memory: external versions with index.gc_deletes, mappings that refuse what the real ones
// refuse, ids of 512 bytes, whole requests and single items that fail as its hooks say. It fails the test when one
// document is in two requests at the same time, or twice in one.
type fake struct {
	t   testing.TB
	srv *httptest.Server

	mu       sync.Mutex
	now      time.Time
	indexes  map[string]*fakeIndex
	scrolls  map[string][]string
	inFlight map[string]bool
	log      []string // method and path of each request, for bulks the number of items
	sent     map[string]int
	bulks    int
	last     []fakeAction // of the bulk request that came last

	whole    func(n int) int               // status of the nth bulk request, 0: go on
	item     func(id string) (int, string) // status and type of an item, 0: go on
	barrier  func()                        // called while a bulk request is in flight, without the lock
	lose     int                           // answers of bulk requests to lose after they were applied
	hang     chan struct{}                 // requests wait until it is closed
	why      string                        // reason of refused items; empty: some
	template string                        // why no index can be made
	tooLarge int                           // 413 for bulk requests of more bytes
}

type fakeIndex struct {
	settings map[string]json.RawMessage
	name     string // the indexes that it is an alias of, with commas; empty: none
	mappings fakeMappings
	docs     map[string]*fakeDoc
}

type fakeMappings struct {
	Dynamic    json.RawMessage            `json:"dynamic,omitempty"`
	Meta       map[string]string          `json:"_meta,omitempty"`
	Properties map[string]json.RawMessage `json:"properties"`
}

type fakeDoc struct {
	version uint64
	source  []byte    // nil: deleted
	deleted time.Time // when
}

func newFake(t testing.TB) *fake {
	f := &fake{t: t, now: time.Unix(1_700_000_000, 0), indexes: map[string]*fakeIndex{}, scrolls: map[string][]string{}, inFlight: map[string]bool{}, sent: map[string]int{}}
	f.srv = httptest.NewServer(f)
	t.Cleanup(f.srv.Close)
	return f
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := content(r)
	if err != nil {
		return
	}
	f.mu.Lock()
	hang := f.hang
	f.mu.Unlock()
	if hang != nil {
		select {
		case <-hang:
		case <-r.Context().Done():
			return
		}
	}
	w.Header().Set("X-Elastic-Product", "Elasticsearch")
	w.Header().Set("Content-Type", "application/json")
	if r.URL.Path == "/_bulk" {
		f.bulk(w, r, body)
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.log = append(f.log, r.Method+" "+r.URL.Path)
	status, answer := f.route(r, body)
	w.WriteHeader(status)
	io.WriteString(w, answer)
}

func content(r *http.Request) ([]byte, error) {
	if r.Header.Get("Content-Encoding") != "gzip" {
		return io.ReadAll(r.Body)
	}
	z, err := gzip.NewReader(r.Body)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(z)
}

func fakeError(status int, kind, why string) string {
	return fmt.Sprintf(`{"error":{"type":%q,"reason":%q},"status":%d}`, kind, why, status)
}

func (f *fake) route(r *http.Request, body []byte) (int, string) {
	name, verb, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	switch {
	case name == "":
		return 200, `{"version":{"number":"8.19.0"}}`
	case name == "_mget":
		return f.mget(body)
	case r.URL.Path == "/_search/scroll" && r.Method == http.MethodDelete:
		clear(f.scrolls)
		return 200, `{}`
	case r.URL.Path == "/_search/scroll":
		var q struct {
			ID string `json:"scroll_id"`
		}
		if json.Unmarshal(body, &q) != nil || f.scrolls[q.ID] == nil {
			return 404, fakeError(404, "search_context_missing_exception", q.ID)
		}
		return 200, f.page(q.ID)
	case verb == "" && r.Method == http.MethodPut:
		return f.create(name, body)
	}
	x := f.indexes[name]
	if x == nil {
		return 404, fakeError(404, "index_not_found_exception", "no such index ["+name+"]")
	}
	switch {
	case verb == "_refresh":
		f.forget(x)
		return 200, `{}`
	case verb == "_mapping" && r.Method == http.MethodGet:
		all := map[string]map[string]fakeMappings{}
		for part := range strings.SplitSeq(cmp.Or(x.name, name), ",") {
			all[part] = map[string]fakeMappings{"mappings": x.mappings}
		}
		m, err := json.Marshal(all)
		if err != nil {
			f.t.Error(err)
		}
		return 200, string(m)
	case verb == "_mapping":
		return f.putMapping(x, body)
	case verb == "_search":
		ids := []string{}
		only := func(*fakeDoc) bool { return true }
		if m := regexp.MustCompile(`"(term|exists)":\{("field":)?"(\w+)"(:(\d+))?`).FindSubmatch(body); m != nil {
			only = func(d *fakeDoc) bool { return string(member(d.source, string(m[3]))) == string(m[5]) }
		}
		for id, d := range x.docs {
			if d.source != nil && only(d) {
				ids = append(ids, id)
			}
		}
		f.scrolls["s"] = ids
		return 200, f.page("s")
	}
	return 405, fakeError(405, "unknown", r.Method+r.URL.Path)
}

func (f *fake) create(name string, body []byte) (int, string) {
	var req struct {
		Settings map[string]json.RawMessage `json:"settings"`
		Mappings fakeMappings               `json:"mappings"`
	}
	if err := json.Unmarshal(body, &req); err != nil {
		return 400, fakeError(400, "parse_exception", err.Error())
	}
	if name != strings.ToLower(name) || strings.ContainsAny(name, `\/*?"<>| ,#:`) || len(name) > 255 {
		return 400, fakeError(400, "invalid_index_name_exception", name)
	}
	if f.template != "" {
		return 400, fakeError(400, "illegal_argument_exception", f.template)
	}
	if f.indexes[name] != nil {
		return 400, fakeError(400, "resource_already_exists_exception", name)
	}
	f.indexes[name] = &fakeIndex{settings: req.Settings, mappings: req.Mappings, docs: map[string]*fakeDoc{}}
	return 200, `{"acknowledged":true}`
}

func (f *fake) putMapping(x *fakeIndex, body []byte) (int, string) {
	var m fakeMappings
	if err := json.Unmarshal(body, &m); err != nil {
		return 400, fakeError(400, "parse_exception", err.Error())
	}
	for name, p := range m.Properties {
		if old, ok := x.mappings.Properties[name]; ok && !bytes.Equal(old, p) {
			return 400, fakeError(400, "illegal_argument_exception", "mapper ["+name+"] cannot be changed")
		}
	}
	for name, p := range m.Properties {
		x.mappings.Properties[name] = p
	}
	return 200, `{"acknowledged":true}`
}

// lastHas reports whether the bulk request that is being handled holds the document id. The caller holds the lock.
func (f *fake) lastHas(id string) bool {
	return slices.ContainsFunc(f.last, func(a fakeAction) bool { return a.id == id })
}

const fakePage = 7

func (f *fake) page(id string) string {
	ids := f.scrolls[id]
	n := min(fakePage, len(ids))
	f.scrolls[id] = ids[n:]
	var hits []string
	for _, h := range ids[:n] {
		hits = append(hits, `{"_id":`+string(jsontext.AppendText(nil, h))+`}`)
	}
	return fmt.Sprintf(`{"_scroll_id":%q,"hits":{"hits":[%s]}}`, id, strings.Join(hits, ","))
}

func (f *fake) mget(body []byte) (int, string) {
	var q struct {
		Docs []struct {
			Index string `json:"_index"`
			ID    string `json:"_id"`
		} `json:"docs"`
	}
	if err := json.Unmarshal(body, &q); err != nil {
		return 400, fakeError(400, "parse_exception", err.Error())
	}
	var out []string
	for _, d := range q.Docs {
		x := f.indexes[d.Index]
		switch {
		case x == nil:
			out = append(out, `{"error":{"type":"index_not_found_exception","reason":"no such index"}}`)
		case x.docs[d.ID] == nil || x.docs[d.ID].source == nil:
			out = append(out, `{"found":false}`)
		default:
			out = append(out, fmt.Sprintf(`{"found":true,"_version":%d,"_source":%s}`, x.docs[d.ID].version, x.docs[d.ID].source))
		}
	}
	return 200, `{"docs":[` + strings.Join(out, ",") + `]}`
}

type fakeAction struct {
	op, index, id string
	version       uint64
	doc           []byte
}

func (f *fake) bulk(w http.ResponseWriter, r *http.Request, body []byte) {
	actions, err := parseBulk(body)
	if err != nil {
		f.t.Errorf("bulk request that Elasticsearch can't read: %v", err)
		w.WriteHeader(400)
		return
	}
	f.mu.Lock()
	f.bulks++
	f.last = actions
	f.log = append(f.log, fmt.Sprintf("bulk %d", len(actions)))
	status := 0
	if f.whole != nil {
		status = f.whole(f.bulks)
	}
	if f.tooLarge > 0 && len(body) > f.tooLarge {
		status = 413
	}
	for _, a := range actions {
		if f.inFlight[a.index+"\x00"+a.id] {
			f.t.Errorf("document %s is in two requests at once, or twice in one", a.id)
		}
		f.inFlight[a.index+"\x00"+a.id] = true
		if len(a.id) > maxID || a.id == "" {
			status = 400
		}
	}
	barrier := f.barrier
	f.mu.Unlock()
	if barrier != nil {
		barrier()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	answer := fakeError(status, "refused", "because")
	if status == 0 {
		status, answer = 200, f.applyAll(actions)
	}
	for _, a := range actions {
		delete(f.inFlight, a.index+"\x00"+a.id)
	}
	if status == 200 && f.lose > 0 {
		f.lose--
		panic(http.ErrAbortHandler)
	}
	w.WriteHeader(status)
	io.WriteString(w, answer)
}

func parseBulk(body []byte) ([]fakeAction, error) {
	var out []fakeAction
	lines := bufio.NewScanner(bytes.NewReader(body))
	lines.Buffer(nil, 64<<20)
	for lines.Scan() {
		var action map[string]struct {
			Index   string `json:"_index"`
			ID      string `json:"_id"`
			Version uint64 `json:"version"`
			Type    string `json:"version_type"`
		}
		if err := json.Unmarshal(lines.Bytes(), &action); err != nil || len(action) != 1 {
			return nil, fmt.Errorf("action %q: %v", lines.Text(), err)
		}
		for op, a := range action {
			if a.Type != "external" || op != "index" && op != "delete" {
				return nil, fmt.Errorf("action %q", lines.Text())
			}
			doc := []byte(nil)
			if op == "index" {
				if !lines.Scan() || !json.Valid(lines.Bytes()) {
					return nil, fmt.Errorf("document %.200q", lines.Text())
				}
				doc = bytes.Clone(lines.Bytes())
			}
			out = append(out, fakeAction{op, a.Index, a.ID, a.Version, doc})
		}
	}
	return out, lines.Err()
}

func (f *fake) applyAll(actions []fakeAction) string {
	errors := false
	var out []string
	for _, a := range actions {
		status, kind := f.apply(a)
		one := fmt.Sprintf(`{%q:{"status":%d}}`, a.op, status)
		if kind != "" {
			errors = true
			one = fmt.Sprintf(`{%q:{"status":%d,"error":{"type":%q,"reason":%q,"caused_by":{"type":"x","reason":"of that"}}}}`, a.op, status, kind, cmp.Or(f.why, "because"))
		}
		out = append(out, one)
	}
	return fmt.Sprintf(`{"errors":%t,"items":[%s]}`, errors, strings.Join(out, ","))
}

func (f *fake) apply(a fakeAction) (int, string) {
	f.sent[a.id]++
	if f.item != nil {
		if status, kind := f.item(a.id); status != 0 {
			return status, kind
		}
	}
	x := f.indexes[a.index]
	if x == nil {
		x = &fakeIndex{mappings: fakeMappings{Properties: map[string]json.RawMessage{}}, docs: map[string]*fakeDoc{}}
		f.indexes[a.index] = x
	}
	f.forget(x)
	d := x.docs[a.id]
	if d != nil && a.version <= d.version {
		return 409, "version_conflict_engine_exception"
	}
	if a.op == "delete" {
		found := d != nil && d.source != nil
		x.docs[a.id] = &fakeDoc{version: a.version, deleted: f.now}
		if !found {
			return 404, ""
		}
		return 200, ""
	}
	if kind := x.refuses(a.doc); kind != "" {
		return 400, kind
	}
	x.docs[a.id] = &fakeDoc{version: a.version, source: a.doc}
	return 201, ""
}

// forget drops versions of deleted documents that are older than index.gc_deletes.
func (f *fake) forget(x *fakeIndex) {
	gc := time.Minute
	var text string
	if json.Unmarshal(x.settings["index.gc_deletes"], &text) == nil {
		if d, err := time.ParseDuration(text); err == nil {
			gc = d
		}
	}
	for id, d := range x.docs {
		if d.source == nil && f.now.Sub(d.deleted) > gc {
			delete(x.docs, id)
		}
	}
}

func (x *fakeIndex) refuses(doc []byte) string {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(doc, &fields); err != nil {
		return "document_parsing_exception"
	}
	for name, v := range fields {
		p, ok := x.mappings.Properties[name]
		if !ok {
			if string(x.mappings.Dynamic) == `"strict"` {
				return "strict_dynamic_mapping_exception"
			}
			continue
		}
		var m struct {
			Type   string `json:"type"`
			Ignore bool   `json:"ignore_malformed"`
		}
		if json.Unmarshal(p, &m) == nil && m.Type == "long" && !m.Ignore && v[0] == '"' {
			return "document_parsing_exception"
		}
	}
	return ""
}

// rows returns the documents of an index as column -> JSON text.
func (f *fake) rows(t testing.TB, name string) (rows []map[string]string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.indexes[name] == nil {
		return nil
	}
	for _, d := range f.indexes[name].docs {
		if d.source != nil {
			rows = append(rows, textRow(t, d.source))
		}
	}
	return rows
}

func textRow(t testing.TB, source []byte) map[string]string {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(source, &fields); err != nil {
		t.Fatal(err)
	}
	row := map[string]string{}
	for name, raw := range fields {
		row[name] = string(raw)
	}
	return row
}
