package mysql

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/go-mysql-org/go-mysql/mysql"

	"github.com/tailrace/tailrace/internal/fault"
	"github.com/tailrace/tailrace/source/mysql/binlog"
)

// A candidate is a table that the lists capture.
type candidate struct {
	database, table string
	engine          string
	rows            int64 // about, -1 if not known
}

func (c candidate) String() string { return c.database + "." + c.table }

// discover lists the tables that the include and exclude lists capture, by name. Views and sequences are none.
func discover(c *conn, s *settings) ([]candidate, error) {
	rows, err := c.rows(`SELECT TABLE_SCHEMA, TABLE_NAME, ENGINE, TABLE_ROWS FROM information_schema.TABLES
		WHERE TABLE_TYPE IN ('BASE TABLE', 'SYSTEM VERSIONED')
		AND TABLE_SCHEMA NOT IN ('mysql', 'information_schema', 'performance_schema', 'sys') ORDER BY TABLE_SCHEMA, TABLE_NAME`)
	if err != nil {
		return nil, err
	}
	var found []candidate
	for _, r := range rows {
		if !s.captures(r[0], r[1]) {
			continue
		}
		n, err := strconv.ParseInt(r[3], 10, 64)
		if err != nil {
			n = -1
		}
		found = append(found, candidate{r[0], r[1], r[2], n})
	}
	return found, nil
}

// A detail is what the catalog knows of a table now. It is immutable.
type detail struct {
	columns   []binlog.Column
	extra     []columnExtra // as columns
	uniques   [][]string    // keys of unique indexes over NOT NULL columns, the primary key first
	primary   []string      // columns of the primary key
	end       string        // of a system-versioned table (MariaDB): the column that says until when a row counts
	hidden    bool          // that column and its start are not among columns: row_start, row_end
	comment   string
	charset   string // the table's default
	signature string
}

// Columns that MariaDB gives a table WITH SYSTEM VERSIONING that names none of its own. The binary log has them, the catalog has not.
const (
	hiddenStart = "row_start"
	hiddenEnd   = "row_end"
)

// A columnExtra is what tells more of a column than its type.
type columnExtra struct {
	columnType string
	hasDefault bool
	def        string // the default as the catalog has it
	quotes     bool   // the catalog has constants that are strings in quotation marks
	expression bool   // the default is one
	auto       bool
	generated  bool
	virtual    bool
	comment    string
}

// The questions about the tables of a database, or one of them. Rows begin with the table's name.
const (
	columnsQuery = `SELECT TABLE_NAME, COLUMN_NAME, COLUMN_TYPE, COALESCE(CHARACTER_SET_NAME, ''), IS_NULLABLE, COLUMN_DEFAULT IS NOT NULL,
	COALESCE(COLUMN_DEFAULT, ''), EXTRA, COLUMN_COMMENT, COALESCE(COLLATION_NAME, ''), COALESCE(GENERATION_EXPRESSION, '')
	FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = %s%s ORDER BY TABLE_NAME, ORDINAL_POSITION`
	// A prefix index (SUB_PART) is as unique as one of whole columns.
	indexesQuery = `SELECT TABLE_NAME, INDEX_NAME, COLUMN_NAME, COALESCE(NULLABLE, '') FROM information_schema.STATISTICS
	WHERE TABLE_SCHEMA = %s%s AND NON_UNIQUE = 0 ORDER BY TABLE_NAME, INDEX_NAME <> 'PRIMARY', INDEX_NAME, SEQ_IN_INDEX`
	tableQuery = `SELECT TABLE_NAME, TABLE_COMMENT, COALESCE(CCSA.CHARACTER_SET_NAME, ''), COALESCE(TABLE_COLLATION, ''), TABLE_TYPE
	FROM information_schema.TABLES T LEFT JOIN information_schema.COLLATION_CHARACTER_SET_APPLICABILITY CCSA
	ON CCSA.%s = T.TABLE_COLLATION WHERE TABLE_SCHEMA = %s%s`
)

// describe asks the catalog about a table. A table that is not there gives nil. The catalog takes no part in transactions, so
// it is asked until a table did not change meanwhile.
func describe(c *conn, f flavor, database, table string) (*detail, error) {
	for {
		// An equation is what servers answer without a look at all tables, under names as they compare them.
		answers, err := askCatalog(c, f, database, " AND TABLE_NAME = "+quoted(table))
		if err != nil {
			return nil, err
		}
		for i, rows := range answers {
			for k := range rows {
				answers[i][k] = rows[k][1:]
			}
		}
		if columns := answers[0]; len(columns) == 0 {
			return nil, nil
		} else if !slices.EqualFunc(columns, answers[3], slices.Equal) {
			continue
		}
		if len(answers[2]) == 0 {
			return nil, nil // it is gone
		}
		d, err := newDetail(f, answers[0], answers[1], answers[2][0])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", tableRef{database, table}, err)
		}
		return d, nil
	}
}

