package daemon

import (
	"context"
	"io"

	"github.com/tailrace/tailrace/internal/compare"
)

// Targets are the places that the sinks of connectors.yaml write to; "" for one that there is not.
type Targets struct {
	Elasticsearch string // URL
	Redis         string // host:port
	Copy          string // URL of a PostgreSQL database
}

// Sides returns the log of the daemon and its targets as sides of a comparison; prefix is the source's topic.prefix.
func Sides(d *Daemon, prefix string, t Targets) []compare.Side {
	topic := func(t *compare.Table) string { return prefix + "." + t.Schema + "." + t.Name }
	sides := []compare.Side{compare.NewLog(func(ctx context.Context, topic string) (io.ReadCloser, error) { return d.Tail(ctx, topic) }, topic)}
	if t.Elasticsearch != "" {
		sides = append(sides, compare.NewElasticsearch(t.Elasticsearch, topic))
	}
	if t.Redis != "" {
		sides = append(sides, compare.NewRedis(t.Redis, func(t *compare.Table) string { return topic(t) + ":" }))
	}
	if t.Copy != "" {
		sides = append(sides, compare.NewPostgres("copy", t.Copy, func(t *compare.Table) (string, string) { return "public", t.Name }))
	}
	return sides
}
