package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/redis/rueidis"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/change/rowcodec"
	"github.com/tailrace/tailrace/config"
	"github.com/tailrace/tailrace/internal/jsontext"
	"github.com/tailrace/tailrace/internal/servers"
	"github.com/tailrace/tailrace/offsets"
	"github.com/tailrace/tailrace/sink"
	"github.com/tailrace/tailrace/sink/elasticsearch"
	"github.com/tailrace/tailrace/sink/redis"
	"github.com/tailrace/tailrace/topic"
	"github.com/tailrace/tailrace/topic/disk"
	"github.com/tailrace/tailrace/worker"
)

const (
	bareBatch  = 1000 // commands of one pipeline, documents of one _bulk request
	slowTarget = 8    // a search engine takes so many times fewer rows in B14 than a cache in B13
)

// A document is what both sides of a ratio write for a row.
type document struct {
	id, key, text string
}

// warehouse is a log of inserted rows of B1's table, and the same rows as documents.
type warehouse struct {
	log  *disk.Log
	reg  *rowcodec.Registry
	docs []document
}

// sinkTable has B1's columns.
func sinkTable() *change.Table {
	t := &change.Table{Name: change.TableName{Database: "bench", Schema: "public", Table: "b"}, Origin: &change.Origin{Connector: "postgresql", Name: "bench"}, Version: 1, Key: []int{0}}
	for _, c := range []struct {
		name string
		typ  change.Type
	}{{"id", change.Type{Kind: change.Int, Bits: 64}}, {"n", change.Type{Kind: change.Int, Bits: 32}}, {"a", change.Type{Kind: change.Text}}, {"b", change.Type{Kind: change.Text}},
		{"c", change.Type{Kind: change.Text}}, {"d", change.Type{Kind: change.Text}}, {"price", change.Type{Kind: change.Decimal, Precision: 12, Scale: 2}}, {"cur", change.Type{Kind: change.Text}},
		{"ok", change.Type{Kind: change.Bool}}, {"doc", change.Type{Kind: change.JSON}}, {"at", change.Type{Kind: change.TimestampTZ}}, {"day", change.Type{Kind: change.Timestamp}}} {
		t.Columns = append(t.Columns, change.Column{Name: c.name, Type: c.typ, Nullable: c.name != "id"})
	}
	return t
}

// sinkRow is row i of the table, with values as B1's.
func sinkRow(b *change.Batch, i int) change.Row {
	r := b.Row(12)
	num := func(n int, k change.Kind, v int64) { r[n] = change.Value{Kind: k, Num: uint64(v)} }
	data := func(n int, k change.Kind, text string) {
		r[n] = change.Value{Kind: k, Data: append(b.Bytes(len(text))[:0], text...)}
	}
	num(0, change.Int, int64(i))
	num(1, change.Int, int64(i)*7)
	data(2, change.Text, "name "+strconv.Itoa(i))
	data(3, change.Text, fmt.Sprintf("%032x", uint64(i)*0x9E3779B97F4A7C15))
	data(4, change.Text, fmt.Sprintf("%032x", uint64(i+1)*0x9E3779B97F4A7C15))
	data(5, change.Text, "xxxxxxxxxxxxxxxxxxxxxxxx")
	data(6, change.Decimal, fmt.Sprintf("%d.%02d", i%1000, i%100))
	data(7, change.Text, "EUR")
	num(8, change.Bool, int64(i%2))
	data(9, change.JSON, fmt.Sprintf(`{"k": %d, "tag": "v%d"}`, i, i%100))
	num(10, change.TimestampTZ, 1_767_225_600_000_000+int64(i)*1_000_000)
	num(11, change.Timestamp, 1_767_225_600_000_000+int64(i)*1_000_000)
	return r
}

