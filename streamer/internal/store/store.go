// Package store keeps what must survive a restart in SQL: zones, people, tokens, nodes, keys, fences, sessions. It is
// the only package that imports SQL drivers; it decides nothing, never logs a secret, and is called by the streamer's
// other rooms and its command line, never from the path of a frame. Secrets that are only compared (tokens) are kept
// as SHA-256; secrets that are needed again (zone keys) lie in the clear in a file that only its owner can read.
package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/google/uuid"
)

const (
	fileName = "dongthanh.db"
	lockName = "dongthanh.lock"

	// readers bounds the pool of reading connections: reads take microseconds, and each connection holds its own page
	// cache. Taste.
	readers = 4
)

// Store is the open database. All methods may be called from any goroutine at once. Writes are serialised over one
// connection and are on the disk (fsync) when a method returns; a write that finds the disk full is tried once more
// after the reserve file was given up (see reserve.go). A method that fails has changed nothing.
type Store struct {
	writer *sql.DB
	reader *sql.DB
	log    *slog.Logger
	dir    string
}

// Open opens the database in dir and brings its schema up to date, creating both where they are missing; the folder
// becomes 0700 and the file 0600. Two programs may open the same folder (the server and a command line). The caller
// must Close the store. log receives migrations and a full disk; it may be nil.
func Open(ctx context.Context, dir string, log *slog.Logger) (*Store, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	if err := prepare(dir); err != nil {
		return nil, fmt.Errorf("open store %s: %w", dir, err)
	}
	path := filepath.Join(dir, fileName)
	s := &Store{log: log, dir: dir}
	var err error
	if s.writer, err = openPool(path, true, 1); err != nil {
		return nil, fmt.Errorf("open store %s: %w", dir, classify(err))
	}
	if err = migrate(ctx, s.writer, filepath.Join(dir, lockName), log); err != nil {
		return nil, errors.Join(fmt.Errorf("open store %s: %w", dir, classify(err)), s.writer.Close())
	}
	if s.reader, err = openPool(path, false, readers); err != nil {
		return nil, errors.Join(fmt.Errorf("open store %s: %w", dir, classify(err)), s.writer.Close())
	}
	if err = s.makeReserve(); err != nil {
		log.Warn("no space held back for emergencies", "dir", dir, "err", err)
	}
	return s, nil
}

// Close waits for statements in flight and closes the database. Methods called afterwards fail.
func (s *Store) Close() error {
	// Readers first: the last connection to close folds the write-ahead log into the file.
	if err := errors.Join(s.reader.Close(), s.writer.Close()); err != nil {
		return fmt.Errorf("close store %s: %w", s.dir, err)
	}
	return nil
}

// Check reads one row, for a readiness probe.
func (s *Store) Check(ctx context.Context) error {
	var n int
	err := s.reader.QueryRowContext(ctx, `SELECT count(*) FROM settings WHERE name = ''`).Scan(&n)
	return wrap("check the database", err)
}

// NewID returns a fresh UUID version 7 (RFC 9562 §5.7): ids made later sort later, which the cursors of lists rely on.
func NewID() string { return uuid.Must(uuid.NewV7()).String() }

// prepare makes the folder and the file with their modes before SQLite sees them: SQLite would create the file
// readable by all, and gives its write-ahead log the mode of the file.
func prepare(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := os.Chmod(dir, 0o700); err != nil { // #nosec G302 -- a folder needs its x bit
		return err
	}
	path := filepath.Join(dir, fileName)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, os.ErrExist) {
		return os.Chmod(path, 0o600)
	}
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return syncDir(dir) // or a power cut could lose the file's name with all that was committed to it
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
