package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tailrace/tailrace/internal/compare"
)

// pgDialect is PostgreSQL. filtered publications are made by the connectors, for the tables that there are; the others are there
// before and are for all tables.
type pgDialect struct {
	pgFamily
	filtered bool
}

var _ dialect = pgDialect{}

func (d pgDialect) create(ctx context.Context, name string, statements []string) error {
	if err := compare.Exec(ctx, d.server.URL, "CREATE DATABASE "+name); err != nil {
		return err
	}
	if !d.filtered {
		for _, connector := range []string{modelStream, modelWoven, modelCopy} {
			statements = append(statements, "CREATE PUBLICATION "+name+connector+" FOR ALL TABLES WITH (publish_via_partition_root)")
		}
	}
	return compare.Exec(ctx, d.url(name), "CREATE TYPE mood AS ENUM ('sad', 'o''k', 'Zoë'); CREATE DOMAIN evens AS int CHECK (value % 2 = 0);"+strings.Join(statements, ";"))
}

func (d pgDialect) tablesCome() bool { return !d.filtered }

func (d pgDialect) enter(ctx context.Context, name string, _ int) (session, error) {
	return d.connect(ctx, name)
}

func (pgDialect) partial(t *modelTable, _ int) bool {
	return slices.ContainsFunc(t.columns, func(c modelColumn) bool { return c.typ.large })
}

func (d pgDialect) stale(err error) bool {
	var e *pgconn.PgError
	return d.refused(err) || errors.As(err, &e) && slices.Contains([]string{
		"42P01", "42703", // no such table, no such column
		"40001",          // a row moved to another partition
		"0A000", "25P02", // the plan's result has another type; the transaction has failed before
	}, e.Code)
}

func (pgDialect) literal(_ *modelType, text string) string {
	return "'" + strings.ReplaceAll(text, "'", "''") + "'"
}

func (pgDialect) insertIfAbsent(table, columns, tuple string) string {
	return fmt.Sprintf("INSERT INTO %s (%s) VALUES %s ON CONFLICT DO NOTHING", table, columns, tuple)
}

// bulk implements dialect, by COPY, which writes partition by partition and so in no order that the model knows.
func (pgDialect) bulk(ctx context.Context, c *modelClient, t *modelTable, columns []modelColumn, rows [][]*string) error {
	if t.partitioned {
		return c.values(ctx, t, columns, rows)
	}
	var b strings.Builder
	escape := strings.NewReplacer(`\`, `\\`, "\t", `\t`, "\n", `\n`, "\r", `\r`)
	for _, row := range rows {
		for i, text := range row {
			if i > 0 {
				b.WriteByte('\t')
			}
			if text == nil {
				b.WriteString(`\N`)
			} else {
				b.WriteString(escape.Replace(*text))
			}
		}
		b.WriteByte('\n')
	}
	_, err := c.conn.(pgSession).PgConn().CopyFrom(ctx, strings.NewReader(b.String()), fmt.Sprintf("COPY %s (%s) FROM STDIN", t.name, columnNames(columns)))
	return err
}

func (pgDialect) renameColumn(t *modelTable, from modelColumn, to string) string {
	return fmt.Sprintf("ALTER TABLE %s RENAME COLUMN %s TO %s", t.name, from.name, to)
}

func (pgDialect) retype(t *modelTable, to modelColumn) string {
	return fmt.Sprintf("ALTER TABLE %s ALTER COLUMN %s TYPE %s USING %[2]s::text::%[3]s", t.name, to.name, strings.TrimSuffix(to.typ.sql, " STORAGE EXTERNAL"))
}

func (pgDialect) transactionalDDL() bool { return true }

func (pgDialect) schema(string) string { return "public" }

func (d pgDialect) side(name string) compare.Side {
	return compare.NewPostgres("source", d.url(name), nil)
}

func (d pgDialect) connector(name, connector string) map[string]string {
	mode := "disabled"
	if d.filtered {
		mode = "filtered"
	}
	return map[string]string{"publication.autocreate.mode": mode, "connector.class": "postgres", "database.hostname": "127.0.0.1", "database.port": fmt.Sprint(d.server.Port),
		"database.user": "postgres", "database.dbname": name, "slot.name": connector, "publication.name": connector, "publish.via.partition.root": "true",
		"table.include.list": `public\..*`}
}

func (d pgDialect) interrupt(ctx context.Context, name string) (n int, err error) {
	s, err := d.connect(ctx, name)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, s.close(ctx)) }()
	gone, err := s.numbers(ctx, "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = current_database() AND application_name ILIKE '%tailrace%'")
	if err != nil {
		return 0, err
	}
	return int(gone[0]), nil
}

// transaction implements dialect: numbers of transactions don't follow their commits.
func (pgDialect) transaction(source []byte) (id string, number int64, err error) {
	id, err = compare.Member(source, "txId")
	return id, 0, err
}

// variant implements dialect: the replica identity, and partitions.
func (pgDialect) variant(k *modelKey, r *rand.Rand) (v modelVariant) {
	if k.name == "index" {
		return v
	}
	full := k.clause == "" || r.IntN(3) == 0
	if full {
		v.after = "ALTER TABLE %s REPLICA IDENTITY FULL"
	}
	if k.clause == "" || r.IntN(4) > 0 {
		return v
	}
	v.partitioned, v.options = true, " PARTITION BY HASH ("+k.columns[0].name+")"
	for i, part := range []string{"%s_a", "%s_b"} {
		v.after += fmt.Sprintf("; CREATE TABLE %s PARTITION OF %%s FOR VALUES WITH (MODULUS 2, REMAINDER %d)", part, i)
		if full {
			v.after += "; ALTER TABLE " + part + " REPLICA IDENTITY FULL"
		}
	}
	v.after = strings.TrimPrefix(v.after, "; ")
	return v
}
