package store

import (
	"context"
	"database/sql"
	"fmt"
)

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
