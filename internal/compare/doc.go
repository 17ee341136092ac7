// Package compare proves that a source database, the log and the targets hold the same rows.
//
// In come the tables of a database ([Tables]) and the sides to compare: a PostgreSQL database ([NewPostgres]), the log as its
// consumers see it ([NewLog]), Elasticsearch ([NewElasticsearch]), Redis ([NewRedis]). Out go, for each table and side, the number
// of rows and a checksum ([Run]), and for a table that differs the first rows that do ([Diff]).
//
// Each side turns its rows into the same canonical text, one line for a row: the columns in the source's order, separated
// by tabs, each in a normal form that follows the source's type:
//
//	Bool              true, false
//	Int Decimal       the digits as PostgreSQL writes them
//	Float             the shortest text that reads back the same
//	Bytes             base64
//	Date Time         2024-01-31, 12:00:00.5
//	Timestamp[TZ]     2024-01-31T12:00:00.5[Z]
//	JSON              the document without white space between its tokens
//	Array             [elem,NULL,elem], elements in their normal form and quoted
//	others            the text itself
//	NULL              \N, also for the JSON document null; a tab, a line break and a backslash inside a value are \t, \n, \r and \\
//
// Invariants: two sides compare equal only if they have the same number of rows and the same canonical text for each;
// the checksum is the sum of the rows' SHA-256 and so does not depend on their order. No value goes through a float or
// encoding/json's any on its way. A document that lacks a column says NULL, because rows that are older than a column
// do not name it; a value that was lost still differs from the source's.
//
// It deliberately waits for nothing: whoever calls it has made sure that no writer is at work and that the sides have caught up.
package compare
