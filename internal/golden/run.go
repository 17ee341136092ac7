package golden

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/tailrace/tailrace/internal/daemon"
)

// A Database is where a scenario runs: a database of its own.
type Database interface {
	// Setup runs SQL before the connector starts.
	Setup(ctx context.Context, sql string) error
	// Exec runs SQL, each statement in a transaction of its own unless it says otherwise.
	Exec(ctx context.Context, sql string) error
	// Properties are those that say where the database is.
	Properties() map[string]string
	// Caught reports whether the connector, whose offset is given, nil for none yet, has read all that was committed.
	Caught(ctx context.Context, offset json.RawMessage) (bool, error)
}

// connectorName is the name of the scenario's connector.
const connectorName = "ref"

// run is one scenario under way.
type run struct {
	d      *daemon.Daemon
	s      *Scenario
	db     Database
	enough func(part int, recs []Record) bool
}

// Run runs a scenario with the daemon bin in dir and returns what was emitted before and after the restart. It blocks until
// the connector has read everything and enough says that what there is suffices, or ctx is done: then it returns what there
// is with the error.
func Run(ctx context.Context, bin, dir string, s *Scenario, db Database, enough func(part int, recs []Record) bool) (recs, recs2 []Record, err error) {
	if err := db.Setup(ctx, s.Setup); err != nil {
		return nil, nil, fmt.Errorf("setup.sql: %w", err)
	}
	listen, err := daemon.Port()
	if err != nil {
		return nil, nil, err
	}
	config := filepath.Join(dir, "connectors.yaml")
	if err := os.WriteFile(config, []byte("connectors: []\n"), 0o644); err != nil {
		return nil, nil, err
	}
	r := &run{s: s, db: db, enough: enough, d: &daemon.Daemon{Bin: bin, Config: config, DataDir: filepath.Join(dir, "data"), Listen: listen,
		Log: filepath.Join(dir, "daemon.log")}}
	defer func() { err = errors.Join(err, r.d.Stop()) }()
	if err := r.start(ctx); err != nil {
		return nil, nil, err
	}
	if recs, err = r.part(ctx, s.Stream, nil, 1); err != nil || s.Stream2 == "" {
		return recs, nil, err
	}
	if err := r.d.Stop(); err != nil {
		return recs, nil, err
	}
	if err := db.Exec(ctx, s.Offline); err != nil {
		return recs, nil, fmt.Errorf("offline.sql: %w", err)
	}
	if err := r.start(ctx); err != nil {
		return recs, nil, err
	}
	recs2, err = r.part(ctx, s.Stream2, recs, 2)
	return recs, recs2, err
}

// start starts the daemon and waits until the connector streams.
func (r *run) start(ctx context.Context) error {
	if err := r.d.Start(); err != nil {
		return err
	}
	if err := r.d.Ready(ctx); err != nil {
		return err
	}
	props := map[string]string{}
	for name, value := range r.s.Properties {
		props[name] = value
	}
	for name, value := range r.db.Properties() {
		props[name] = value
	}
	body, err := json.Marshal(props)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, r.d.URL()+"/connectors/"+connectorName+"/config", bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	if _, err := read(req); err != nil {
		return err
	}
	return r.d.Until(ctx, func() (bool, error) { return r.streams(ctx) })
}

// read makes a request and returns the answer's body.
func read(req *http.Request) ([]byte, error) {
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode >= http.StatusMultipleChoices {
		err = fmt.Errorf("%s %s: %s: %s", req.Method, req.URL.Path, res.Status, text)
	}
	return text, err
}

// streams reports whether the snapshot is over, if there is one, and the connector has read all that was committed.
func (r *run) streams(ctx context.Context) (bool, error) {
	list, err := r.d.Status(ctx)
	if err != nil {
		return false, err
	}
	if err := daemon.Failed(list); err != nil {
		return false, err
	}
	for _, c := range list {
		for _, t := range c.Tasks {
			if r.s.Properties["snapshot.mode"] == "initial" && (t.Snapshot == nil || !t.Snapshot.Completed) {
				return false, nil
			}
		}
	}
	offset, err := r.offset(ctx)
	if err != nil {
		return false, err
	}
	return r.db.Caught(ctx, offset)
}

// offset returns the connector's offset, nil if it has none yet.
func (r *run) offset(ctx context.Context) (json.RawMessage, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.d.URL()+"/connectors/"+connectorName+"/offsets", nil)
	if err != nil {
		return nil, err
	}
	text, err := read(req)
	if err != nil {
		return nil, err
	}
	var answer struct {
		Offsets []struct {
			Offset json.RawMessage `json:"offset"`
		} `json:"offsets"`
	}
	if err := json.Unmarshal(text, &answer); err != nil || len(answer.Offsets) == 0 {
		return nil, err
	}
	return answer.Offsets[0].Offset, nil
}

// part runs SQL and returns what is emitted after the records that were there before.
func (r *run) part(ctx context.Context, sql string, before []Record, number int) ([]Record, error) {
	if err := r.db.Exec(ctx, sql); err != nil {
		return nil, fmt.Errorf("stream.sql: %w", err)
	}
	var recs []Record
	err := r.d.Until(ctx, func() (bool, error) {
		if ok, err := r.streams(ctx); !ok {
			return false, err
		}
		all, err := r.records(ctx)
		recs = after(before, all)
		return r.enough(number, recs), err
	})
	if err != nil && ctx.Err() == nil { // the connector has stopped: what there is until then
		all, failed := r.records(ctx)
		return after(before, all), errors.Join(err, failed)
	}
	return recs, err
}

// after removes from recs, of each topic, as many records as before has of it.
func after(before, recs []Record) []Record {
	seen := map[string]int{}
	for _, r := range before {
		seen[r.Topic]++
	}
	var rest []Record
	for _, r := range recs {
		if seen[r.Topic] > 0 {
			seen[r.Topic]--
			continue
		}
		rest = append(rest, r)
	}
	return rest
}

// records reads all records, topic by topic.
func (r *run) records(ctx context.Context) ([]Record, error) {
	topics, err := r.d.Topics(ctx)
	if err != nil {
		return nil, err
	}
	query := url.Values{"from": {"start"}, "until": {"end"}}
	for _, t := range topics {
		if !strings.HasPrefix(t.Topic, "__tailrace_") {
			query.Add("topic", t.Topic)
		}
	}
	if !query.Has("topic") {
		return nil, nil
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.d.URL()+"/tailrace/records?"+query.Encode(), nil)
	if err != nil {
		return nil, err
	}
	text, err := read(req)
	if err != nil {
		return nil, err
	}
	return ParseRecords(text)
}
