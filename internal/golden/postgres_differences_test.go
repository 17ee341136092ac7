package golden

import (
	"bytes"
	"strings"
)

// op is the op of a record's value, "" if it has none.
func op(r *Record) string {
	for _, op := range []string{"r", "c", "u", "d", "t", "m"} {
		if bytes.Contains(r.Value, []byte(`"op":"`+op+`"`)) {
			return op
		}
	}
	return ""
}

// both are the rows of a value, with and without schemas.
const both = `value(\.payload)?\.(before|after)\.`

// postgresDifferences are the places in which Tailrace differs from Debezium on purpose.
func postgresDifferences() []Difference {
	return []Difference{
		{
			What: "NULL in a column with a default stays null; Debezium's converter writes the default.",
			Why: "A reader could not tell a NULL from the default any more. The schema shows the default all the same, as Debezium does it: " +
				"that of an expression is the first text in it, and that of a function call the zero of its type.",
			Instead: "value.converter.replace.null.with.default=true",
			Where: []Place{
				{"nulls_with_defaults", both + `[abcdefhijkm]`},
				{"types_hstore_json_generated", both + "d"},
				{"alter_midstream", both + "c"},
			},
		},
		{
			What: "The before image of a delete has null for columns that the database did not send; Debezium has \"\" or 0 if they are NOT NULL.",
			Why:  "Under REPLICA IDENTITY DEFAULT the database sends the key alone, and the rest would be made up. With schemas, which allow no null there, we write what Debezium writes.",
			Where: []Place{
				{"crud_identity_default", `value\.before\.name`},
				{"toast_identity_default", `value\.before\.nn`},
			},
		},
		{
			What: "NaN and infinite numbers are text in precise mode where there are no schemas; Debezium makes them null.",
			Why:  "A value that its form can't express keeps its text. With schemas it is null, as their type has no room for text; decimal.handling.mode=string or double has room.",
			Where: []Place{
				{"snapshot_vs_stream", `value\.after\.n`},
			},
		},
		{
			What:  "Masks and hashes hold for every column whose values are texts, citext and inet among them; Debezium leaves those as they are that JDBC does not count as characters.",
			Why:   "Who masks a column does not want its values in the log.",
			Where: []Place{{"masks_of_other_texts", `value\.after\.(ci|ip)`}},
		},
		{
			What:  "column.truncate.to leaves JSON, UUIDs and times whole; Debezium cuts their texts, too.",
			Why:   "Half a document or a moment is none.",
			Where: []Place{{"masks_of_other_texts", `value\.after\.(j|u|tz)`}},
		},
		{
			What:  "Columns of type name have their text; Debezium streams null.",
			Why:   "It loses them.",
			Where: []Place{{"types_text_misc", both + "n"}, {"snapshot_vs_stream", `value\.after\.n`}},
		},
		{
			What:    "Columns of types without a form of their own (composite, multirange, geometric but point, tsquery, pg_lsn, xid, regclass, jsonpath ... and arrays of them, of domains and of money, interval, xml, name, bit, point) are text or arrays; Debezium leaves them out.",
			Why:     "It loses them.",
			Instead: "include.unknown.datatypes=false",
			Where: []Place{{"types_unknown_default",
				`value\.(payload\.after|schema\.fields\.(before|after)\.fields)\.(ln|seg|bx|pth|pol|ci|tq|pl|sn|mr|pr|jp|rc|x)`}},
		},
		{
			What:  "With include.unknown.datatypes=true the bytes of geometric types are PostgreSQL's text; Debezium has that of its driver, in which 1 is 1.0.",
			Why:   "The text of the database is what it reads back.",
			Where: []Place{{"types_unknown_included", `value\.payload\.after\.(ln|seg|bx|pth|pol|ci)`}},
		},
		{
			What:  "Arrays of enums have their labels; Debezium streams null.",
			Why:   "It loses them. The same holds for arrays of hstore.",
			Where: []Place{{"types_arrays", `value\.payload\.after\.e`}},
		},
		{
			What:  "With time.precision.mode=isostring infinite dates and timestamps are infinity and -infinity, and the end of a day is 24:00:00Z; Debezium has the years -5877611, +294247 and -290308, and 00:00:00Z.",
			Why:   "Those are other moments.",
			Where: []Place{{"types_time_isostring", `value\.payload\.after\.(d|t|ts|ts0|ts3)`}},
		},
		{
			What:  "Rows look the same in the snapshot and in the stream; Debezium has other numbers for infinite dates and dates before Christ in its snapshot.",
			Why:   "We write what it streams.",
			Where: []Place{{"snapshot_vs_stream", `value\.after\.d`}},
		},
		{
			What: "The key of a table with REPLICA IDENTITY USING INDEX is that index; Debezium's is the primary key, which is 0 in deletes, and an update of the index becomes a change of key from 0.",
			Why:  "One row must have one key in all its events. The index is what the database sends with every event.",
			Where: []Place{{"crud_identity_index_nothing",
				`key\.(id|code)|value\.before\.id|headers\.(__debezium\.(old|new)key\.(id|code))`}},
		},
		{
			What:   "A delete from a table without a key is followed by no tombstone; Debezium's has null for both key and value.",
			Why:    "It says nothing: there is no key under which something could be forgotten.",
			Where:  []Place{{Scenario: "no_primary_key"}},
			Theirs: func(r *Record) bool { return string(r.Key) == "null" && string(r.Value) == "null" },
		},
		{
			What:    "Truncates are events; Debezium leaves them out by default.",
			Why:     "Whoever keeps the rows would keep those that are gone.",
			Instead: "skipped.operations=t",
			Where:   []Place{{Scenario: "truncate_skipped_default"}},
			Ours:    func(r *Record) bool { return op(r) == "t" },
		},
		{
			What:  "With message.key.columns a delete or tombstone has a null key where the database did not send the columns; Debezium's key has null for each.",
			Why:   "The key is not known, and another row may have that one. REPLICA IDENTITY FULL sends them.",
			Where: []Place{{Scenario: "message_key_columns", Path: "key"}},
			Theirs: func(r *Record) bool {
				return string(r.Value) == "null" && strings.Contains(string(r.Key), `{"region":null,"code":null}`)
			},
		},
		{
			What: "Rows of a snapshot have no txId; Debezium shows the transaction that read them.",
			Why:  "txId is the transaction that wrote a row, and that one is not known.",
			Where: []Place{{"snapshot_initial_multi", `value\.source\.txId`}, {"snapshot_then_restart", `value\.source\.txId`},
				{"snapshot_vs_stream", `value\.source\.txId`}, {"notifications_sink", `value\.source\.txId`}},
		},
		{
			What:  "An incremental snapshot writes nothing into the table of signals; Debezium marks the window of each chunk by rows there. A row that changed while its chunk was read follows the chunk.",
			Why:   "Whether a change is part of what was read is known from the transaction's number.",
			Where: []Place{{Scenario: "incremental_snapshot_signal"}},
			Theirs: func(r *Record) bool {
				return bytes.HasSuffix(r.Key, []byte(`-open"}`)) || bytes.HasSuffix(r.Key, []byte(`-close"}`))
			},
			Unordered: true,
		},
		{
			What:      "Tables are copied side by side: notifications of different tables mix. source.snapshot is last for the last row of the last table only if that has rows; Debezium reads ahead.",
			Why:       "A copy goes on while changes are streamed, chunk by chunk.",
			Where:     []Place{{"notifications_sink", `value\.source\.snapshot`}},
			Unordered: true,
		},
		{
			What: "Keys and schemas near a change of a table's structure may be those before or after it, for both: they ask the catalog when the database announces the structure, and that may be later than the change.",
			Why:  "The stream does not tell primary keys, NOT NULL and defaults.",
			Where: []Place{{"alter_midstream",
				`key.*|value\.payload\.before(\.alpha)?|value\.schema\.fields\.(before|after)\.fields\.alpha\.(optional|default)`}},
		},
	}
}
