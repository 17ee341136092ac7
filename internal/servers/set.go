package servers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// Up makes sure that the named servers run in the set, and returns their addresses by environment variable. They outlive
// this process; servers of the set that run already are kept. What cannot be had is told to progress by name and left out: it
// is no error.
func Up(ctx context.Context, set string, names []string, progress io.Writer) (map[string]string, error) {
	dir, unlock, err := openSet(set)
	if err != nil {
		return nil, err
	}
	defer unlock()
	env := map[string]string{}
	for _, name := range names {
		k, err := find(name)
		if err != nil {
			return nil, err
		}
		home := filepath.Join(dir, name)
		if r, err := readRecord(home); err == nil && adopt(r) != nil {
			env[k.variable] = r.URL
			continue
		}
		// What an earlier crash left is of no use: tests want an empty server.
		if err := os.RemoveAll(home); err != nil {
			return nil, err
		}
		s, err := Start(ctx, name, Options{Dir: home, Detach: true})
		if err != nil {
			fmt.Fprintf(progress, "not available: %v\n", err)
			continue
		}
		fmt.Fprintf(progress, "%s: %s\n", name, s.URL)
		env[k.variable] = s.URL
	}
	return env, nil
}

// Env returns the addresses of the servers that run in the set, by environment variable.
func Env(set string) (map[string]string, error) {
	dir, unlock, err := openSet(set)
	if err != nil {
		return nil, err
	}
	defer unlock()
	env := map[string]string{}
	for _, k := range kinds() {
		if r, err := readRecord(filepath.Join(dir, k.name)); err == nil && adopt(r) != nil {
			env[k.variable] = r.URL
		}
	}
	return env, nil
}

// Down ends the servers of the set, also those that a crashed starter left, and removes their files. It also removes the files
// of private servers whose owner is gone.
func Down(set string, progress io.Writer) error {
	dir, unlock, err := openSet(set)
	if err != nil {
		return err
	}
	defer unlock()
	var errs []error
	for _, k := range kinds() {
		home := filepath.Join(dir, k.name)
		if _, err := os.Stat(home); err != nil {
			continue
		}
		r, err := readRecord(home)
		if err == nil {
			if p := adopt(r); p != nil {
				fmt.Fprintf(progress, "stopping %s (%d)\n", r.Name, r.Pid)
				errs = append(errs, p.end(k.stop))
			}
		}
		errs = append(errs, os.RemoveAll(home))
	}
	errs = append(errs, sweep())
	return errors.Join(errs...)
}

// sweep removes the directories of private servers whose owner and process are both gone.
func sweep() error {
	root, err := Root()
	if err != nil {
		return err
	}
	records, err := filepath.Glob(filepath.Join(root, "*", "server.json"))
	if err != nil {
		return err
	}
	var errs []error
	for _, path := range records {
		dir := filepath.Dir(path)
		r, err := readRecord(dir)
		if err != nil || r.Detach || adopt(r) != nil {
			continue
		}
		if at, err := startedAt(r.Owner); err == nil && at == r.OwnerAt {
			continue
		}
		errs = append(errs, os.RemoveAll(dir))
	}
	return errors.Join(errs...)
}

// openSet makes the directory of a set and locks it.
func openSet(set string) (dir string, unlock func(), err error) {
	if set == "" || strings.ContainsAny(set, "/.") {
		return "", nil, fmt.Errorf("%q is no name for a set of servers", set)
	}
	root, err := Root()
	if err != nil {
		return "", nil, err
	}
	dir = filepath.Join(root, "sets", set)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", nil, err
	}
	unlock, err = lock(filepath.Join(dir, "lock"))
	return dir, unlock, err
}

// readRecord reads server.json.
func readRecord(dir string) (record, error) {
	var r record
	b, err := os.ReadFile(filepath.Join(dir, "server.json"))
	if err != nil {
		return r, err
	}
	return r, json.Unmarshal(b, &r)
}
