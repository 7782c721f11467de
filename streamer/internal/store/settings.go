package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"time"
)

// restoredSetting is when this database was last restored from a backup, in Unix milliseconds.
const restoredSetting = "restored_at_ms"

// Restored returns when this database was last restored from a backup; zero: never.
func (s *Store) Restored(ctx context.Context) (time.Time, error) {
	text, err := s.Setting(ctx, restoredSetting)
	if errors.Is(err, ErrNotFound) {
		return time.Time{}, nil
	}
	if err != nil {
		return time.Time{}, err
	}
	ms, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("setting %q: %w", restoredSetting, err)
	}
	return moment(ms), nil
}

// Setting returns a stored value, or ErrNotFound. It is for small things that have no table, such as the id of this
// streamer; configuration stays in files.
func (s *Store) Setting(ctx context.Context, name string) (string, error) {
	v, err := one(ctx, s.reader, func(r row) (v string, err error) { return v, r.Scan(&v) },
		`SELECT value FROM settings WHERE name = $1`, name)
	return v, wrap(fmt.Sprintf("get setting %q", name), err)
}

// SetSetting stores a value.
func (s *Store) SetSetting(ctx context.Context, name, value string) error {
	return s.write(ctx, fmt.Sprintf("store setting %q", name), func(tx *sql.Tx) error {
		return exec(ctx, tx, `INSERT INTO settings (name, value) VALUES ($1, $2)
			ON CONFLICT (name) DO UPDATE SET value = excluded.value`, name, value)
	})
}
