package mysql

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/tailrace/tailrace/config"
	"github.com/tailrace/tailrace/internal/fault"
	"github.com/tailrace/tailrace/source"
)

// preflight connects and reports what on the server would keep the connector from working, or makes it depend on luck. It
// only reads. That the user may replicate is found out by a connection that is listed among the replicas while it is open.
func preflight(ctx context.Context, setup source.Setup, f flavor) []config.Problem {
	s, problems := parse(setup.Props)
	if len(problems) > 0 {
		return problems
	}
	c := &checkup{settings: s, flavor: f}
	control := &session{settings: s}
	err := control.do(ctx, c.run)
	if err = errors.Join(err, control.close()); err != nil {
		c.fail(err)
	}
	return c.problems
}

// checkup collects what a preflight finds.
type checkup struct {
	settings *settings
	flavor   flavor
	id       *identity
	account  string // whom the server has logged in, as GRANT names it
	problems []config.Problem
}

func (c *checkup) report(key, format string, args ...any) {
	c.problems = append(c.problems, config.Problem{Key: key, Message: fmt.Sprintf(format, args...)})
}

// fail reports an error under the property that it is about.
func (c *checkup) fail(err error) {
	key := map[string]string{"AUTH_FAILED": "database.password", "PERMISSION_DENIED": "database.user", "WRONG_SERVER": "connector.class"}[fault.Code(err)]
	if key == "" {
		key = "database.hostname"
	}
	var f *fault.Error
	if errors.As(err, &f) {
		c.report(key, "%v; %s", f.Err, f.Remedy)
		return
	}
	c.report(key, "%v", err)
}

// run makes all checks. One that can't be made because of an earlier problem is left out.
func (c *checkup) run(db *conn) error {
	var err error
	if c.id, err = identify(db, c.flavor); err != nil {
		return err
	}
	for _, check := range []func(*conn) error{c.user, c.log, c.metadata, c.expiry, c.gtid, c.grants, c.tables} {
		if err := check(db); err != nil {
			return err
		}
	}
	return nil
}

// user asks who we are: the same name at another host is another user.
func (c *checkup) user(db *conn) error {
	r, err := db.row("SELECT CURRENT_USER()")
	if err != nil {
		return err
	}
	at := strings.LastIndexByte(r[0], '@')
	if at < 0 {
		return fmt.Errorf("the server says that the user is %q", r[0])
	}
	c.account = quoted(r[0][:at]) + "@" + quoted(r[0][at+1:])
	return nil
}

// log looks whether the server logs rows, and whole ones.
func (c *checkup) log(db *conn) error {
	if !c.id.logBin {
		c.report("database.hostname", "the server writes no binary log; %s", logBinRemedy)
	}
	r, err := db.row("SELECT @@global.binlog_format, @@global.binlog_row_image, @@global.server_id")
	if err != nil {
		return err
	}
	if r[0] != "ROW" {
		c.report("database.hostname", "binlog_format is %s; %s", r[0], formatRemedy)
	}
	if r[1] != "FULL" {
		c.report("database.hostname", "binlog_row_image is %s, so that updates come without the columns that they leave unchanged; run "+
			"SET GLOBAL binlog_row_image = 'FULL' and put it into the configuration file", r[1])
	}
	if r[2] == "0" {
		c.report("database.hostname", "server_id is 0, with which no replica is served; run SET GLOBAL server_id = 1 and put it into the configuration file")
	}
	return nil
}

// metadata looks whether the structure of tables comes with their rows.
func (c *checkup) metadata(db *conn) error {
	r, err := db.row("SHOW GLOBAL VARIABLES LIKE 'binlog_row_metadata'")
	switch {
	case err != nil:
		return err
	case r == nil:
		c.report("database.hostname", "the server can't log the structure of tables (MySQL 8.0.1 and MariaDB 10.5 can): it is followed through the DDL statements in the "+
			"binary log, and a table of which that fails is copied again; upgrade the server")
	case r[1] != "FULL":
		c.report("database.hostname", "binlog_row_metadata is %s: the structure of tables is followed through the DDL statements in the binary log, and a table of "+
			"which that fails is copied again; run SET GLOBAL binlog_row_metadata = 'FULL' and put it into the configuration file", r[1])
	}
	return nil
}

// shortest is how long binary logs should be kept: a connector may be down over a weekend.
const shortest = 3 * 24 * 3600

