package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"golang.org/x/text/unicode/norm"

	"dongthanh/internal/zone"
)

// User is a person who can sign in.
type User struct {
	ID       string // UUID v7
	Name     string // as typed, in NFC; unique without regard to case
	Password string // PHC string of argon2id; never the password
	Role     string // admin, officer, editor, approver, technician or auditor
	Zone     zone.Zone
	Created  time.Time
	Disabled time.Time // zero: may sign in
}

const userColumns = `id, name, password, role, zone, created_at, disabled_at`

func scanUser(r row) (u User, err error) {
	var created, disabled int64
	err = r.Scan(&u.ID, &u.Name, &u.Password, &u.Role, &u.Zone, &created, &disabled)
	u.Created, u.Disabled = moment(created), moment(disabled)
	return u, err
}

// AddUser stores a new person. ErrConflict: the name is taken (compared without case); ErrUnknownZone; ErrInvalid:
// unknown role.
func (s *Store) AddUser(ctx context.Context, u User) error {
	return s.write(ctx, fmt.Sprintf("add user %q", u.Name), func(tx *sql.Tx) error {
		if err := requireZone(ctx, tx, u.Zone); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO users (id, name, folded, password, role, zone, created_at, disabled_at)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
			u.ID, norm.NFC.String(u.Name), foldUser(u.Name), u.Password, u.Role, string(u.Zone), millis(u.Created), millis(u.Disabled))
		return err
	})
}

// User returns a person by id, or ErrNotFound.
func (s *Store) User(ctx context.Context, id string) (User, error) {
	u, err := one(ctx, s.reader, scanUser, `SELECT `+userColumns+` FROM users WHERE id = $1`, id)
	return u, wrap(fmt.Sprintf("get user %q", id), err)
}

// UserByName returns a person by name, compared without case, or ErrNotFound.
func (s *Store) UserByName(ctx context.Context, name string) (User, error) {
	u, err := one(ctx, s.reader, scanUser, `SELECT `+userColumns+` FROM users WHERE folded = $1`, foldUser(name))
	return u, wrap(fmt.Sprintf("get user named %q", name), err)
}

// Users returns everybody by name, the disabled included.
func (s *Store) Users(ctx context.Context) ([]User, error) {
	list, err := all(ctx, s.reader, scanUser, `SELECT `+userColumns+` FROM users ORDER BY folded`)
	return list, wrap("list users", err)
}

// SetPassword stores a new hash and signs the person out everywhere: whoever knew the old password loses their
// logins too.
func (s *Store) SetPassword(ctx context.Context, id, hash string) error {
	return s.write(ctx, fmt.Sprintf("set password of user %q", id), func(tx *sql.Tx) error {
		if err := exec(ctx, tx, `UPDATE users SET password = $2 WHERE id = $1`, id, hash); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `DELETE FROM logins WHERE user_id = $1`, id)
		return err
	})
}

// UpgradePassword replaces the hash of an unchanged password by one with stronger parameters, if it is still old.
// Logins stay.
func (s *Store) UpgradePassword(ctx context.Context, id, old, hash string) error {
	return s.write(ctx, fmt.Sprintf("upgrade password hash of user %q", id), func(tx *sql.Tx) error {
		return exec(ctx, tx, `UPDATE users SET password = $3 WHERE id = $1 AND password = $2`, id, old, hash)
	})
}

// DisableUser forbids a person to sign in and signs them out everywhere. Their row stays, since records name it.
func (s *Store) DisableUser(ctx context.Context, id string, at time.Time) error {
	return s.write(ctx, fmt.Sprintf("disable user %q", id), func(tx *sql.Tx) error {
		if err := exec(ctx, tx, `UPDATE users SET disabled_at = $2 WHERE id = $1`, id, millis(at)); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `DELETE FROM logins WHERE user_id = $1`, id)
		return err
	})
}

// EnableUser lets a disabled person sign in again.
func (s *Store) EnableUser(ctx context.Context, id string) error {
	return s.write(ctx, fmt.Sprintf("enable user %q", id), func(tx *sql.Tx) error {
		return exec(ctx, tx, `UPDATE users SET disabled_at = 0 WHERE id = $1`, id)
	})
}
