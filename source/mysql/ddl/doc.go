// Package ddl follows what DDL statements do to the columns of tables, for binary logs that do not carry them (MySQL 5.7,
// binlog_row_metadata other than FULL).
//
// In come the structures of tables as information_schema had them at some place of the log, and the statements of the QUERY
// events behind it, one by one ([Schemas.Apply]); out comes what each of them did: tables whose structure is another now,
// tables that are gone, and tables of which it can't be told ([Effect]). What is held stays true from statement to statement.
//
//	QUERY event --> tokens --> statement --> Schemas.Apply --> Effect{Changed, Dropped, Unknown}
//	                                         database -> charset; database.table -> columns, primary key
//
// Invariants: a structure that is held is that of information_schema, for all of a column that rows are read by: name, type
// with its parameters, charset, labels, nullability, place, and membership in the primary key. A statement that is not
// understood, or that depends on what is not known, never leaves a structure behind that may be wrong: the tables that it
// names are forgotten and named in Effect.Unknown, so that the caller reads them anew from the catalog or gives them up.
//
// It is no SQL parser: expressions, constraints, partitions and options are passed over by their parentheses. It does not
// know indexes other than the primary key, defaults, comments, views, triggers, or what a statement does to rows.
package ddl
