package postgres

import (
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/tailrace/tailrace/source"
)

// A candidate is a table of the database that the include and exclude lists choose.
type candidate struct {
	oid          uint32
	schema, name string
	parent       string // schema.table of the partitioned table at the root, for a partition
	root         bool   // a partitioned table
	identity     byte   // pg_class.relreplident
	usable       bool   // updates and deletes can be published: there is a replica identity
	readable     bool   // the role has SELECT
	owned        bool   // the role may add the table to a publication
}

func (c candidate) String() string { return c.schema + "." + c.name }

// identityProblem says why a candidate's changes can't be published, with the remedy.
func (c candidate) identityProblem() string {
	why := "has no primary key"
	switch c.identity {
	case 'n':
		why = "has REPLICA IDENTITY NOTHING"
	case 'i':
		why = "has a replica identity index that is not usable"
	}
	return fmt.Sprintf("table %s %s that identifies the rows of its updates and deletes, so it is not captured: publishing it would make "+
		"the application's UPDATE and DELETE fail; run ALTER TABLE %s REPLICA IDENTITY FULL, or give it a primary key",
		c, why, qualified(c.schema, c.name))
}

const candidatesQuery = `
SELECT c.oid, n.nspname::text, c.relname::text, c.relkind = 'p', c.relreplident::text,
       c.relreplident = 'f' OR EXISTS (
           SELECT FROM pg_index i
           WHERE i.indrelid = c.oid AND i.indisvalid AND i.indimmediate
             AND (c.relreplident = 'd' AND i.indisprimary OR c.relreplident = 'i' AND i.indisreplident)),
       has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT'),
       pg_has_role(c.relowner, 'USAGE'),
       COALESCE(rn.nspname::text, ''), COALESCE(r.relname::text, '')
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_class r ON c.relispartition AND r.oid = pg_partition_root(c.oid)
LEFT JOIN pg_namespace rn ON rn.oid = r.relnamespace
WHERE c.relkind IN ('r', 'p') AND c.relpersistence = 'p'
  AND CASE WHEN $1 THEN NOT c.relispartition ELSE c.relkind = 'r' END
ORDER BY n.nspname, c.relname`

// discover lists the tables to capture as the catalog has them now, sorted by name. Where partitions are published under
// their own names, a partition is chosen by its own name or by that of the table at the root. A publication that exists
// decides on that, whatever the configuration says.
func discover(ctx context.Context, conn *pgx.Conn, s *settings) ([]candidate, error) {
	viaRoot := s.PartitionRoot
	err := conn.QueryRow(ctx, "SELECT COALESCE((SELECT pubviaroot FROM pg_publication WHERE pubname = $1), $2)", s.Publication, viaRoot).Scan(&viaRoot)
	if err != nil {
		return nil, err
	}
	rows, err := conn.Query(ctx, candidatesQuery, viaRoot)
	if err != nil {
		return nil, err
	}
	var found []candidate
	var c candidate
	var identity, rootSchema, rootName string
	_, err = pgx.ForEachRow(rows, []any{&c.oid, &c.schema, &c.name, &c.root, &identity, &c.usable, &c.readable, &c.owned,
		&rootSchema, &rootName}, func() error {
		if s.captures(c.schema, c.name) || rootName != "" && s.captures(rootSchema, rootName) {
			c.identity, c.parent = identity[0], ""
			if rootName != "" {
				c.parent = rootSchema + "." + rootName
			}
			found = append(found, c)
		}
		return nil
	})
	return found, err
}

// A wireColumn is a column as the server sends it, in a Relation message or a SELECT.
type wireColumn struct {
	name     string
	typeOID  uint32
	modifier int32
	key      bool // flagged as part of the replica identity; only in Relation messages
}

// A shape is the structure of a table as the stream or the catalog tells it.
type shape struct {
	oid          uint32
	schema, name string
	identity     byte
	streamed     bool // from a Relation message
	columns      []wireColumn
}

// An index is a unique index over plain columns, all of them NOT NULL.
type index struct {
	primary, identity bool
	columns           []string
}

