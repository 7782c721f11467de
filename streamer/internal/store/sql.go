package store

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"time"

	"dongthanh/internal/zone"
)

// openPool opens SQLite at path. The writer's transactions take the write lock at once (immediate), since one that
// starts as a reader and then writes fails without waiting when another writer came between.
//
// SQL in this package uses $1 placeholders, RETURNING and ON CONFLICT, which SQLite and PostgreSQL share; only the
// migrations and this file know which of them it is.
func openPool(path string, writes bool, conns int) (*sql.DB, error) {
	q := url.Values{
		"_pragma": {
			"busy_timeout(5000)",
			"foreign_keys(1)",
			"trusted_schema(0)",
		},
		"_defensive": {"1"},
		"_dqs":       {"0"},
	}
	if writes {
		// FULL, since NORMAL may lose the last commits at a power cut: a fence would be drawn twice, a one-time token
		// would work again (facts: SQLite, "PRAGMA synchronous").
		q["_pragma"] = append(q["_pragma"], "journal_mode(WAL)", "synchronous(FULL)")
		q.Set("_txlock", "immediate")
	} else {
		q["_pragma"] = append(q["_pragma"], "query_only(1)")
	}
	dsn := url.URL{Scheme: "file", Opaque: url.PathEscape(path), RawQuery: q.Encode()}
	db, err := sql.Open("sqlite", dsn.String())
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(conns)
	db.SetMaxIdleConns(conns)
	return db, nil
}

// write runs f in one transaction on the writer. f may run twice, when the first try found the disk full, so it must
// touch nothing but tx. Several rooms wait here when the disk is slow; each is bounded by its ctx.
func (s *Store) write(ctx context.Context, act string, f func(tx *sql.Tx) error) error {
	err := s.try(ctx, f)
	if err != nil && errors.Is(classify(err), ErrFull) {
		s.giveUpReserve()
		err = s.try(ctx, f) // even if another writer gave it up first
	}
	return wrap(act, err)
}

func (s *Store) try(ctx context.Context, f func(tx *sql.Tx) error) error {
	tx, err := s.writer.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if err := f(tx); err != nil {
		_ = tx.Rollback() // err says more; a failed rollback ends the connection, which undoes the same
		return err
	}
	return tx.Commit()
}

// querier is what *sql.DB and *sql.Tx share.
type querier interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// row is what *sql.Row and *sql.Rows share.
type row interface{ Scan(dest ...any) error }

// all runs a query and scans each row.
func all[T any](ctx context.Context, q querier, scan func(row) (T, error), query string, args ...any) ([]T, error) {
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []T
	for rows.Next() {
		v, err := scan(rows)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	return list, rows.Err()
}

// one runs a query and scans its only row; no row is ErrNotFound.
func one[T any](ctx context.Context, q querier, scan func(row) (T, error), query string, args ...any) (T, error) {
	v, err := scan(q.QueryRowContext(ctx, query, args...))
	if errors.Is(err, sql.ErrNoRows) {
		err = ErrNotFound
	}
	return v, err
}

// exec runs a statement that must change at least one row; none is ErrNotFound.
func exec(ctx context.Context, q querier, query string, args ...any) error {
	r, err := q.ExecContext(ctx, query, args...)
	if err != nil {
		return err
	}
	n, err := r.RowsAffected()
	if err == nil && n == 0 {
		err = ErrNotFound
	}
	return err
}

// requireZone answers ErrUnknownZone, where the foreign key alone could not say which reference is wrong.
func requireZone(ctx context.Context, q querier, z zone.Zone) error {
	var n int
	if err := q.QueryRowContext(ctx, `SELECT count(*) FROM zones WHERE code = $1`, string(z)).Scan(&n); err != nil {
		return err
	}
	if n == 0 {
		return fmt.Errorf("zone %q: %w", z, ErrUnknownZone)
	}
	return nil
}

// Hash is the SHA-256 of a secret of at least 128 random bits: such a secret needs no salt and no slow hash, and an
// index finds it without a comparison whose time tells anything.
type Hash [sha256.Size]byte

// HashOf hashes a secret.
func HashOf(secret string) Hash { return sha256.Sum256([]byte(secret)) }

// millis stores a time as Unix milliseconds; the zero time, "not yet", as 0.
func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

// moment is the inverse of millis, in UTC.
func moment(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

// fixed copies a column of exactly len(dst) bytes; an empty column leaves dst zero.
func fixed(dst, src []byte, what string) error {
	if len(src) != 0 && len(src) != len(dst) {
		return fmt.Errorf("%s has %d bytes, want %d", what, len(src), len(dst))
	}
	copy(dst, src)
	return nil
}
