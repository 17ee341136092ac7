package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tailrace/tailrace/internal/daemon"
	"github.com/tailrace/tailrace/internal/servers"
)

// block returns the block of docs/postgres-setup.md that begins with this line after its three backquotes.
func block(t *testing.T, begin string) string {
	t.Helper()
	page, err := os.ReadFile("../../docs/postgres-setup.md")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile("(?s)\n```" + begin + "\n(.*?)\n```\n").FindStringSubmatch(string(page))
	if m == nil {
		t.Fatalf("docs/postgres-setup.md has no block %q", begin)
	}
	return m[1]
}

// watchDDL has the database note every DDL statement in the table ddl.
func watchDDL(t *testing.T, ctx context.Context, db *pgx.Conn) {
	t.Helper()
	_, err := db.Exec(ctx, `CREATE TABLE ddl (tag text, who text);
		CREATE FUNCTION note() RETURNS event_trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN INSERT INTO public.ddl VALUES (tg_tag, session_user); END $$;
		CREATE EVENT TRIGGER noted ON ddl_command_end EXECUTE FUNCTION note()`)
	if err != nil {
		t.Fatal(err)
	}
}

// noted returns the DDL statements that a role has run.
func noted(t *testing.T, ctx context.Context, db *pgx.Conn, role string) []string {
	t.Helper()
	rows, err := db.Query(ctx, "SELECT tag FROM ddl WHERE who = $1", role)
	if err != nil {
		t.Fatal(err)
	}
	tags, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return tags
}

// footprint is what there is of slots, publications, roles and tables in the database.
func footprint(t *testing.T, ctx context.Context, db *pgx.Conn) (text string) {
	t.Helper()
	err := db.QueryRow(ctx, `SELECT concat_ws(' ', (SELECT string_agg(slot_name, ',' ORDER BY 1) FROM pg_replication_slots WHERE database = current_database()),
		(SELECT string_agg(pubname, ',' ORDER BY 1) FROM pg_publication), (SELECT count(*) FROM pg_class), (SELECT count(*) FROM pg_roles))`).Scan(&text)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestPostgresSetup(t *testing.T) {
	postgres := servers.Need(t, "postgres15")
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	t.Run("case101_the_documented_role_suffices", func(t *testing.T) {
		db := database(t, ctx, postgres)
		name := db.Config().Database
		// The page's names are those of this test's database.
		own := func(text string) string {
			text = regexp.MustCompile(`\btailrace\b`).ReplaceAllString(text, name)
			return strings.NewReplacer("DATABASE shop", "DATABASE "+name, "dbname: shop", "dbname: "+name).Replace(text)
		}
		exec := func(sql string) {
			t.Helper()
			if _, err := db.Exec(ctx, sql); err != nil {
				t.Fatalf("%s: %v", sql, err)
			}
		}
		exec(`CREATE TABLE customers (id int PRIMARY KEY, name text); CREATE TABLE orders (id int PRIMARY KEY, note text); CREATE TABLE secrets (id int PRIMARY KEY);
			INSERT INTO customers VALUES (1, 'a'), (2, 'b'); INSERT INTO orders SELECT n, repeat('x', 5000) FROM generate_series(1, 50) n;
			REVOKE ALL ON SCHEMA public FROM PUBLIC; REVOKE ALL ON DATABASE ` + name + ` FROM PUBLIC`)
		watchDDL(t, ctx, db)
		exec(own(block(t, "sql setup")))
		file := filepath.Join(t.TempDir(), "connectors.yaml")
		text := strings.NewReplacer("127.0.0.1", db.Config().Host, "5432", fmt.Sprint(db.Config().Port)).Replace(own(block(t, "yaml")))
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, code := tailrace(t, nil, "validate", "--strict", file); code != 0 {
			t.Fatalf("%s", out)
		}
		d := start(t, t.TempDir(), file)
		until := func(topic string, n int64) {
			t.Helper()
			err := d.Until(ctx, func() (bool, error) {
				list, err := d.Status(ctx)
				if failed := daemon.Failed(list); err != nil || failed != nil {
					return false, errors.Join(err, failed)
				}
				got, err := records(ctx, d, topic)
				return got == n, err
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		until("shop.public.customers", 2)
		until("shop.public.orders", 50)
		exec("INSERT INTO customers VALUES (3, 'c'); UPDATE customers SET name = 'd' WHERE id = 1; DELETE FROM customers WHERE id = 2; TRUNCATE orders")
		until("shop.public.customers", 2+1+1+2) // a delete is followed by its tombstone
		until("shop.public.orders", 51)
		if tags := noted(t, ctx, db, name); len(tags) > 0 {
			t.Errorf("the connector has run %q", tags)
		}
		if err := d.Stop(); err != nil {
			t.Fatal(err)
		}
		exec(own(block(t, "sql cleanup")))
	})
	t.Run("case101_by_default_the_publication_is_all_the_ddl", func(t *testing.T) {
		db := database(t, ctx, postgres)
		watchDDL(t, ctx, db)
		d := start(t, t.TempDir(), capturing(t, db, ", table.include.list: public.t"))
		err := d.Until(ctx, func() (bool, error) {
			n, err := records(ctx, d, "p.public.t")
			return n == 2, err
		})
		if err != nil {
			t.Fatal(err)
		}
		tags := noted(t, ctx, db, db.Config().User)
		tags = slices.DeleteFunc(tags, func(tag string) bool { return strings.HasPrefix(tag, "CREATE EVENT") })
		if !slices.Equal(tags, []string{"CREATE PUBLICATION"}) {
			t.Errorf("it has run %q", tags)
		}
	})
	t.Run("case101_validation_has_no_effect", func(t *testing.T) {
		db := database(t, ctx, postgres)
		d := start(t, t.TempDir(), "")
		topics, err := d.Topics(ctx)
		if err != nil {
			t.Fatal(err)
		}
		before := footprint(t, ctx, db)
		c := db.Config()
		for _, more := range []string{"", `,"topic.prefix":"p","table.include.list":"public.t"`, `,"topic.prefix":"p","slot.name":"BAD NAME"`} {
			body := fmt.Sprintf(`{"connector.class":"postgres","name":"v","database.hostname":%q,"database.port":"%d","database.user":%q,"database.dbname":%q%s}`,
				c.Host, c.Port, c.User, c.Database, more)
			if code, text := send(t, d, "PUT", "/connector-plugins/postgres/config/validate", body); code != 200 {
				t.Errorf("%d %s", code, text)
			}
		}
		if out, code := tailrace(t, nil, "validate", capturing(t, db, "")); code != 0 {
			t.Errorf("%s", out)
		}
		if after := footprint(t, ctx, db); after != before {
			t.Errorf("the database had %s, now %s", before, after)
		}
		if code, text := send(t, d, "GET", "/connectors", ""); code != 200 || strings.TrimSpace(text) != "[]" {
			t.Errorf("connectors: %d %s", code, text)
		}
		if now, err := d.Topics(ctx); err != nil || len(now) != len(topics) {
			t.Errorf("topics: %v, %v", now, err)
		}
	})
}

// send makes a request of the REST API and returns status and body.
func send(t *testing.T, d *daemon.Daemon, method, path, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, d.URL()+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var b strings.Builder
	if err := resp.Write(&b); err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(b.String(), "\r\n\r\n")
	return resp.StatusCode, text
}
