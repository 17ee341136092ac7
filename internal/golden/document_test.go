package golden

import (
	"flag"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite docs/debezium-differences.md")

const page = "../../docs/debezium-differences.md"

// TestDocument holds the page against the tables that the scenarios are judged by. -update rewrites it.
func TestDocument(t *testing.T) {
	want := `# Where events differ from Debezium's

Tailrace writes the events that Debezium writes: topics, keys, envelopes, schemas, headers, types. A test replays scenarios
that a real Debezium recorded, and compares record by record, member by member. Where Tailrace differs on purpose, it is one of these. The
rule behind them: the log never falsifies. NULL stays NULL, and a value that a form can't express keeps its text. Where Debezium's output
is merely odd, ours is the same.

A snapshot of type blocking does not hold the stream. Debezium streams nothing until the rows are read, and the database keeps its log
that long. Here they are copied chunk by chunk beside the stream, as those of an incremental snapshot are. They look like an initial
snapshot's: source.snapshot is first, true, last and so on, and notifications are of the aggregate type Initial Snapshot. Of a key that
changes meanwhile there is the row and then the change, or the change alone, never an old row after a newer change; changes of other keys
stand between the rows. Only a table without a key holds the stream while it is read.

This page is made from the tables in internal/golden: run ` + "`go test ./internal/golden -run TestDocument -update`" + ` after a change.

` + Document("PostgreSQL", "Against Debezium 3.6.1 on PostgreSQL 15.", postgresDifferences()) +
		"\n" + Document("MySQL", "Against Debezium 3.6.1 on MySQL 8.0.", mysqlDifferences()) +
		"\n" + Document("MariaDB", "Against Debezium 3.5.0 on MariaDB 10.11.", mariaDifferences())
	if *update {
		if err := os.WriteFile(page, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("%s is not what the tables say: run go test ./internal/golden -run TestDocument -update", strings.TrimPrefix(page, "../../"))
	}
}
