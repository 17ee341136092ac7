package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/tailrace/tailrace/internal/compare"
)

// longestCopying is how long a daemon lives at most that is to die while rows are copied.
const longestCopying = 800 * time.Millisecond

// copyOn waits until the daemon runs and sees to it that rows are being copied: when a copy is complete, it asks for another one, of the
// types incremental and blocking by turns.
func (l *life) copyOn(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, settleTime)
	defer cancel()
	if err := l.daemon.Ready(ctx); err != nil {
		return err
	}
	var tables []string
	err := l.daemon.Until(ctx, func() (bool, error) {
		list, err := l.daemon.Status(ctx)
		if err != nil {
			return false, err
		}
		for _, c := range list {
			for _, t := range c.Tasks {
				if t.Snapshot == nil {
					continue
				}
				if !t.Snapshot.Completed {
					return true, nil
				}
				for _, one := range t.Snapshot.Tables {
					if name := one.Table; !strings.HasSuffix(name, ".journal") && !strings.HasSuffix(name, ".sentinel") {
						tables = append(tables, regexp.QuoteMeta(name))
					}
				}
				return true, nil
			}
		}
		return false, nil
	})
	if err != nil || len(tables) == 0 {
		return err
	}
	kind := []string{"incremental", "blocking"}[l.copies%2]
	l.copies++
	body, err := json.Marshal(map[string]any{"type": "execute-snapshot", "data": map[string]any{"type": kind, "data-collections": tables}})
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, l.daemon.URL()+"/connectors/source/signals", bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusAccepted {
		err = fmt.Errorf("the signal for a copy is answered by %s", res.Status)
	}
	return errors.Join(err, res.Body.Close())
}

// copiedOnce counts how often the log has a copied row with the same content: once for each copy at most, for what was finished before
// a death is not read again. It returns how many are too many.
func (l *life) copiedOnce(ctx context.Context, t *compare.Table) (tooMany int, err error) {
	in, err := l.daemon.Tail(ctx, l.name+".public."+t.Name)
	if err != nil {
		return 0, err
	}
	rows, seed, all := map[uint64]int{}, maphash.MakeSeed(), 0
	err = compare.Records(in, func(r *compare.Record) error {
		if r.Value == nil {
			return nil
		}
		e, err := compare.ParseEvent(r.Value)
		if err != nil || e.Op != "r" {
			return err
		}
		all++
		row := maphash.Bytes(seed, e.After)
		if rows[row]++; rows[row] > 1+l.copies {
			tooMany++
		}
		return nil
	})
	fmt.Fprintf(l.out, "%s: %d rows copied by %d copies, %d of them once too often\n", t, all, 1+l.copies, tooMany)
	return tooMany, errors.Join(err, in.Close())
}
