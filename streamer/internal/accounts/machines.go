package accounts

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"errors"
	"strings"
	"time"

	"dongthanh/internal/zone"
	"dongthanh/streamer/internal/store"
)

// tokenPrefix marks API tokens, so that scanners for leaked secrets find them.
const tokenPrefix = "dt_"

// Machine describes an API token to be made.
type Machine struct {
	Name string
	Role Role
	Zone zone.Zone
	TTL  time.Duration // 0: until revoked
	By   string        // user id, or "cli"
}

// AddMachine makes an API token and returns its secret, which is kept nowhere else, and its record. It answers ErrRole,
// ErrZone or an error of the store (store.ErrInvalid for a bad name). Such a token never speaks in an emergency and
// never manages people, whatever its role (see Can).
func (a *Accounts) AddMachine(ctx context.Context, m Machine) (secret string, t store.Token, err error) {
	if !m.Role.Valid() {
		return "", store.Token{}, ErrRole
	}
	raw := make([]byte, tokenBytes)
	_, _ = rand.Read(raw) // never fails (crypto/rand)
	secret = tokenPrefix + strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(raw))
	now := a.now()
	t = store.Token{
		ID: store.NewID(), Secret: store.HashOf(secret), Kind: store.TokenAPI, Name: m.Name, Zone: m.Zone, Role: string(m.Role),
		CreatedBy: m.By, Created: now,
	}
	if m.TTL > 0 {
		t.Expires = now.Add(m.TTL)
	}
	if err := a.records.AddToken(ctx, t); errors.Is(err, store.ErrUnknownZone) {
		return "", store.Token{}, ErrZone
	} else if err != nil {
		return "", store.Token{}, err
	}
	return secret, t, nil
}

// ByAPIToken returns the machine that a bearer token names, or ErrToken.
func (a *Accounts) ByAPIToken(ctx context.Context, bearer string) (Principal, error) {
	if !strings.HasPrefix(bearer, tokenPrefix) || len(bearer) > maxInput {
		return Principal{}, ErrToken
	}
	t, err := a.records.APIToken(ctx, store.HashOf(bearer), a.now())
	switch {
	case errors.Is(err, store.ErrNotFound), errors.Is(err, store.ErrExpired), errors.Is(err, store.ErrRevoked):
		return Principal{}, ErrToken
	case err != nil:
		return Principal{}, err
	}
	return Principal{ID: t.ID, Name: t.Name, Role: Role(t.Role), Zone: t.Zone, Machine: true}, nil
}
