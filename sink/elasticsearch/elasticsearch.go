package elasticsearch

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/elastic/elastic-transport-go/v8/elastictransport"
	"github.com/elastic/go-elasticsearch/v8/esapi"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/internal/fault"
	"github.com/tailrace/tailrace/sink"
)

// Sink writes batches into Elasticsearch.
type Sink struct {
	cfg    *Config
	client *elastictransport.Client
	http   *http.Transport
	log    *slog.Logger
	known  map[string]*change.Table // the table version that an index has the mapping of
	fold   sink.Fold
	keys   []byte // of the fold's states
	body   []byte
	items  []item
}

var _ sink.Sink = (*Sink)(nil)

// item is one document of a batch.
type item struct {
	state  int // in the fold
	id     string
	lo, hi int // its lines in body
}

// maxBackoff caps the pause between retries.
const maxBackoff = 10 * time.Second

func open(ctx context.Context, s sink.Setup) (sink.Sink, error) {
	cfg, problems := parse(s.Props)
	if len(problems) > 0 {
		return nil, fault.Permanentf("CONFIG_INVALID", "correct the configuration", "%s", problems[0])
	}
	var urls []*url.URL
	for _, text := range cfg.URLs {
		u, err := url.Parse(text)
		if err != nil {
			return nil, fault.Permanent("CONFIG_INVALID", "correct connection.url", err)
		}
		urls = append(urls, u)
	}
	tr := http.DefaultTransport.(*http.Transport).Clone()
	tr.ResponseHeaderTimeout = cfg.Timeout
	client, err := elastictransport.New(elastictransport.Config{URLs: urls, Username: cfg.Username, Password: cfg.Password.Reveal(),
		APIKey: cfg.APIKey.Reveal(), Transport: tr, DisableRetry: true, UserAgent: "tailrace"})
	if err != nil {
		return nil, err
	}
	k := &Sink{cfg: cfg, client: client, http: tr, log: s.Logger, known: map[string]*change.Table{}}
	if _, err := k.call(ctx, esapi.ClusterHealthRequest{}, nil); err != nil {
		return nil, errors.Join(err, k.Close())
	}
	return k, nil
}

// Close implements sink.Sink.
func (k *Sink) Close() error {
	k.http.CloseIdleConnections()
	return nil
}

// request is any request of esapi.
type request interface {
	Do(ctx context.Context, t esapi.Transport) (*esapi.Response, error)
}

