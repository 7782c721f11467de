package accounts

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"net/netip"
	"strings"
	"time"

	"dongthanh/streamer/internal/store"
)

const (
	// Idle ends a login that nobody uses. Whoever speaks must call Touch meanwhile.
	Idle = 15 * time.Minute
	// Absolute ends every login, used or not: a working day.
	Absolute = 8 * time.Hour

	tokenBytes = 32
	// maxInput bounds names and passwords before anything is computed from them, in bytes.
	maxInput = 1024
)

// SignIn is a fresh login. Token is handed out once and kept nowhere.
type SignIn struct {
	Token   string // 43 characters, fit for a cookie
	Expires time.Time
	Principal
}

// Authenticate verifies a password given by whoever is at address from, and returns the person. It answers
// ErrCredentials after the same work whether name or password is wrong, *Throttled without looking at the password,
// ErrBusy when too many wait, or an error of the database.
func (a *Accounts) Authenticate(ctx context.Context, name, password string, from netip.Addr) (Principal, error) {
	u, err := a.authenticate(ctx, name, password, from)
	return person(u), err
}

func (a *Accounts) authenticate(ctx context.Context, name, password string, from netip.Addr) (store.User, error) {
	if len(name) > maxInput {
		name = "" // nobody's
	}
	key := pair{name: store.Fold(name), addr: network(from)}
	began := a.now()
	a.mu.Lock()
	wait := a.throttle.begin(began, key)
	a.mu.Unlock()
	if wait > 0 {
		a.signIns.WithLabelValues("throttled").Inc()
		return store.User{}, &Throttled{RetryAfter: (wait + time.Second - 1).Truncate(time.Second)}
	}
	u, err := a.judge(ctx, name, password)
	a.mu.Lock()
	switch {
	case err == nil:
		a.throttle.succeed(began, key)
	case !errors.Is(err, ErrCredentials) && ctx.Err() == nil: // the database's fault, or ours; a caller who hangs up pays
		a.throttle.forgive(began, key)
	}
	a.mu.Unlock()
	switch {
	case err == nil:
		a.signIns.WithLabelValues("ok").Inc()
	case errors.Is(err, ErrCredentials):
		a.signIns.WithLabelValues("refused").Inc()
		a.log.Warn("sign-in refused", "name", shorten(name), "from", from)
	case errors.Is(err, ErrBusy):
		a.signIns.WithLabelValues("busy").Inc()
	default:
		a.signIns.WithLabelValues("failed").Inc()
	}
	return u, err
}

// judge looks the person up and verifies the password, always with one hash.
func (a *Accounts) judge(ctx context.Context, name, password string) (store.User, error) {
	u, err := a.records.UserByName(ctx, name)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return store.User{}, err
	}
	text, textErr := prepare(password)
	ok, old, err := a.hasher.verify(ctx, u.Password, text)
	if err != nil {
		return store.User{}, err
	}
	if !ok || textErr != nil || !u.Disabled.IsZero() {
		return store.User{}, ErrCredentials
	}
	if old {
		u.Password = a.upgrade(ctx, u, text)
	}
	return u, nil
}

// upgrade stores a hash with today's cost and returns the one that is stored now. Failing changes nothing.
func (a *Accounts) upgrade(ctx context.Context, u store.User, password []byte) string {
	hash, err := a.hasher.hash(ctx, password)
	if err == nil {
		err = a.records.UpgradePassword(ctx, u.ID, u.Password, hash)
	}
	if err != nil {
		a.log.Warn("password hash stays weak", "user", u.ID, "err", err)
		return u.Password
	}
	return hash
}

// SignIn authenticates and opens a login. If the database cannot write (a full disk) the login lives in memory until
// the program ends: an emergency must not wait for space. A caller that already has a login should SignOut that one
// first, so that tokens rotate.
func (a *Accounts) SignIn(ctx context.Context, name, password string, from netip.Addr) (SignIn, error) {
	u, err := a.authenticate(ctx, name, password, from)
	if err != nil {
		return SignIn{}, err
	}
	raw := make([]byte, tokenBytes)
	_, _ = rand.Read(raw) // never fails (crypto/rand)
	token := base64.RawURLEncoding.EncodeToString(raw)
	now := a.now()
	l := store.Login{Token: store.HashOf(token), UserID: u.ID, Created: now, Seen: now, Expires: now.Add(Absolute)}
	s := &seat{login: l, seen: now, tried: now, principal: person(u), password: u.Password}
	if err := a.records.AddLogin(ctx, l); err != nil {
		if ctx.Err() != nil {
			return SignIn{}, err
		}
		s.unsaved = true
		a.log.Error("login is kept in memory only", "user", u.ID, "err", err)
	}
	a.mu.Lock()
	a.sweep(now)
	a.seats[l.Token] = s
	a.mu.Unlock()
	a.log.Info("signed in", "user", u.ID, "name", u.Name, "role", u.Role, "zone", u.Zone, "from", from)
	return SignIn{Token: token, Expires: l.Expires, Principal: s.principal}, nil
}

// SignOut ends a login. A token that is none is no error.
func (a *Accounts) SignOut(ctx context.Context, token string) error {
	hash := store.HashOf(token)
	a.mu.Lock()
	a.drop(hash)
	a.mu.Unlock()
	return a.records.DeleteLogin(ctx, hash)
}

// SignOutEverywhere ends all logins of a person.
func (a *Accounts) SignOutEverywhere(ctx context.Context, userID string) error {
	a.forget(userID)
	return a.records.DeleteLogins(ctx, userID)
}

// shorten cuts a name from outside for the log.
func shorten(name string) string {
	if len(name) > 64 {
		name = name[:64] + "…"
	}
	return strings.ToValidUTF8(name, "\ufffd")
}