// fill makes a log of rows rows.
func (l *lab) fill(ctx context.Context, rows int) (*warehouse, error) {
	log, err := disk.Open(ctx, disk.Options{Dir: l.data(), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, err
	}
	w := &warehouse{log: log}
	if w.reg, err = rowcodec.Open(ctx, log); err != nil {
		return nil, errors.Join(err, log.Close())
	}
	const name = "bench.public.b"
	if err := log.Create(ctx, topic.Spec{Name: name, Partitions: 1, Config: map[string]string{"cleanup.policy": "compact"}}); err != nil {
		return nil, errors.Join(err, log.Close())
	}
	enc, table := w.reg.NewEncoder(rowcodec.EncoderOptions{}), sinkTable()
	var b change.Batch
	var recs []topic.Record
	for at := 0; at < rows; {
		b.Reset()
		for ; at < rows && len(b.Events) < 1000; at++ {
			row := sinkRow(&b, at)
			e := b.Add()
			e.Table, e.Op, e.After, e.Topic, e.Commit = table, change.OpCreate, row, name, 1_767_225_600_000_000
			e.Key, _ = change.AppendKey(nil, table, row)
			id := strconv.Itoa(at)
			w.docs = append(w.docs, document{id, name + ":" + id, string(jsontext.AppendRow(nil, table, row))})
		}
		if recs, err = enc.Encode(&b, recs[:0]); err == nil {
			err = log.Append(ctx, recs)
		}
		if err != nil {
			return nil, errors.Join(err, log.Close())
		}
	}
	return w, nil
}

// drainInto runs a sink connector of its own from the beginning of the log until its offset is at the end, and returns how long
// that took.
func (w *warehouse) drainInto(ctx context.Context, name string, plugin sink.Plugin, props map[string]string) (time.Duration, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	wk, err := worker.Open(ctx, worker.Options{Log: w.log, Codec: codec{w.reg, &gauge{}}, Sinks: []sink.Plugin{plugin},
		Providers: config.Providers{Env: os.LookupEnv}, Version: "bench", ID: "bench", Logger: slog.New(slog.DiscardHandler), Now: time.Now})
	if err != nil {
		return 0, err
	}
	ended := make(chan error, 1)
	go func() { ended <- wk.Run(ctx) }()
	props["connector.class"], props["topics"] = plugin.Name, "bench.public.b"
	start := time.Now()
	if err := wk.Apply(ctx, name, props, worker.Running); err != nil {
		return 0, err
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil && !w.drained(wk, name) {
			time.Sleep(time.Millisecond)
		}
	}()
	if err := wait(done, wk, name); err != nil {
		return 0, err
	}
	took := time.Since(start)
	if err := wk.SetState(ctx, name, worker.Stopped); err != nil {
		return 0, err
	}
	cancel()
	return took, <-ended
}

func (w *warehouse) drained(wk *worker.Worker, name string) bool {
	list, err := wk.Offsets(name)
	if err != nil {
		return false
	}
	for _, o := range list {
		if p, err := offsets.ParseLogPosition(o.Position); err == nil && p.Offset >= int64(len(w.docs)) {
			return true
		}
	}
	return false
}

// redisRatio is B13: the log into Redis, by turns with a bare loop of pipelined SETs of the same documents.
func redisRatio(ctx context.Context, l *lab, o options) ([]figure, error) {
	w, err := l.fill(ctx, o.rows)
	if err != nil {
		return nil, err
	}
	defer w.log.Close()
	srv, err := servers.Start(ctx, "redis", servers.Options{})
	if err != nil {
		return nil, err
	}
	defer srv.Stop()
	client, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{srv.Addr}, DisableCache: true, ForceSingleClient: true})
	if err != nil {
		return nil, err
	}
	defer client.Close()
	f := figure{id: "B13", what: "log -> Redis, rows/s / bare pipelined SET of the same documents", floor: 0.6, target: 0.9}
	for round := range o.rounds {
		bare, err := w.bareSet(ctx, client)
		if err != nil {
			return nil, err
		}
		if err := client.Do(ctx, client.B().Flushall().Build()).Error(); err != nil {
			return nil, err
		}
		ours, err := w.drainInto(ctx, fmt.Sprint("redis", round), redis.Plugin, map[string]string{"redis.uri": "redis://" + srv.Addr})
		if err != nil {
			return nil, err
		}
		if last := w.docs[len(w.docs)-1]; client.Do(ctx, client.B().Get().Key(last.key).Build()).Error() != nil {
			return nil, fmt.Errorf("the row %s is not in Redis", last.key)
		}
		if err := client.Do(ctx, client.B().Flushall().Build()).Error(); err != nil {
			return nil, err
		}
		f.add(round, len(w.docs), bare, ours)
	}
	return []figure{f}, nil
}

func (f *figure) add(round, rows int, bare, ours time.Duration) {
	fmt.Printf("  round %d: %d rows, bare loop %.2f s, tailrace %.2f s\n", round+1, rows, bare.Seconds(), ours.Seconds())
	f.values = append(f.values, bare.Seconds()/ours.Seconds())
}

