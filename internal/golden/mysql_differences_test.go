package golden

import (
	"bytes"
	"slices"
	"strings"
)

// binlogDifferences are the places in which Tailrace differs from Debezium on purpose on both MySQL and MariaDB. Scenarios that one
// of them lacks are in its own table.
func binlogDifferences() []Difference {
	return []Difference{
		{
			What:    "NULL in a column with a default stays null; Debezium's converter writes the default.",
			Why:     "A reader could not tell a NULL from the default any more. The schema shows the default all the same, as Debezium does it: the present time is the epoch.",
			Instead: "value.converter.replace.null.with.default=true",
			Where:   []Place{{"snapshot_initial_schema_changes", `value\.after\.v`}},
		},
		{
			What:   "A delete from a table without a key is followed by no tombstone; Debezium's has null for both key and value.",
			Why:    "It says nothing: there is no key under which something could be forgotten.",
			Where:  []Place{{Scenario: "composite_keys_change"}},
			Theirs: func(r *Record) bool { return string(r.Key) == "null" && string(r.Value) == "null" },
		},
		{
			What:    "Truncates are events; Debezium leaves them out by default.",
			Why:     "Whoever keeps the rows would keep those that are gone.",
			Instead: "skipped.operations=t",
			Where:   []Place{{Scenario: "snapshot_initial_schema_changes"}},
			Ours:    func(r *Record) bool { return op(r) == "t" },
		},
		{
			What:  "Rows in MINIMAL and NOBLOB images are events, with the placeholder for what the server did not log; Debezium stops.",
			Why:   "Sinks merge such rows. Before images have null for what was not logged.",
			Where: []Place{{Scenario: "crud_row_image_minimal"}},
			Ours:  func(*Record) bool { return true },
		},
		{
			What:   "A table that comes into capture by its creation or a rename is copied; Debezium begins with its next change. In source.snapshot of the last table's last row last_in_data_collection may stand for last.",
			Why:    "Its rows would be missing. A copy goes on while changes are streamed.",
			Where:  []Place{{"snapshot_initial_schema_changes", `value\.source\.snapshot`}},
			Timing: true,
			Ours: func(r *Record) bool {
				return (strings.HasSuffix(r.Topic, ".s3") || strings.HasSuffix(r.Topic, ".s4")) && op(r) == "r"
			},
		},
		{
			What:  "Zero timestamps are their text, as \"0000-00-00 00:00:00\", where the form is text; Debezium has null or 1970.",
			Why:   "A value that its form can't express keeps its text; where the form is a number and there is a schema it is null, or 0 in a column without NULL, as in Debezium.",
			Where: []Place{{"types_time_default", `value\.payload\.after\.ts[36]?`}, {"types_time_connect", `value\.payload\.after\.ts[36]?`}},
		},
		{
			What: "The year 0 is 0; Debezium streams 1900.",
			Why:  "It is another year.",
			Where: []Place{{"types_time_default", `value\.payload\.after\.(y|y2)`}, {"types_time_connect", `value\.payload\.after\.(y|y2)`},
				{"types_int_default", `value\.payload\.after\.y`}, {"types_int_unsigned_precise", `value\.payload\.after\.y`}},
		},
		{
			What:  "A moment in the year 0 is that moment; Debezium has null.",
			Why:   "It loses it.",
			Where: []Place{{"types_time_default", `value\.payload\.after\.dt1`}, {"types_time_connect", `value\.payload\.after\.dt1`}},
		},
		{
			What:   "A schema change has the structure that the catalog has when the statement is read, with the display widths of integers; Debezium's is what the statement itself says. It is null if the table is gone by then.",
			Why:    "The catalog knows what the server has made of the statement. The columns of rows are those at the time of the rows.",
			Timing: true,
			Where:  []Place{{"snapshot_initial_schema_changes", `value\.tableChanges\[0\]\.table(\.columns\[\d\]\.length)?`}},
		},
		{
			What:   "Defaults near a change of a table's structure may be those before or after it.",
			Why:    "The binary log does not tell them: the catalog is asked when the rows come.",
			Timing: true,
			Where:  []Place{{"alter_midstream", `value\.schema\.fields\.(before|after)\.fields\.c\.default`}},
		},
		{
			What:  "The label of an enum is that label; Debezium streams a comma in it as \\,.",
			Why:   "Its own snapshot has the label, and so has the database.",
			Where: []Place{{"types_text", `value\.payload\.(before|after)\.e`}},
		},
	}
}

