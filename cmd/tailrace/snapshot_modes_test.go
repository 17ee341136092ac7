package main

import (
	"context"
	"maps"
	"net/http"
	"strings"
	"testing"

	"github.com/tailrace/tailrace/internal/servers"
	"github.com/tailrace/tailrace/worker"
)

// snapshotModes makes a connector by the REST API for each of snapshot.mode's values and for each property that says how rows are copied, all on
// one database, and holds what each has in its topics against what was asked for: at the end of its copy, after a change, after a restart.
func snapshotModes(t *testing.T, server *servers.Server) {
	const based = "snapshot.mode.configuration.based."
	l := newLab(t, server, many(isMySQL(server)), map[string]string{"snapshot.mode": "no_data"})
	if isMySQL(server) {
		l.rows("ANALYZE TABLE hist, other")
	} else {
		l.exec("ANALYZE")
	}
	cases := map[string]struct {
		rows    int // of hist that are copied
		again   int // after a restart
		streams bool
		props   map[string]string
	}{
		"initial":      {4000, 4000, true, nil},
		"initial_only": {4000, 4000, false, nil},
		"always":       {4000, 8000, true, nil},
		"no_data":      {0, 0, true, nil},
		"never":        {0, 0, true, nil},
		"schema_only":  {0, 0, true, nil},
		"when_needed":  {4000, 4000, true, nil},
		"recovery":     {0, 0, true, nil},
		"based_both":   {4000, 4000, true, map[string]string{"snapshot.mode": "configuration_based", based + "snapshot.data": "true", based + "start.stream": "true"}},
		"based_data":   {4000, 4000, false, map[string]string{"snapshot.mode": "configuration_based", based + "snapshot.data": "true", based + "snapshot.schema": "true"}},
		"based_stream": {0, 0, true, map[string]string{"snapshot.mode": "configuration_based", based + "start.stream": "true", based + "snapshot.on.data.error": "true"}},
		"included":     {0, 0, true, map[string]string{"snapshot.mode": "initial", "snapshot.include.collection.list": l.of("other")}},
		"stated": {100, 100, true, map[string]string{"snapshot.mode": "initial", "snapshot.select.statement.overrides": l.of("hist"),
			"snapshot.select.statement.overrides." + l.of("hist"): "SELECT * FROM " + l.of("hist") + " WHERE id <= 100"}},
		"tuned": {4000, 4000, true, map[string]string{"snapshot.mode": "initial", "snapshot.fetch.size": "333", "snapshot.max.threads": "4", "snapshot.delay.ms": "700",
			"streaming.delay.ms": "300", "snapshot.tables.order.by.row.count": "ascending"}},
	}
	of := func(name string) *lab { // what l knows, of that connector's topics
		one := *l
		one.name = l.name + "_" + name
		return &one
	}
	for name, c := range cases {
		props := map[string]string{"topic.prefix": of(name).name, "snapshot.mode": name}
		if !isMySQL(server) {
			props["slot.name"] = of(name).name
		}
		maps.Copy(props, c.props)
		if res := l.call(http.MethodPut, "/connectors/"+name+"/config", string(l.props(props))); res != http.StatusCreated {
			t.Fatalf("%s: %d", name, res)
		}
	}
	has := func(name, op string, n int) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), snapshotPatience)
		defer cancel()
		if err := l.d.Until(ctx, func() (bool, error) { return of(name).records("hist")[op] >= n, nil }); err != nil {
			t.Fatalf("%s: %v instead of %d with op %s: %v", name, of(name).records("hist"), n, op, err)
		}
		if got := of(name).records("hist")[op]; got != n {
			t.Errorf("%s: %d records with op %s instead of %d", name, got, op, n)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), snapshotPatience)
	defer cancel()
	if err := l.d.Until(ctx, func() (bool, error) { // all stand somewhere in the database's log
		list, err := l.d.Status(ctx)
		n := 0
		for _, c := range list {
			if len(c.Tasks) == 1 && c.Tasks[0].State == worker.Running {
				n++
			}
		}
		return n == 1+len(cases), err
	}); err != nil {
		t.Fatal(err)
	}
	for name, c := range cases {
		has(name, "r", c.rows)
	}
	l.exec("UPDATE hist SET v = 'changed' WHERE id = 4000")
	for _, streams := range []bool{true, false} { // the others have had time then
		for name, c := range cases {
			if c.streams == streams {
				has(name, "u", map[bool]int{true: 1, false: 0}[streams])
			}
		}
	}
	if n := of("included").records("other"); n["r"] != 1 {
		t.Errorf("of the table that is included: %v", n)
	}
	for name, c := range cases {
		if res := l.call(http.MethodPost, "/connectors/"+name+"/restart?includeTasks=true", ""); res >= http.StatusMultipleChoices {
			t.Fatalf("restart of %s: %d", name, res)
		}
		has(name, "r", c.again)
	}
}

// call makes a request and returns the status of the answer.
func (l *lab) call(method, path, body string) int {
	l.Helper()
	req, err := http.NewRequestWithContext(l.Context(), method, l.d.URL()+path, strings.NewReader(body))
	if err != nil {
		l.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		l.Fatal(err)
	}
	if err := res.Body.Close(); err != nil {
		l.Fatal(err)
	}
	return res.StatusCode
}