// call sends a request and decodes the answer into v, if it is not nil. A status of 400 or more is returned with an error
// that says what Elasticsearch says; wrong credentials are permanent.
func (k *Sink) call(ctx context.Context, r request, v any) (int, error) {
	resp, err := r.Do(ctx, k.client)
	if err != nil {
		return 0, fmt.Errorf("elasticsearch: %w", err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return resp.StatusCode, fmt.Errorf("elasticsearch: %w", err)
	}
	if resp.StatusCode >= 400 {
		err := fmt.Errorf("elasticsearch answered %d: %.500s", resp.StatusCode, text)
		if resp.StatusCode == http.StatusUnauthorized || resp.StatusCode == http.StatusForbidden {
			err = fault.Permanent("AUTH_FAILED", "correct connection.username and connection.password or connection.api.key, or the role's privileges", err)
		}
		return resp.StatusCode, err
	}
	if v == nil {
		return resp.StatusCode, nil
	}
	if err := json.Unmarshal(text, v); err != nil {
		return resp.StatusCode, fmt.Errorf("elasticsearch: unreadable answer: %w", err)
	}
	return resp.StatusCode, nil
}

// Write implements sink.Sink.
func (k *Sink) Write(ctx context.Context, b *change.Batch) error {
	var rejected sink.Rejected
	k.fold.Reset()
	k.keys = k.keys[:0]
	for i := range b.Events {
		e := &b.Events[i]
		switch {
		case e.Raw != nil || e.Table == nil || e.Op == change.OpMessage:
		case e.Op == change.OpTruncate:
			if err := k.flush(ctx, &rejected); err != nil {
				return err
			}
			if err := k.truncate(ctx, e); err != nil {
				return err
			}
		case e.Key == nil:
			rejected = append(rejected, sink.RowError{Index: i, Err: fmt.Errorf("table %s has no key, so its rows can't be documents; give it a primary key or leave its topic out", e.Table.Name)})
		default:
			if err := k.prepare(ctx, e); err != nil {
				return err
			}
			at := len(k.keys)
			k.keys = append(append(append(k.keys, e.Topic...), 0), e.Key...) // tables may share keys
			k.fold.Add(k.keys[at:len(k.keys):len(k.keys)], i, e)
		}
	}
	if err := k.flush(ctx, &rejected); err != nil {
		return err
	}
	if len(rejected) > 0 {
		slices.SortFunc(rejected, func(a, b sink.RowError) int { return a.Index - b.Index })
		return rejected
	}
	return nil
}

// prepare makes the event's index, or adds the table's new fields to its mapping.
func (k *Sink) prepare(ctx context.Context, e *change.Event) error {
	if k.known[e.Topic] == e.Table {
		return nil
	}
	if e.Op == change.OpDelete || e.Op == change.OpTombstone {
		return nil
	}
	index := indexName(k.cfg.Prefix, e.Topic)
	m := mapping(e.Table)
	body := append(append([]byte(`{"settings":{"index.gc_deletes":"1h","index.mapping.total_fields.limit":10000},"mappings":`), m...), '}')
	status, err := k.call(ctx, esapi.IndicesCreateRequest{Index: index, Body: bytes.NewReader(body)}, nil)
	if status == http.StatusBadRequest { // it is there already
		if status, err = k.call(ctx, esapi.IndicesPutMappingRequest{Index: []string{index}, Body: bytes.NewReader(m)}, nil); status == http.StatusBadRequest {
			k.log.Warn("the index keeps its own mapping", "index", index, "error", err)
			err = nil
		}
	}
	if err != nil {
		return fmt.Errorf("index %s: %w", index, err)
	}
	k.known[e.Topic] = e.Table
	return nil
}

// flush writes what the fold holds and empties it.
func (k *Sink) flush(ctx context.Context, rejected *sink.Rejected) error {
	states := k.fold.States
	for len(states) > 0 {
		n := min(len(states), k.cfg.Rows)
		first := len(k.fold.States) - len(states)
		if err := k.chunk(ctx, first, first+n, rejected); err != nil {
			return err
		}
		states = states[n:]
	}
	k.fold.Reset()
	return nil
}

// chunk writes the states from lo to hi.
func (k *Sink) chunk(ctx context.Context, lo, hi int, rejected *sink.Rejected) error {
	old, err := k.documents(ctx, lo, hi)
	if err != nil {
		return err
	}
	k.body, k.items = k.body[:0], k.items[:0]
	var id []byte
	for n := lo; n < hi; n++ {
		s := &k.fold.States[n]
		index := indexName(k.cfg.Prefix, s.Topic)
		id = appendID(id[:0], s.Table, s.Row)
		at := len(k.body)
		k.body = appendAction(k.body, s, index, id)
		if !s.Deleted {
			k.body = appendDocument(k.body, s, old[n])
		}
		k.items = append(k.items, item{state: n, lo: at, hi: len(k.body)})
		if len(k.body) >= k.cfg.Bytes {
			if err := k.send(ctx, k.items, rejected); err != nil {
				return err
			}
			k.body, k.items = k.body[:0], k.items[:0]
		}
	}
	return k.send(ctx, k.items, rejected)
}

// documents reads the documents of states that have Absent columns the batch does not know, by index in the fold.
func (k *Sink) documents(ctx context.Context, lo, hi int) (map[int]map[string]json.RawMessage, error) {
	type ref struct {
		Index string `json:"_index"`
		ID    string `json:"_id"`
	}
	var docs []ref
	var states []int
	for n := lo; n < hi; n++ {
		if s := &k.fold.States[n]; !s.Deleted && !s.Replace && !s.Row.Complete() {
			docs = append(docs, ref{indexName(k.cfg.Prefix, s.Topic), string(appendID(nil, s.Table, s.Row))})
			states = append(states, n)
		}
	}
	if len(docs) == 0 {
		return nil, nil
	}
	body, err := json.Marshal(map[string][]ref{"docs": docs})
	if err != nil {
		return nil, err
	}
	var answer struct {
		Docs []struct {
			Found  bool                       `json:"found"`
			Source map[string]json.RawMessage `json:"_source"`
			Error  json.RawMessage            `json:"error"`
		} `json:"docs"`
	}
	if _, err := k.call(ctx, esapi.MgetRequest{Body: bytes.NewReader(body)}, &answer); err != nil {
		return nil, err
	}
	if len(answer.Docs) != len(docs) {
		return nil, fmt.Errorf("elasticsearch answered %d documents of %d", len(answer.Docs), len(docs))
	}
	old := map[int]map[string]json.RawMessage{}
	for i, d := range answer.Docs {
		if d.Error != nil && !bytes.Contains(d.Error, []byte("index_not_found_exception")) {
			return nil, fmt.Errorf("elasticsearch can't read document %s of %s: %.300s", docs[i].ID, docs[i].Index, d.Error)
		}
		old[states[i]] = d.Source
	}
	return old, nil
}

type bulkItem struct {
	Status int `json:"status"`
	Error  *struct {
		Type   string `json:"type"`
		Reason string `json:"reason"`
		Cause  *struct {
			Reason string `json:"reason"`
		} `json:"caused_by"`
	} `json:"error"`
}

type bulkAnswer struct {
	Items []map[string]bulkItem `json:"items"`
}

// send writes the items, sends those again that are refused for now, and collects those that are refused for good. No
// document is in items twice, so their order among each other does not matter.
func (k *Sink) send(ctx context.Context, items []item, rejected *sink.Rejected) error {
	for try := 0; len(items) > 0; try++ {
		var body []byte
		for _, it := range items {
			body = append(body, k.body[it.lo:it.hi]...)
		}
		var answer bulkAnswer
		r := esapi.BulkRequest{Body: bytes.NewReader(body)}
		if k.cfg.Refresh {
			r.Refresh = "true"
		}
		status, err := k.call(ctx, r, &answer)
		switch {
		case status == http.StatusRequestEntityTooLarge && len(items) > 1:
			half := len(items) / 2
			if err := k.send(ctx, items[:half], rejected); err != nil {
				return err
			}
			items, try = items[half:], -1
			continue
		case status == http.StatusRequestEntityTooLarge:
			k.reject(items[0], err, rejected)
			return nil
		case status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable:
		case err != nil:
			return err
		case len(answer.Items) != len(items):
			return fmt.Errorf("elasticsearch answered %d items of %d", len(answer.Items), len(items))
		default:
			if items, err = k.judge(items, &answer, rejected); err != nil && try >= k.cfg.Retries {
				return err
			}
		}
		if len(items) == 0 {
			return nil
		}
		if try >= k.cfg.Retries {
			return err
		}
		if err := pause(ctx, k.backoff(try)); err != nil {
			return err
		}
	}
	return nil
}

// judge returns the items that are to be sent again and why.
func (k *Sink) judge(items []item, answer *bulkAnswer, rejected *sink.Rejected) ([]item, error) {
	var again []item
	var why error
	for i, m := range answer.Items {
		for _, got := range m {
			reason := ""
			if got.Error != nil {
				reason = got.Error.Type + ": " + got.Error.Reason
				if got.Error.Cause != nil {
					reason += ": " + got.Error.Cause.Reason
				}
			}
			switch {
			case got.Status < 300, got.Status == http.StatusConflict, got.Status == http.StatusNotFound && k.fold.States[items[i].state].Deleted:
			case got.Status == http.StatusTooManyRequests, got.Status >= 500, got.Status == http.StatusForbidden:
				// A write block (403) is lifted by its operator, not by giving up.
				again = append(again, items[i])
				why = fmt.Errorf("elasticsearch refuses %d of %d documents for now: %d %s", len(again), len(items), got.Status, reason)
			default:
				k.reject(items[i], fmt.Errorf("elasticsearch refuses the document: %d %s", got.Status, reason), rejected)
			}
		}
	}
	return again, why
}

// reject rejects every event that went into an item.
func (k *Sink) reject(it item, err error, rejected *sink.Rejected) {
	k.fold.Events(&k.fold.States[it.state], func(index int) {
		*rejected = append(*rejected, sink.RowError{Index: index, Err: err})
	})
}

func (k *Sink) backoff(try int) time.Duration {
	d := min(k.cfg.Backoff<<min(try, 10), maxBackoff)
	return d/2 + rand.N(d/2+1)
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