// fewTables is how many tables of a database are asked about one by one; where there are more all of it is read at once.
const fewTables = 20

// describeTables is describe for tables of a database, under the names that the catalog has for them.
func describeTables(c *conn, f flavor, database string, tables []string) (map[string]*detail, error) {
	found := map[string]*detail{}
	if len(tables) > fewTables {
		answers, err := askCatalog(c, f, database, "")
		if err != nil {
			return nil, err
		}
		columns, indexes, heads, again := byTable(answers[0]), byTable(answers[1]), byTable(answers[2]), byTable(answers[3])
		var changed []string
		for _, name := range tables {
			if !slices.EqualFunc(columns[name], again[name], slices.Equal) || len(columns[name]) == 0 || len(heads[name]) == 0 {
				changed = append(changed, name)
				continue
			}
			if found[name], err = newDetail(f, columns[name], indexes[name], heads[name][0]); err != nil {
				return nil, fmt.Errorf("%s: %w", tableRef{database, name}, err)
			}
		}
		tables = changed
	}
	for _, name := range tables {
		d, err := describe(c, f, database, name)
		if err != nil {
			return nil, err
		}
		if d != nil {
			found[name] = d
		}
	}
	return found, nil
}

// askCatalog asks for columns, indexes, tables, and once more for columns.
func askCatalog(c *conn, f flavor, database, only string) (answers [4][][]string, err error) {
	collation := "COLLATION_NAME"
	if f == mariadb {
		collation = "FULL_COLLATION_NAME"
	}
	of := quoted(database)
	columns := fmt.Sprintf(columnsQuery, of, only)
	for i, sql := range []string{columns, fmt.Sprintf(indexesQuery, of, only), fmt.Sprintf(tableQuery, collation, of, only), columns} {
		if answers[i], err = c.rows(sql); err != nil {
			break
		}
	}
	return answers, err
}

// byTable parts rows by the name of a table that they begin with, and cuts that off.
func byTable(rows [][]string) map[string][][]string {
	parts := map[string][][]string{}
	for _, r := range rows {
		parts[r[0]] = append(parts[r[0]], r[1:])
	}
	return parts
}

// newDetail makes the detail of a table of what the catalog has answered.
func newDetail(f flavor, columns, indexes [][]string, table []string) (*detail, error) {
	d := &detail{comment: table[0], charset: table[1]}
	var sig strings.Builder
	for _, r := range columns {
		col, err := binlog.ParseColumn(r[0], r[1], r[2], r[3] == "YES")
		if err != nil {
			return nil, err
		}
		x := columnExtra{columnType: r[1], hasDefault: r[4] == "1", def: r[5], quotes: f == mariadb, comment: r[7]}
		x.read(strings.ToLower(r[6]))
		col.Invisible = strings.Contains(strings.ToUpper(r[6]), "INVISIBLE")
		if r[9] == "ROW END" {
			d.end = r[0]
		}
		d.columns, d.extra = append(d.columns, col), append(d.extra, x)
		fmt.Fprintf(&sig, "%q %q %q %s;", r[0], r[1], r[8], r[3])
	}
	d.indexes(indexes, &sig)
	if table[3] == "SYSTEM VERSIONED" && d.end == "" {
		d.end, d.hidden = hiddenEnd, true
	}
	d.signature = sig.String()
	return d, nil
}

// read takes apart what EXTRA says.
func (x *columnExtra) read(extra string) {
	x.auto = strings.Contains(extra, "auto_increment")
	x.virtual = strings.Contains(extra, "virtual")
	x.expression = strings.Contains(extra, "default_generated")
	x.generated = strings.Contains(extra, "generated") && !strings.Contains(extra, "default_generated")
}

// indexes takes the unique indexes whose columns are all NOT NULL.
func (d *detail) indexes(rows [][]string, sig *strings.Builder) {
	for i := 0; i < len(rows); {
		var columns []string
		usable := true
		name := rows[i][0]
		for ; i < len(rows) && rows[i][0] == name; i++ {
			fmt.Fprintf(sig, "%q %q;", name, rows[i][1])
			if rows[i][1] == d.end {
				continue // of the rows that count now there is one without it, too
			}
			columns = append(columns, rows[i][1])
			usable = usable && rows[i][2] == "" && d.column(rows[i][1]) >= 0
		}
		if usable = usable && len(columns) > 0; usable {
			d.uniques = append(d.uniques, columns)
		}
		if name == "PRIMARY" {
			d.primary = columns
		}
	}
}

// column returns the index of the named column, or -1.
func (d *detail) column(name string) int {
	return slices.IndexFunc(d.columns, func(c binlog.Column) bool { return c.Name == name })
}

// identity is who a server is, and what of it decides how its binary log is read.
type identity struct {
	name    string // server_uuid; on MariaDB, which has none, its id and where it keeps its data
	version string
	gtid    bool // transactions have global identifiers
	logBin  bool
}

