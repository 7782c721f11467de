package store

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"syscall"

	"github.com/pressly/goose/v3"
)

// A folder a dialect: PostgreSQL gets its own beside this one, with the same numbers.
//
//go:embed migrations/sqlite/*.sql
var migrations embed.FS

// migrate brings the schema up to date. The file lock is held meanwhile, since two programs that open an empty
// folder at once (the server and `user add`) would both create the tables.
func migrate(ctx context.Context, db *sql.DB, lockPath string, log *slog.Logger) (err error) {
	lock, err := os.OpenFile(lockPath, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("lock the schema: %w", err)
	}
	defer func() { err = errors.Join(err, lock.Close()) }() // closing releases the lock
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return fmt.Errorf("lock the schema: %w", err)
	}

	files, err := fs.Sub(migrations, "migrations/sqlite")
	if err != nil {
		return err
	}
	p, err := goose.NewProvider(goose.DialectSQLite3, db, files, goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return fmt.Errorf("read migrations: %w", err)
	}
	now, target, err := p.GetVersions(ctx)
	if err != nil {
		return fmt.Errorf("read the schema's version: %w", err)
	}
	if now > target {
		return fmt.Errorf("schema version %d, this program knows %d: %w", now, target, ErrNewer)
	}
	if now == target {
		return nil
	}
	if _, err := p.Up(ctx); err != nil {
		return fmt.Errorf("migrate the schema from version %d to %d: %w", now, target, err)
	}
	log.Info("database schema migrated", "from", now, "to", target)
	return nil
}