// A detail is what the catalog knows of a table and a shape doesn't tell.
type detail struct {
	notNull map[string]bool
	indexes []index // primary key first
	casts   []string
	types   map[uint32]typeInfo

	defaults    map[string]string // expressions of defaults by column
	comments    map[string]string
	moneyDigits int // digits after the point of money in the locale of the sessions

	partitioned          bool   // the table is the root of partitions
	rootSchema, rootName string // of the partitioned table that it is a partition of
}

type typeInfo struct {
	name   string
	native string // pg_type.typname
	class  byte   // pg_type.typtype: b base, e enum, d domain, c composite, r range, m multirange
	elem   uint32 // element type of a true array whose text has commas between its elements, else 0
	base   uint32 // base type of a domain
	mod    int32  // type modifier of a domain
	labels []string
	space  string // schema of the comparison operators of a type with a btree operator class of its own, else pg_catalog
}

const indexQuery = `
SELECT i.indisprimary, i.indisreplident, k.names
FROM pg_index i, LATERAL (
    SELECT array_agg(a.attname::text ORDER BY o.n) AS names, bool_and(a.attnotnull) AS filled
    FROM unnest(i.indkey::int2[]) WITH ORDINALITY o(attnum, n)
    JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = o.attnum
    WHERE o.n <= i.indnkeyatts) k
WHERE i.indrelid = $1 AND i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL AND k.filled
ORDER BY i.indisprimary DESC, i.indexrelid`

// describe asks the catalog about a shape. The stream may be behind the catalog, so columns are matched by name and what
// is no longer there is simply not known.
func describe(ctx context.Context, conn *pgx.Conn, sh *shape) (*detail, error) {
	d := &detail{notNull: map[string]bool{}, types: map[uint32]typeInfo{}, defaults: map[string]string{}, comments: map[string]string{}}
	var column, expression, comment string
	var notNull bool
	rows, err := conn.Query(ctx, `SELECT a.attname::text, a.attnotnull, COALESCE(pg_get_expr(e.adbin, e.adrelid), ''),
		COALESCE(col_description(a.attrelid, a.attnum), '')
		FROM pg_attribute a LEFT JOIN pg_attrdef e ON e.adrelid = a.attrelid AND e.adnum = a.attnum AND a.attgenerated = ''
		WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped`, sh.oid)
	if err == nil {
		_, err = pgx.ForEachRow(rows, []any{&column, &notNull, &expression, &comment}, func() error {
			if notNull {
				d.notNull[column] = true
			}
			d.defaults[column], d.comments[column] = expression, comment
			return nil
		})
	}
	if err != nil {
		return nil, err
	}
	var ix index
	if rows, err = conn.Query(ctx, indexQuery, sh.oid); err == nil {
		_, err = pgx.ForEachRow(rows, []any{&ix.primary, &ix.identity, &ix.columns}, func() error {
			d.indexes = append(d.indexes, index{ix.primary, ix.identity, slices.Clone(ix.columns)})
			return nil
		})
	}
	if err != nil {
		return nil, err
	}
	err = conn.QueryRow(ctx, `SELECT COALESCE(bool_or(c.relkind = 'p'), false), COALESCE(max(n.nspname::text), ''),
		COALESCE(max(r.relname::text), '')
		FROM pg_class c
		LEFT JOIN pg_class r ON c.relispartition AND r.oid = pg_partition_root(c.oid)
		LEFT JOIN pg_namespace n ON n.oid = r.relnamespace
		WHERE c.oid = $1`, sh.oid).Scan(&d.partitioned, &d.rootSchema, &d.rootName)
	if err != nil {
		return nil, err
	}
	if err := d.describeTypes(ctx, conn, sh); err != nil {
		return nil, err
	}
	if slices.ContainsFunc(sh.columns, func(c wireColumn) bool { return d.baseType(c.typeOID) == oidMoney }) {
		err = conn.QueryRow(ctx, `SELECT scale(1::money::numeric)`).Scan(&d.moneyDigits)
	}
	return d, err
}