// identify asks a server who it is, and refuses one that is of the other family.
func identify(c *conn, f flavor) (*identity, error) {
	r, err := c.row("SELECT @@version, @@log_bin, @@server_id, @@hostname, @@port, @@datadir")
	if err != nil {
		return nil, err
	}
	id := &identity{version: r[0], logBin: r[1] == "1"}
	isMaria := strings.Contains(strings.ToLower(r[0]), "mariadb")
	if isMaria != (f == mariadb) {
		return nil, fault.Permanentf("WRONG_SERVER", "use connector.class mariadb for MariaDB and mysql for MySQL", "the server is %s, the connector is for %s", r[0], f)
	}
	if f == mariadb {
		id.name, id.gtid = fmt.Sprintf("%s@%s:%s%s", r[2], r[3], r[4], r[5]), true
		return id, nil
	}
	if r, err = c.row("SELECT @@server_uuid, @@global.gtid_mode"); err != nil {
		return nil, err
	}
	id.name, id.gtid = r[0], strings.HasPrefix(r[1], "ON")
	return id, nil
}

// status is where a server's binary log ends.
type status struct {
	file  string
	pos   uint64
	gtids string // MySQL: what is executed
}

func (s status) coordinate() coordinate { return coordinateOf(s.file, s.pos) }

// readStatus asks where the binary log ends. Everything that is committed is before that.
func readStatus(c *conn) (status, error) {
	rows, err := c.rows("SHOW MASTER STATUS")
	if err != nil && refusal(err) { // MySQL 8.4 and later
		var again error
		if rows, again = c.rows("SHOW BINARY LOG STATUS"); unknownStatement(err) {
			err = again
		}
		if again != nil {
			return status{}, err
		}
	} else if err != nil {
		return status{}, err
	}
	if len(rows) == 0 {
		return status{}, fault.Permanentf("LOG_BIN_OFF", logBinRemedy, "the server writes no binary log")
	}
	st := status{file: rows[0][0]}
	if st.pos, err = strconv.ParseUint(rows[0][1], 10, 64); err != nil {
		return st, err
	}
	if _, ok := fileNumber(st.file); !ok {
		return st, fmt.Errorf("the server names its binary log %q, which has no number", st.file)
	}
	if len(rows[0]) > 4 {
		st.gtids = strings.ReplaceAll(rows[0][4], "\n", "")
	}
	return st, nil
}

// unknownStatement reports whether the server does not know the statement.
func unknownStatement(err error) bool {
	var e *mysql.MyError
	return errors.As(err, &e) && e.Code == mysql.ER_PARSE_ERROR
}

// placeAnswers is how often a server is asked for the place of a snapshot.
const placeAnswers = 4

// snapshotPosition returns the place in the binary log of the consistent snapshot that the session has begun (MariaDB): the first and
// the last of several answers, which are the same but for rare cases. The server hands it over in variables that its sessions
// share, so that a SHOW STATUS of another one at the same moment, as monitors send them, makes it tell the end of the log or the
// place of another snapshot.
func snapshotPosition(c *conn) (first, last status, err error) {
	for n := range placeAnswers {
		at, err := askSnapshotPosition(c)
		if err != nil {
			return first, last, err
		}
		if n == 0 || at.coordinate() < first.coordinate() {
			first = at
		}
		if n == 0 || at.coordinate() > last.coordinate() {
			last = at
		}
	}
	return first, last, nil
}

func askSnapshotPosition(c *conn) (status, error) {
	rows, err := c.rows("SHOW STATUS LIKE 'binlog_snapshot_%'")
	if err != nil {
		return status{}, err
	}
	var st status
	for _, r := range rows {
		switch strings.ToLower(r[0]) {
		case "binlog_snapshot_file":
			st.file = r[1]
		case "binlog_snapshot_position":
			if st.pos, err = strconv.ParseUint(r[1], 10, 64); err != nil {
				return st, err
			}
		}
	}
	if st.file == "" || st.file == "none" {
		return st, fault.Permanentf("LOG_BIN_OFF", logBinRemedy, "the server writes no binary log")
	}
	return st, nil
}

// gtidsAt returns the transactions up to a place in the binary log (MariaDB). The server reads that file from its beginning for it, which
// may take seconds.
func gtidsAt(c *conn, at status) (*mariaSet, error) {
	r, err := c.row(fmt.Sprintf("SELECT BINLOG_GTID_POS(%s, %d)", quoted(at.file), at.pos))
	if err != nil {
		return nil, err
	}
	return parseMariaSet(r[0])
}

// gtidsNow returns the transactions that are in the binary log now (MariaDB).
func gtidsNow(c *conn) (*mariaSet, error) {
	r, err := c.row("SELECT @@GLOBAL.gtid_binlog_pos")
	if err != nil {
		return nil, err
	}
	return parseMariaSet(r[0])
}

const logBinRemedy = "add log_bin and server_id to the server's configuration file and restart it"
