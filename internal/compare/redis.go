package compare

import (
	"context"
	"fmt"
	"strings"

	"github.com/redis/rueidis"
)

// redis is a side in Redis.
type redis struct {
	addr   string
	prefix func(*Table) string
}

// NewRedis returns the side whose rows a Redis server at addr holds as JSON documents in strings, under keys that begin
// with what prefix gives for each table.
func NewRedis(addr string, prefix func(*Table) string) Side { return &redis{addr, prefix} }

// Name implements Side.
func (*redis) Name() string { return "redis" }

// Read implements Side.
func (s *redis) Read(ctx context.Context, t *Table, emit func(key, line string) error) error {
	client, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{s.addr}, DisableCache: true, ForceSingleClient: true})
	if err != nil {
		return err
	}
	defer client.Close()
	pattern := strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace(s.prefix(t)) + "*"
	seen := map[string]bool{} // SCAN may give a key twice
	var r row
	for cursor := uint64(0); ; {
		entry, err := client.Do(ctx, client.B().Scan().Cursor(cursor).Match(pattern).Count(5000).Build()).AsScanEntry()
		if err != nil {
			return err
		}
		var keys []string
		for _, k := range entry.Elements {
			if !seen[k] {
				seen[k] = true
				keys = append(keys, k)
			}
		}
		if err := s.read(ctx, client, &r, t, keys, emit); err != nil {
			return err
		}
		if cursor = entry.Cursor; cursor == 0 {
			return nil
		}
	}
}

// read emits the rows of some keys.
func (s *redis) read(ctx context.Context, client rueidis.Client, r *row, t *Table, keys []string, emit func(key, line string) error) error {
	if len(keys) == 0 {
		return nil
	}
	values, err := client.Do(ctx, client.B().Mget().Key(keys...).Build()).ToArray()
	if err != nil {
		return err
	}
	for i := range values {
		doc, err := values[i].AsBytes()
		if err != nil {
			return fmt.Errorf("key %s: %w", keys[i], err)
		}
		r.clear(t)
		if err := r.document(doc, natural); err != nil {
			return fmt.Errorf("key %s: %w", keys[i], err)
		}
		if err := emit(r.key(), r.line()); err != nil {
			return err
		}
	}
	return nil
}
