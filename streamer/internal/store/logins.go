package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"
)

// Login is a signed-in browser, found by the hash of its token.
type Login struct {
	Token   Hash
	UserID  string
	Created time.Time
	Seen    time.Time // the last request
	Expires time.Time // absolute: use does not move it
}

const loginColumns = `token, user_id, created_at, seen_at, expires_at`

func scanLogin(r row) (l Login, err error) {
	var token []byte
	var created, seen, expires int64
	if err = r.Scan(&token, &l.UserID, &created, &seen, &expires); err != nil {
		return Login{}, err
	}
	l.Created, l.Seen, l.Expires = moment(created), moment(seen), moment(expires)
	return l, fixed(l.Token[:], token, "login token")
}

// AddLogin stores a login and forgets those that are past their absolute expiry.
func (s *Store) AddLogin(ctx context.Context, l Login) error {
	return s.write(ctx, fmt.Sprintf("store login of user %q", l.UserID), func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, `DELETE FROM logins WHERE expires_at <= $1`, millis(l.Created)); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO logins (`+loginColumns+`) VALUES ($1, $2, $3, $4, $5)`,
			l.Token[:], l.UserID, millis(l.Created), millis(l.Seen), millis(l.Expires))
		return err
	})
}

// Login returns a login, or ErrNotFound. It does not judge its age.
func (s *Store) Login(ctx context.Context, token Hash) (Login, error) {
	l, err := one(ctx, s.reader, scanLogin, `SELECT `+loginColumns+` FROM logins WHERE token = $1`, token[:])
	return l, wrap("get login", err)
}

// TouchLogin records that a login was used. A revoked login stays revoked: ErrNotFound.
func (s *Store) TouchLogin(ctx context.Context, token Hash, at time.Time) error {
	return s.write(ctx, "touch login", func(tx *sql.Tx) error {
		return exec(ctx, tx, `UPDATE logins SET seen_at = $2 WHERE token = $1`, token[:], millis(at))
	})
}

// DeleteLogin ends a login; one that is not there is no error.
func (s *Store) DeleteLogin(ctx context.Context, token Hash) error {
	return s.write(ctx, "delete login", func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `DELETE FROM logins WHERE token = $1`, token[:])
		return err
	})
}

// DeleteLogins ends all logins of a person.
func (s *Store) DeleteLogins(ctx context.Context, userID string) error {
	return s.write(ctx, fmt.Sprintf("delete logins of user %q", userID), func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `DELETE FROM logins WHERE user_id = $1`, userID)
		return err
	})
}
