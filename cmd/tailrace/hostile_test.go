package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tailrace/tailrace/internal/daemon"
	"github.com/tailrace/tailrace/internal/servers"
)

// hostile are names that break out of quotes, lines and directories where they are not quoted.
func hostile() []string {
	return []string{`x"; DROP TABLE y;--`, `x'; DROP TABLE y;--`, "`id`", `$(id)`, "line\nbreak", "a\rb\x1b[2J", `../../x`, `..`, `%s%n\`, `{"a":1}`, `café ☃`}
}

// properties of a source connector of the database, as the body of PUT /connectors/NAME/config.
func properties(t *testing.T, db *pgx.Conn, more map[string]string) string {
	t.Helper()
	c := db.Config()
	props := map[string]string{"connector.class": "postgres", "topic.prefix": "p", "database.hostname": c.Host, "database.port": fmt.Sprint(c.Port),
		"database.user": c.User, "database.dbname": c.Database, "slot.name": c.Database, "publication.name": c.Database}
	for k, v := range more {
		props[k] = v
	}
	b, err := json.Marshal(props)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// files lists all files and directories below dir.
func files(t *testing.T, dir string) (names []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		names = append(names, path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func TestHostileNames(t *testing.T) {
	postgres := servers.Need(t, "postgres15")
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	t.Run("case97_tables_columns_publication", func(t *testing.T) {
		db := database(t, ctx, postgres)
		exec := func(sql string) {
			t.Helper()
			if _, err := db.Exec(ctx, sql); err != nil {
				t.Fatalf("%s: %v", sql, err)
			}
		}
		exec("CREATE TABLE y (id int PRIMARY KEY)")
		var want int64
		for _, name := range hostile() {
			q := pgx.Identifier{name}.Sanitize()
			exec(fmt.Sprintf("CREATE SCHEMA %s; CREATE TABLE %[1]s.%[1]s (%[1]s text PRIMARY KEY, v text); INSERT INTO %[1]s.%[1]s VALUES ('k', 'snapshot')", q))
			want++
		}
		root := t.TempDir()
		data := filepath.Join(root, "a", "b", "data")
		d := start(t, data, "")
		before := files(t, filepath.Dir(root))
		body := properties(t, db, map[string]string{"publication.name": `p"; DROP TABLE y;--`})
		if code, text := send(t, d, "PUT", "/connectors/c/config", body); code != 201 {
			t.Fatalf("%d %s", code, text)
		}
		until := func(n int64) {
			t.Helper()
			err := d.Until(ctx, func() (bool, error) {
				list, err := d.Status(ctx)
				if failed := daemon.Failed(list); err != nil || failed != nil {
					return false, errors.Join(err, failed)
				}
				topics, err := d.Topics(ctx)
				var got int64
				for _, i := range topics {
					if !strings.HasPrefix(i.Topic, "p.public.") && strings.HasPrefix(i.Topic, "p.") {
						got += i.Records
					}
				}
				return got == n, err
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		until(want)
		for _, name := range hostile() {
			q := pgx.Identifier{name}.Sanitize()
			exec(fmt.Sprintf("UPDATE %s.%[1]s SET v = 'stream' WHERE %[1]s = 'k'", q))
		}
		until(2 * want)
		exec("SELECT FROM y") // it is still there
		for _, f := range files(t, filepath.Dir(root)) {
			if !strings.HasPrefix(f, data+"/") && !slices.Contains(before, f) {
				t.Errorf("%s was made outside of the data directory", f)
			}
		}
	})
	t.Run("case97_properties", func(t *testing.T) {
		db := database(t, ctx, postgres)
		d := start(t, t.TempDir(), "")
		before := footprint(t, ctx, db)
		for _, name := range append(hostile(), "zero\x00byte", "", strings.Repeat("x", 300)) {
			for _, key := range []string{"slot.name", "topic.prefix"} {
				if key == "topic.prefix" && (name == ".." || len(name) == 300) {
					continue // these are names, if odd ones, of topics
				}
				if code, text := send(t, d, "PUT", "/connectors/c/config", properties(t, db, map[string]string{key: name})); code != 400 || !strings.Contains(text, key) {
					t.Errorf("%s = %q: %d %s", key, name, code, text)
				}
			}
		}
		for _, name := range []string{"zero\x00byte", "", strings.Repeat("x", 64)} {
			if code, text := send(t, d, "PUT", "/connectors/c/config", properties(t, db, map[string]string{"publication.name": name})); code != 400 {
				t.Errorf("publication.name = %q: %d %s", name, code, text)
			}
		}
		if after := footprint(t, ctx, db); after != before {
			t.Errorf("the database had %s, now %s", before, after)
		}
	})
}