const typesQuery = `
SELECT t.oid, t.typname::text, CASE WHEN n.nspname = 'pg_catalog' THEN format_type(t.oid, NULL) ELSE t.typname::text END, t.typtype::text,
       CASE WHEN EXISTS (SELECT FROM pg_type e WHERE e.oid = t.typelem AND e.typarray = t.oid AND e.typdelim = ',') THEN t.typelem ELSE 0 END,
       t.typbasetype, t.typtypmod,
       ARRAY(SELECT enumlabel::text FROM pg_enum e WHERE e.enumtypid = t.oid ORDER BY e.enumsortorder),
       COALESCE((SELECT s.nspname::text FROM pg_opclass k JOIN pg_am m ON m.oid = k.opcmethod AND m.amname = 'btree'
           JOIN pg_amop a ON a.amopfamily = k.opcfamily AND a.amoplefttype = t.oid AND a.amoprighttype = t.oid AND a.amopstrategy = 5
           JOIN pg_operator o ON o.oid = a.amopopr JOIN pg_namespace s ON s.oid = o.oprnamespace
           WHERE k.opcintype = t.oid AND k.opcdefault LIMIT 1), 'pg_catalog')
FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
WHERE t.oid = ANY($1::oid[])`

func (d *detail) describeTypes(ctx context.Context, conn *pgx.Conn, sh *shape) error {
	oids, mods := make([]uint32, len(sh.columns)), make([]int32, len(sh.columns))
	for i, c := range sh.columns {
		oids[i], mods[i] = c.typeOID, c.modifier
	}
	var cast string
	rows, err := conn.Query(ctx, `SELECT format_type(u.o, u.m) FROM unnest($1::oid[], $2::int4[]) WITH ORDINALITY u(o, m, n)
		ORDER BY u.n`, oids, mods)
	if err == nil {
		_, err = pgx.ForEachRow(rows, []any{&cast}, func() error { d.casts = append(d.casts, cast); return nil })
	}
	for err == nil && len(oids) > 0 { // element types of arrays and base types of domains follow
		var next []uint32
		var oid uint32
		var class string
		var info typeInfo
		if rows, err = conn.Query(ctx, typesQuery, oids); err != nil {
			break
		}
		_, err = pgx.ForEachRow(rows, []any{&oid, &info.native, &info.name, &class, &info.elem, &info.base, &info.mod, &info.labels, &info.space}, func() error {
			info.class = class[0]
			info.labels = slices.Clone(info.labels)
			d.types[oid] = info
			for _, o := range []uint32{info.elem, info.base} {
				if _, known := d.types[o]; o != 0 && !known {
					next = append(next, o)
				}
			}
			return nil
		})
		oids = next
	}
	return err
}

// keyColumns chooses the columns of a table's key, in key order: the replica identity's, and where that is the whole row,
// the primary key or else a unique index over NOT NULL columns. None: the table has no key.
func (d *detail) keyColumns(sh *shape) []string {
	var flagged []string
	for _, c := range sh.columns {
		if c.key {
			flagged = append(flagged, c.name)
		}
	}
	byIdentity := sh.streamed && (sh.identity == 'd' || sh.identity == 'i') && len(flagged) > 0
	for _, ix := range d.indexes {
		if sh.identity == 'i' && !ix.identity {
			continue
		}
		if byIdentity && !source.SameColumns(ix.columns, flagged) {
			continue
		}
		if sh.has(ix.columns) {
			return ix.columns
		}
	}
	if byIdentity {
		return flagged // the catalog has moved on: the flags are what the rows were written with
	}
	return nil
}

func (sh *shape) has(names []string) bool {
	for _, n := range names {
		if !slices.ContainsFunc(sh.columns, func(c wireColumn) bool { return c.name == n }) {
			return false
		}
	}
	return true
}

// baseType follows domains down to their base type.
func (d *detail) baseType(oid uint32) uint32 {
	for {
		info, ok := d.types[oid]
		if !ok || info.class != 'd' || info.base == 0 {
			return oid
		}
		oid = info.base
	}
}

// space returns the quoted schema of a type's comparison operators.
func (d *detail) space(oid uint32) string {
	if info, ok := d.types[d.baseType(oid)]; ok {
		return ident(info.space)
	}
	return "pg_catalog"
}
