package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"

	"github.com/tailrace/tailrace/internal/compare"
)

const (
	pgbenchProgram = "/usr/lib/postgresql/15/bin/pgbench"
	pgbenchScale   = "10" // a million accounts
)

// pgbenchScript does what the script tpcb-like doesn't: rows come, are written again and go, keys change, savepoints are undone.
const pgbenchScript = `\set own random(1, 20000) + 10000000
\set gone random(1, 20000) + 10000000
\set bid random(1, 10)
\set aid random(1, 1000000)
BEGIN;
INSERT INTO pgbench_accounts (aid, bid, abalance, filler) VALUES (:own, :bid, 0, 'new') ON CONFLICT (aid) DO UPDATE SET abalance = pgbench_accounts.abalance + 1, filler = NULL;
SAVEPOINT a;
UPDATE pgbench_accounts SET filler = 'never' WHERE aid = :aid;
ROLLBACK TO a;
DELETE FROM pgbench_accounts WHERE aid = :gone;
UPDATE pgbench_accounts SET aid = aid + 10000000 WHERE aid = :own AND NOT EXISTS (SELECT FROM pgbench_accounts WHERE aid = :own + 10000000);
END;
`

// fillPgbench makes pgbench's tables. The history gets a key, so that all sinks can hold it.
func (l *life) fillPgbench(ctx context.Context) error {
	if err := l.pgbench(ctx, nil, "-i", "-q", "-s", pgbenchScale); err != nil {
		return err
	}
	return compare.Exec(ctx, l.url, "ALTER TABLE pgbench_history ADD number bigserial PRIMARY KEY; CREATE TABLE sentinel (id int PRIMARY KEY, mark text)")
}

// pgbench runs pgbench on the source. What it says is added to said, unless that is nil.
func (l *life) pgbench(ctx context.Context, said *[]byte, args ...string) error {
	args = append([]string{"-h", "127.0.0.1", "-p", fmt.Sprint(l.source.Port), "-U", "postgres"}, append(args, l.name)...)
	out, err := exec.CommandContext(ctx, pgbenchProgram, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("pgbench: %w: %s", err, out)
	}
	if said != nil {
		*said = append(*said, out...)
	}
	return nil
}

// pgbenchCampaign lets pgbench write for so many seconds while the daemon copies and follows, and compares each sink with the source.
func pgbenchCampaign(ctx context.Context, p plan, seconds int) error {
	return p.hold(ctx, func(c *campaign) (clean bool, err error) {
		l := &life{campaign: c, name: fmt.Sprintf("pgbench_%d", os.Getpid()), port: c.source.Port}
		if err := l.prepare(ctx); err != nil {
			return false, err
		}
		defer func() { err = errors.Join(err, l.daemon.Stop(), l.remove(context.WithoutCancel(ctx))) }()
		script := filepath.Join(c.dir, "script.sql")
		if err := errors.Join(os.WriteFile(script, []byte(pgbenchScript), 0o644), l.daemon.Start()); err != nil {
			return false, err
		}
		var said []byte
		if err := l.pgbench(ctx, &said, "-n", "-c", "4", "-j", "2", "-T", fmt.Sprint(seconds), "--random-seed", fmt.Sprint(p.seed), "--max-tries", "100",
			"-b", "tpcb-like@7", "-f", script+"@3"); err != nil {
			return false, err
		}
		made := regexp.MustCompile(`actually processed: ([0-9]+)`).FindSubmatch(said)
		if made == nil || string(made[1]) == "0" {
			return false, fmt.Errorf("pgbench made no transaction: %s", said)
		}
		tables, err := l.settle(ctx)
		if err != nil {
			return false, err
		}
		differ, err := l.compare(ctx, tables)
		if err != nil {
			return false, err
		}
		fmt.Fprintf(c.out, "transactions=%s checksums=%s\n", made[1], map[bool]string{false: "equal", true: "different"}[differ])
		if differ {
			return false, errors.New("the promises were broken")
		}
		return true, nil
	})
}