// mysqlDifferences are the places in which Tailrace differs from Debezium on purpose on MySQL.
func mysqlDifferences() []Difference {
	list := binlogDifferences()
	at := func(what string, places ...Place) {
		i := slices.IndexFunc(list, func(d Difference) bool { return strings.HasPrefix(d.What, what) })
		list[i].Where = append(list[i].Where, places...)
	}
	at("NULL in a column", Place{"generated_defaults", `value\.payload\.after\.(a|b|d|ts|y)`})
	at("A schema change", Place{"txmeta_ddl", `value\.tableChanges\[0\]\.table\.columns\[\d\]\.length`})
	at("Zero timestamps", Place{"zero_dates_not_null", `value\.payload\.(before|after)\.ts`})
	return append(list,
		Difference{
			What: "JSON is the text that the server itself writes, with spaces behind commas and colons; Debezium builds its own in the stream, in which large numbers, times and binary values are others.",
			Why:  "Rows look the same in the snapshot and in the stream, and nothing is lost.",
			Where: []Place{{"types_text", `value\.payload\.after\.j`}, {"json_binary", `value\.(before|after)\.j`}, {"snapshot_vs_stream", `value\.after\.j`},
				{"json_partial_updates", `value\.after\.j`}},
		},
		Difference{
			What:  "Partial updates of JSON values (binlog_row_value_options=PARTIAL_JSON) are events with the whole value; Debezium leaves the updates out.",
			Why:   "The before image has the value that they change. Where it does not (binlog_row_image is not FULL) the connector stops with PARTIAL_JSON: the change would be missing.",
			Where: []Place{{Scenario: "json_partial_updates"}},
			Ours:  func(r *Record) bool { return op(r) == "u" },
		},
		Difference{
			What:  "Timestamps have as many fractional digits as their column in the snapshot as in the stream; Debezium's snapshot has as many as it needs.",
			Why:   "Rows look the same in the snapshot and in the stream.",
			Where: []Place{{"snapshot_vs_stream", `value\.after\.ts`}},
		},
		Difference{
			What:  "An incremental snapshot writes nothing into the table of signals; Debezium marks the window of each chunk by rows there. A row that changed while its chunk was read follows the chunk. Rows of a chunk have neither gtid nor thread; Debezium shows those of the transaction that marks the window.",
			Why:   "Whether a change is part of what was read is known from the transactions' numbers.",
			Where: []Place{{"incremental_snapshot_signal", `value\.source\.(gtid|thread)`}},
			Theirs: func(r *Record) bool {
				return bytes.HasSuffix(r.Key, []byte(`-open"}`)) || bytes.HasSuffix(r.Key, []byte(`-close"}`))
			},
			Unordered: true,
		},
		Difference{
			What:  "Changes made while the connector was stopped come after the restart; the recording of Debezium on MySQL has none of them.",
			Why:   "Nothing is missing. On MariaDB Debezium has them, too.",
			Where: []Place{{Scenario: "restart_offset"}},
			Ours:  func(r *Record) bool { return op(r) != "c" },
		},
	)
}

// mariaDifferences are the places in which Tailrace differs from Debezium on purpose on MariaDB.
func mariaDifferences() []Difference {
	list := binlogDifferences()
	at := func(what string, places ...Place) {
		i := slices.IndexFunc(list, func(d Difference) bool { return strings.HasPrefix(d.What, what) })
		list[i].Where = append(list[i].Where, places...)
	}
	at("NULL in a column", Place{"generated_invisible_defaults", `value\.payload\.after\.[abdy]`})
	at("Zero timestamps", Place{"types_time_isostring", `value\.payload\.after\.ts[36]?`})
	at("The year 0", Place{"types_time_isostring", `value\.payload\.after\.(y|y2)`})
	at("A moment in the year 0", Place{"types_time_isostring", `value\.payload\.after\.dt1`})
	return append(list,
		Difference{
			What:  "With time.precision.mode=isostring negative times and those of more than a day are their text, as -00:00:01Z and 838:59:59Z, the end of a day is 24:00:00Z, and zero dates are their text; Debezium has null and 00:00:00Z.",
			Why:   "It loses them.",
			Where: []Place{{"types_time_isostring", `value\.payload\.after\.(t|t3|t6|d|dt|dt3|dt6)`}},
		},
		Difference{
			What:    "Comments are left out of schema changes, as include.schema.comments=false asks; Debezium on MariaDB has them all the same.",
			Why:     "It is what the property says.",
			Instead: "include.schema.comments=true",
			Where:   []Place{{"snapshot_initial_schema_changes", `value\.tableChanges\[0\]\.table\.columns\[\d\]\.comment`}},
		},
	)
}
