package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/tailrace/tailrace/source"
)

// act runs heartbeat.action.query every interval while a stream is open, until ctx is done.
func (s *Source) act(ctx context.Context) {
	streams := func() bool {
		st := s.stream.Load()
		return st != nil && !st.isClosed()
	}
	source.Act(ctx, s.settings.Heartbeat, s.log, streams, func() error {
		return s.action.do(ctx, func(conn *pgx.Conn) error {
			_, err := conn.PgConn().Exec(ctx, s.settings.HeartbeatQuery).ReadAll()
			return err
		})
	})
}
