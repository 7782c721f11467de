package store

import "context"

// Foreign returns a number that differs from the last one if another program, such as the command line beside the
// server, has written to the database in between; what this Store writes does not change it.
func (s *Store) Foreign(ctx context.Context) (int64, error) {
	var n int64
	// Of the writer's one connection, whose own commits do not count (SQLite, "PRAGMA data_version"). If the pool has
	// opened another one the number may differ without reason, which does no harm.
	err := s.writer.QueryRowContext(ctx, `PRAGMA data_version`).Scan(&n)
	return n, wrap("ask for foreign changes", err)
}