// expiry looks how long binary logs are kept.
func (c *checkup) expiry(db *conn) error {
	rows, err := db.rows("SHOW GLOBAL VARIABLES WHERE Variable_name IN ('expire_logs_days', 'binlog_expire_logs_seconds', 'binlog_expire_logs_auto_purge')")
	if err != nil {
		return err
	}
	var seconds float64
	set, name := "", ""
	for _, r := range rows {
		n, err := strconv.ParseFloat(r[1], 64)
		switch {
		case r[0] == "binlog_expire_logs_auto_purge" && r[1] == "OFF":
			return nil
		case err != nil || n == 0:
		case r[0] == "binlog_expire_logs_seconds":
			seconds, set, name = n, "604800", r[0]
		case r[0] == "expire_logs_days" && seconds == 0:
			seconds, set, name = n*24*3600, "7", r[0]
		}
	}
	if seconds > 0 && seconds < shortest {
		c.report("database.hostname", "binary logs are kept for %.1f hours: a connector that is down for longer has to copy all tables again; run "+
			"SET GLOBAL %s = %s and put it into the configuration file", seconds/3600, name, set)
	}
	return nil
}

// gtid looks whether a failover to another server is possible.
func (c *checkup) gtid(db *conn) error {
	if c.id.gtid {
		return nil
	}
	r, err := db.row("SELECT @@global.gtid_mode")
	if err != nil {
		return err
	}
	steps := []string{"OFF", "OFF_PERMISSIVE", "ON_PERMISSIVE", "ON"}
	sql := "SET GLOBAL enforce_gtid_consistency = ON"
	for _, step := range steps[slices.Index(steps, r[0])+1:] {
		sql += "; SET GLOBAL gtid_mode = " + step
	}
	c.report("database.hostname", "gtid_mode is %s: the position is a file's name, which means nothing on another server after a failover, and snapshots are slower; run %s, "+
		"and put gtid_mode = ON and enforce_gtid_consistency = ON into the configuration file", r[0], sql)
	return nil
}

// grants looks whether the user may read the binary log.
func (c *checkup) grants(db *conn) error {
	replication := "run GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO " + c.account
	if _, err := readStatus(db); err != nil && !fault.IsPermanent(err) {
		if !refusal(err) {
			return err
		}
		c.report("database.user", "user %s may not ask where the binary log is (%v); %s", c.settings.User, err, replication)
	}
	err := c.mayReplicate(db)
	if refusal(err) {
		c.report("database.user", "user %s may not replicate (%v); %s", c.settings.User, err, replication)
		err = nil
	}
	return err
}

// mayReplicate fails as a dump would for want of a privilege. MySQL asks for it here, too; registering with it and leaving would
// let SHOW SLAVE HOSTS read freed memory (see [Source.request]). MariaDB asks for less here, and forgets who leaves.
func (c *checkup) mayReplicate(db *conn) error {
	if c.flavor == mysqld {
		_, err := db.rows("SHOW BINLOG EVENTS LIMIT 0")
		return err
	}
	other, err := dial(context.Background(), c.settings, c.settings.Connect)
	if err != nil {
		return err
	}
	probe := &Source{settings: c.settings, flavor: c.flavor, instance: newUUID()}
	if err = probe.sendRegister(other, 1<<32-1); err == nil {
		_, err = other.packet()
	}
	return errors.Join(err, ignoreClosed(other.Close()))
}

// tables looks whether the captured tables are there and can be read.
func (c *checkup) tables(db *conn) error {
	found, err := discover(db, c.settings)
	if err != nil {
		return err
	}
	for _, entry := range c.settings.TableInclude.Entries() {
		p, err := config.ParsePatterns(entry)
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(found, func(t candidate) bool { return p.Match(t.String()) }) {
			c.report("table.include.list", "%q matches no table that user %s can see; create the table, correct the name (database.table), or run GRANT SELECT ON %s TO %s",
				entry, c.settings.User, grantTarget(entry), c.account)
		}
	}
	if len(found) == 0 && c.settings.TableInclude.Empty() {
		c.report("table.include.list", "the server has no table to capture that user %s can see; create one, correct the include and exclude lists, or run GRANT SELECT ON *.* TO %s",
			c.settings.User, c.account)
	}
	for _, t := range found {
		if _, err := db.rows("SELECT 1 FROM " + qualified(t.database, t.table) + " LIMIT 0"); refusal(err) {
			c.report("database.user", "user %s may not read table %s (%v); run GRANT SELECT ON %s TO %s", c.settings.User, t, err,
				qualified(t.database, t.table), c.account)
		} else if err != nil {
			return err
		}
	}
	return nil
}

// grantTarget is what to grant for an entry of the include list.
func grantTarget(entry string) string {
	database, table, ok := strings.Cut(strings.ReplaceAll(entry, `\`, ""), ".")
	if !ok || strings.ContainsAny(entry, "*+?[](){}|^$") {
		return "*.*"
	}
	return qualified(database, table)
}