func (w *warehouse) bareSet(ctx context.Context, client rueidis.Client) (time.Duration, error) {
	start := time.Now()
	cmds := make(rueidis.Commands, 0, bareBatch)
	for at := 0; at < len(w.docs); at += len(cmds) {
		cmds = cmds[:0]
		for i := at; i < min(at+bareBatch, len(w.docs)); i++ {
			cmds = append(cmds, client.B().Set().Key(w.docs[i].key).Value(w.docs[i].text).Build())
		}
		for _, r := range client.DoMulti(ctx, cmds...) {
			if err := r.Error(); err != nil {
				return 0, err
			}
		}
	}
	return time.Since(start), nil
}

// elasticRatio is B14: the log into Elasticsearch, by turns with a bare loop of _bulk requests of the same documents, into
// indexes of the same mapping.
func elasticRatio(ctx context.Context, l *lab, o options) ([]figure, error) {
	w, err := l.fill(ctx, max(1, o.rows/slowTarget))
	if err != nil {
		return nil, err
	}
	defer w.log.Close()
	srv, err := servers.Start(ctx, "elasticsearch8", servers.Options{})
	if err != nil {
		return nil, err
	}
	defer srv.Stop()
	f := figure{id: "B14", what: "log -> Elasticsearch, documents/s / bare _bulk loop of the same documents", floor: 0.6, target: 0.85}
	for round := range o.rounds + 1 { // the first warms the server up, and makes the mapping
		prefix := fmt.Sprintf("r%d-", round)
		ours, err := w.drainInto(ctx, fmt.Sprint("elastic", round), elasticsearch.Plugin, map[string]string{"connection.url": srv.URL, "index.prefix": prefix})
		if err != nil {
			return nil, err
		}
		mine := prefix + "bench.public.b"
		if err := w.copyMapping(ctx, srv.URL, mine, prefix+"bare"); err != nil {
			return nil, err
		}
		bare, err := w.bareBulk(ctx, srv.URL, prefix+"bare")
		if err != nil {
			return nil, err
		}
		for _, index := range []string{mine, prefix + "bare"} {
			if n, err := count(ctx, srv.URL, index); err != nil || n != len(w.docs) {
				return nil, fmt.Errorf("index %s holds %d of %d documents: %w", index, n, len(w.docs), err)
			}
			if _, err := elastic(ctx, http.MethodDelete, srv.URL+"/"+index, nil); err != nil {
				return nil, err
			}
		}
		if round > 0 {
			f.add(round-1, len(w.docs), bare, ours)
		}
	}
	return []figure{f}, nil
}

func elastic(ctx context.Context, method, url string, body []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/x-ndjson")
	if !bytes.HasSuffix(body, []byte("\n")) {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode >= 300 {
		err = fmt.Errorf("%s %s: %d %.300s", method, url, resp.StatusCode, text)
	}
	return text, err
}

func count(ctx context.Context, url, index string) (int, error) {
	if _, err := elastic(ctx, http.MethodPost, url+"/"+index+"/_refresh", nil); err != nil {
		return 0, err
	}
	text, err := elastic(ctx, http.MethodGet, url+"/"+index+"/_count", nil)
	var got struct{ Count int }
	return got.Count, errors.Join(err, json.Unmarshal(text, &got))
}

// copyMapping makes an index with the mapping of another.
func (w *warehouse) copyMapping(ctx context.Context, url, from, to string) error {
	text, err := elastic(ctx, http.MethodGet, url+"/"+from+"/_mapping", nil)
	if err != nil {
		return err
	}
	var got map[string]struct {
		Mappings json.RawMessage `json:"mappings"`
	}
	if err := json.Unmarshal(text, &got); err != nil {
		return err
	}
	_, err = elastic(ctx, http.MethodPut, url+"/"+to, fmt.Appendf(nil, `{"mappings":%s}`, got[from].Mappings))
	return err
}

func (w *warehouse) bareBulk(ctx context.Context, url, index string) (time.Duration, error) {
	start := time.Now()
	var body []byte
	for at := 0; at < len(w.docs); at += bareBatch {
		body = body[:0]
		for _, d := range w.docs[at:min(at+bareBatch, len(w.docs))] {
			body = fmt.Appendf(body, `{"index":{"_index":%q,"_id":%q}}`+"\n", index, d.id)
			body = append(append(body, d.text...), '\n')
		}
		if text, err := elastic(ctx, http.MethodPost, url+"/_bulk?filter_path=errors", body); err != nil || !bytes.Contains(text, []byte("false")) {
			return 0, fmt.Errorf("_bulk: %.300s %w", text, err)
		}
	}
	return time.Since(start), nil
}
