package main

import (
	"github.com/tailrace/tailrace/sink"
	"github.com/tailrace/tailrace/sink/elasticsearch"
	postgressink "github.com/tailrace/tailrace/sink/postgres"
	"github.com/tailrace/tailrace/sink/redis"
	"github.com/tailrace/tailrace/source"
	"github.com/tailrace/tailrace/source/mysql"
	"github.com/tailrace/tailrace/source/postgres"
	"github.com/tailrace/tailrace/transform"
	"github.com/tailrace/tailrace/transform/filter"
	"github.com/tailrace/tailrace/transform/mask"
	"github.com/tailrace/tailrace/transform/route"
	"github.com/tailrace/tailrace/transform/unwrap"
	"github.com/tailrace/tailrace/worker"
)

// plugins returns worker options with every connector and transform that this binary has. A new one is one more line.
func plugins() worker.Options {
	return worker.Options{
		Version:     version,
		CheckFormat: checkConverters,
		Sources:     []source.Plugin{postgres.Plugin, mysql.Plugin, mysql.MariaDB},
		Sinks:       []sink.Plugin{elasticsearch.Plugin, redis.Plugin, postgressink.Plugin},
		Transforms:  []transform.Plugin{unwrap.Plugin, route.Plugin, mask.Plugin, filter.Plugin},
	}
}
