package postgres

import (
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"
)

// A service runs servers for others: settings are changed by its own means, ALTER SYSTEM is nobody's. The zero service is a server of
// one's own.
type service struct {
	mark    string // a role that its servers have
	decode  string // what lets the server decode
	setting string // where the settings are
	grant   string // a role that may replicate without the attribute; "": there is none
}

// services are those that are known.
func services() []service {
	return []service{
		{"rds_superuser", "set rds.logical_replication = 1 in the instance's parameter group (Amazon RDS, Aurora) and reboot it", "the instance's parameter group", "rds_replication"},
		{"cloudsqlsuperuser", "set the flag cloudsql.logical_decoding = on (Google Cloud SQL), which restarts the instance", "the instance's flags", ""},
		{"alloydbsuperuser", "set the flag alloydb.logical_decoding = on (Google AlloyDB), which restarts the instance", "the instance's flags", ""},
		{"azure_pg_admin", "set the server parameter wal_level to logical (Azure) and restart the server", "the server parameters", ""},
	}
}

// serviceOf tells by its roles which service runs the server.
func serviceOf(ctx context.Context, conn *pgx.Conn) (service, error) {
	known := services()
	marks := make([]string, len(known))
	for i := range known {
		marks[i] = known[i].mark
	}
	var mark string
	err := conn.QueryRow(ctx, "SELECT COALESCE(min(rolname::text), '') FROM pg_roles WHERE rolname = ANY($1)", marks).Scan(&mark)
	if i := slices.Index(marks, mark); i >= 0 {
		return known[i], err
	}
	return service{}, err
}

// letDecode says what to do where wal_level is too low.
func (s service) letDecode() string {
	if s.decode != "" {
		return s.decode
	}
	return walLevelRemedy
}

// raise says how to set a setting that takes a restart.
func (s service) raise(setting string, value int) string {
	if s.setting != "" {
		return fmt.Sprintf("set %s = %d in %s and restart the server", setting, value, s.setting)
	}
	return fmt.Sprintf("run ALTER SYSTEM SET %s = %d and restart the server", setting, value)
}

// letReplicate says how to give a role the right to replicate.
func (s service) letReplicate(role string) string {
	if s.grant != "" {
		return "run GRANT " + ident(s.grant) + " TO " + ident(role)
	}
	return "run ALTER ROLE " + ident(role) + " REPLICATION"
}

// replicates reports whether the current role may replicate: by its attribute, or by being a member of the service's role for it.
func (s service) replicates(ctx context.Context, conn *pgx.Conn) (may bool, err error) {
	err = conn.QueryRow(ctx, `SELECT rolreplication OR rolsuper OR EXISTS (SELECT FROM pg_roles g WHERE g.rolname = $1 AND pg_has_role(g.oid, 'MEMBER'))
		FROM pg_roles WHERE rolname = current_user`, s.grant).Scan(&may)
	return may, err
}
