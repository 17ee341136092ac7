package postgres

import (
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/internal/fault"
	"github.com/tailrace/tailrace/sink"
)

// code returns the SQLSTATE of a server's answer, "" for any other error.
func code(err error) string {
	var answer *pgconn.PgError
	if errors.As(err, &answer) {
		return answer.Code
	}
	return ""
}

// bad reports whether the server refuses some row's content: data exceptions (22), integrity violations (23), cardinality
// (21, two rows of a set that are one in the target), limits such as the size of an index entry (54), what a trigger
// raises (P0).
func bad(err error) bool {
	switch c := code(err); {
	case len(c) < 2:
		return false
	default:
		return strings.Contains("21 22 23 54 P0", c[:2])
	}
}

// collided reports a deadlock or a serialization failure: the same again, at once, may succeed.
func collided(err error) bool {
	c := code(err)
	return c == "40001" || c == "40P01"
}

// conditions names what rows are refused for.
func condition(code string) string {
	switch code {
	case "22001":
		return "text too long"
	case "22003":
		return "number out of range"
	case "22008", "22007":
		return "date or time out of range"
	case "22021":
		return "bytes that are not text in the database's encoding"
	case "22P02", "22P03":
		return "text that the type does not read"
	case "22P05":
		return "a character that the target does not have"
	case "23502":
		return "NULL in a column that is NOT NULL"
	case "23503":
		return "foreign key violation"
	case "23505":
		return "unique violation"
	case "23514":
		return "check violation"
	case "23P01":
		return "exclusion violation"
	case "54000":
		return "value too large for an index"
	case "P0001":
		return "refused by a trigger"
	}
	return "refused"
}

// refusal says why a row was refused without showing of it more than its key: the server's own messages hold values.
func (s *Sink) refusal(u *unit, st *sink.State, err error) error {
	var answer *pgconn.PgError
	if !errors.As(err, &answer) {
		return err
	}
	where := ""
	if answer.ColumnName != "" {
		where = ", column " + quote(answer.ColumnName)
	}
	if answer.ConstraintName != "" {
		where += ", constraint " + quote(answer.ConstraintName)
	}
	return fault.Permanentf("ROW_REFUSED", "mend the row at the source, or the table's definition",
		"%s (SQLSTATE %s) in %s%s, key %s", condition(answer.Code), answer.Code, u.layout.target.name, where, change.KeyText(st.Key))
}

// explain adds to an error what the operator can do, and forgets what an error shows to be out of date.
func (s *Sink) explain(err error) error {
	var rejected sink.Rejected
	if errors.As(err, &rejected) {
		return rejected
	}
	c := code(err)
	role := s.session.User
	switch c {
	case "42501":
		err = fault.Permanent("PERMISSION_DENIED", fmt.Sprintf("GRANT USAGE, CREATE ON SCHEMA %s TO %s, and SELECT, INSERT, UPDATE, DELETE, TRUNCATE on its tables, "+
			"or make the tables beforehand", quote(s.cfg.Schema), quote(role)), err)
	case "3F000":
		err = fault.Permanent("SCHEMA_MISSING", "CREATE SCHEMA "+quote(s.cfg.Schema), err)
	case "42704":
		err = fault.Permanent("TYPE_MISSING", "make the type in the target, or make the table with another type beforehand", err)
	case "42P10":
		err = fault.Permanent("NO_UNIQUE_INDEX", "make a unique index on the source table's key", err)
	case "42P01", "42703", "26000", "42804", "0A000":
		// Somebody altered or dropped a table, or reset the session: look at the catalog again.
		s.targets, s.last = map[name]*target{}, nil
	}
	if fault.IsPermanent(err) {
		return err
	}
	return fmt.Errorf("postgres: %w", err)
}

// unreachable explains why no session could be had. pgconn's messages hold user, host and database, never the password.
func (s *Sink) unreachable(err error) error {
	switch code(err) {
	case "28P01", "28000":
		return fault.Permanent("AUTH_FAILED", "correct connection.username and connection.password, or pg_hba.conf of the target", err)
	case "3D000":
		return fault.Permanent("DATABASE_MISSING", "CREATE DATABASE "+quote(s.session.Database)+", or correct connection.url", err)
	}
	return fmt.Errorf("postgres: %w", err)
}
