package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"dongthanh/internal/zone"
)

// TokenKind says what a token is good for.
type TokenKind string

// The kinds of token. Relay and client tokens enrol one node of that kind, once; an API token names a machine.
const (
	TokenRelay  TokenKind = "relay"
	TokenClient TokenKind = "client"
	TokenAPI    TokenKind = "api"
)

// maxTokenName bounds a token's and a node's name, in characters. Taste.
const maxTokenName = 80

// Token is a secret that was handed out, of which only the hash is known.
type Token struct {
	ID        string // UUID v7; names the token in lists, is no secret
	Secret    Hash
	Kind      TokenKind
	Name      string // of the node to be, or of the machine
	Zone      zone.Zone
	Role      string // of an API token; empty otherwise
	CreatedBy string // user id, or "cli"
	Created   time.Time
	Expires   time.Time // zero: never (API tokens only)
	Used      time.Time // zero: not yet
	UsedBy    string    // node id
	Revoked   time.Time // zero: not
	Attempts  int       // enrolments that began with this secret, failed ones included
}

const tokenColumns = `id, secret, kind, name, zone, role, created_by, created_at, expires_at, used_at, used_by, revoked_at, attempts`

func scanToken(r row) (t Token, err error) {
	var secret []byte
	var created, expires, used, revoked int64
	err = r.Scan(&t.ID, &secret, &t.Kind, &t.Name, &t.Zone, &t.Role, &t.CreatedBy, &created, &expires, &used, &t.UsedBy, &revoked, &t.Attempts)
	if err != nil {
		return Token{}, err
	}
	t.Created, t.Expires, t.Used, t.Revoked = moment(created), moment(expires), moment(used), moment(revoked)
	return t, fixed(t.Secret[:], secret, "token secret")
}

// valid answers why t cannot be used at a time: ErrRevoked, ErrUsed, ErrExpired, or nil. Used wins over expired,
// since that is what the installer wants to know.
func (t Token) valid(at time.Time) error {
	switch {
	case !t.Revoked.IsZero():
		return ErrRevoked
	case !t.Used.IsZero():
		return ErrUsed
	case !t.Expires.IsZero() && !at.Before(t.Expires):
		return ErrExpired
	}
	return nil
}

// AddToken stores a new token. ErrUnknownZone; ErrInvalid: unknown kind, role where there must be none or none where
// there must be one, an enrolment token that never expires.
func (s *Store) AddToken(ctx context.Context, t Token) error {
	name, err := cleanName(t.Name, maxTokenName)
	if err != nil {
		return fmt.Errorf("add token: %w", err)
	}
	return s.write(ctx, fmt.Sprintf("add token %q", name), func(tx *sql.Tx) error {
		if err := requireZone(ctx, tx, t.Zone); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO tokens (`+tokenColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 0, '', 0, 0)`,
			t.ID, t.Secret[:], string(t.Kind), name, string(t.Zone), t.Role, t.CreatedBy, millis(t.Created), millis(t.Expires))
		return err
	})
}

// Tokens returns all tokens, newest first.
func (s *Store) Tokens(ctx context.Context) ([]Token, error) {
	list, err := all(ctx, s.reader, scanToken, `SELECT `+tokenColumns+` FROM tokens ORDER BY id DESC`)
	return list, wrap("list tokens", err)
}

// Token returns a token by the hash of its secret, whatever its state, or ErrNotFound.
func (s *Store) Token(ctx context.Context, secret Hash) (Token, error) {
	t, err := one(ctx, s.reader, scanToken, `SELECT `+tokenColumns+` FROM tokens WHERE secret = $1`, secret[:])
	return t, wrap("get token", err)
}

// APIToken returns a valid API token by the hash of its secret: ErrNotFound (also for an enrolment token), ErrRevoked
// or ErrExpired.
func (s *Store) APIToken(ctx context.Context, secret Hash, at time.Time) (Token, error) {
	t, err := s.Token(ctx, secret)
	if err != nil {
		return Token{}, err
	}
	if t.Kind != TokenAPI {
		return Token{}, fmt.Errorf("use token %s as an API token: %w", t.ID, ErrNotFound)
	}
	if err := t.valid(at); err != nil {
		return Token{}, fmt.Errorf("use API token %s: %w", t.ID, err)
	}
	return t, nil
}

// ConsumeToken uses up an enrolment token for the node with id by. Of callers at the same time exactly one gets it;
// the others get ErrUsed. Other answers: ErrNotFound (also for an API token), ErrExpired, ErrRevoked. Each call with a
// known secret counts as an attempt.
func (s *Store) ConsumeToken(ctx context.Context, secret Hash, by string, at time.Time) (Token, error) {
	return s.consume(ctx, secret, at, func(*sql.Tx, Token) (string, error) { return by, nil })
}

// EnrolNode consumes an enrolment token and stores the node that build makes for it, both or neither, so that a crash
// between the two cannot burn the token. build is called inside the transaction: it must not use the store, and may be
// called a second time. Its error comes back wrapped and leaves the token unused, with the attempt counted. The answers
// are those of ConsumeToken and AddNode.
func (s *Store) EnrolNode(ctx context.Context, secret Hash, at time.Time, build func(Token) (Node, error)) (Node, error) {
	var node Node
	_, err := s.consume(ctx, secret, at, func(tx *sql.Tx, t Token) (string, error) {
		var err error
		if node, err = build(t); err != nil {
			return "", err
		}
		return node.ID, addNode(ctx, tx, node)
	})
	if err != nil {
		return Node{}, err
	}
	return node, nil
}

// consume counts the attempt in any case, and commits what use did only if it succeeds.
func (s *Store) consume(ctx context.Context, secret Hash, at time.Time, use func(*sql.Tx, Token) (string, error)) (Token, error) {
	var token Token
	var refused error
	err := s.write(ctx, "consume enrolment token", func(tx *sql.Tx) (err error) {
		token, err = one(ctx, tx, scanToken,
			`UPDATE tokens SET attempts = attempts + 1 WHERE secret = $1 AND kind <> 'api' RETURNING `+tokenColumns, secret[:])
		if err != nil {
			return err
		}
		if refused = token.valid(at); refused != nil {
			return nil // commit the attempt
		}
		if _, err := tx.ExecContext(ctx, `SAVEPOINT use`); err != nil {
			return err
		}
		by, err := use(tx, token)
		if err != nil {
			refused = err
			_, err = tx.ExecContext(ctx, `ROLLBACK TO SAVEPOINT use`)
			if errors.Is(classify(refused), ErrFull) || err != nil {
				return errors.Join(refused, err)
			}
			return nil
		}
		token.Used, token.UsedBy = at, by
		return exec(ctx, tx, `UPDATE tokens SET used_at = $2, used_by = $3 WHERE id = $1`, token.ID, millis(at), by)
	})
	if err == nil && refused != nil {
		err = wrap("consume enrolment token "+token.ID, refused)
	}
	if err != nil {
		return Token{}, err
	}
	return token, nil
}

// RevokeToken ends a token; nodes that it enrolled stay. Revoking twice keeps the first time.
func (s *Store) RevokeToken(ctx context.Context, id string, at time.Time) error {
	return s.write(ctx, fmt.Sprintf("revoke token %q", id), func(tx *sql.Tx) error {
		return exec(ctx, tx, `UPDATE tokens SET revoked_at = CASE revoked_at WHEN 0 THEN $2 ELSE revoked_at END WHERE id = $1`, id, millis(at))
	})
}
