package accounts

import (
	"context"
	"errors"
	"time"

	"dongthanh/streamer/internal/store"
)

// grain is how often the use of a login is written to the database; the exact time is kept in memory. After a restart
// a login may thus look up to this much older than it is.
const grain = time.Minute

// seat is a login as this process knows it.
type seat struct {
	login     store.Login // as stored, or as it would have been
	seen      time.Time   // the last use, exactly
	tried     time.Time   // when the last use was last written, or failed to be
	principal Principal   // as last read, for when the database cannot be
	unsaved   bool        // the database could not take it: memory is all there is
	password  string      // hash at sign-in; a change ends an unsaved login, which has no row to delete
}

func (s *seat) over(now time.Time) bool {
	return !now.Before(s.login.Expires) || now.Sub(s.seen) >= Idle
}

// ByToken returns the person of a login and counts as a use of it, or ErrSignedOut: unknown, ended, not used for Idle,
// or older than Absolute. Role and zone are as they stand in the database now. If that cannot be read, a login that
// this process knows stays good: a failing disk signs nobody out who is speaking.
func (a *Accounts) ByToken(ctx context.Context, token string) (Principal, error) {
	hash, now := store.HashOf(token), a.now()
	a.mu.Lock()
	var known *seat
	if s := a.seats[hash]; s != nil {
		s := *s
		known = &s
	}
	a.mu.Unlock()

	s, err := a.load(ctx, hash, known)
	if err == nil && s.over(now) {
		err = ErrSignedOut
		if e := a.records.DeleteLogin(ctx, hash); e != nil {
			a.log.Warn("an expired login stays in the database", "err", e)
		}
	}
	if err == nil && !s.unsaved && now.Sub(s.tried) >= grain {
		s.tried = now
		if e := a.records.TouchLogin(ctx, hash, now); errors.Is(e, store.ErrNotFound) {
			err = ErrSignedOut // ended since it was read
		} else if e != nil {
			a.log.Warn("the use of a login was not stored", "user", s.login.UserID, "err", e)
		}
	}
	s.seen = now

	a.mu.Lock()
	defer a.mu.Unlock()
	if err == nil && s.unsaved && a.seats[hash] == nil {
		err = ErrSignedOut // meanwhile, and no row says so
	}
	if err == nil {
		a.seats[hash] = &s
		return s.principal, nil
	}
	if errors.Is(err, ErrSignedOut) {
		a.drop(hash)
	}
	return Principal{}, err
}

// Touch is ByToken for an open microphone, which calls it at least every few minutes, so that Idle never cuts it. An
// error says that the login is over: no reason to cut whoever is speaking.
func (a *Accounts) Touch(ctx context.Context, token string) error {
	_, err := a.ByToken(ctx, token)
	return err
}

// load reads a login and its person, falling back on what is known.
func (a *Accounts) load(ctx context.Context, hash store.Hash, known *seat) (seat, error) {
	row, err := a.records.Login(ctx, hash)
	switch {
	case errors.Is(err, store.ErrNotFound) && known != nil && known.unsaved:
		row = known.login
	case errors.Is(err, store.ErrNotFound):
		return seat{}, ErrSignedOut
	case err != nil && (known == nil || ctx.Err() != nil):
		return seat{}, err
	case err != nil:
		return *known, nil
	}
	s := seat{login: row, seen: row.Seen, tried: row.Seen}
	if known != nil {
		s = *known
		s.login = row
	}
	u, err := a.records.User(ctx, row.UserID)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return seat{}, ErrSignedOut
	case err != nil && (known == nil || ctx.Err() != nil):
		return seat{}, err
	case err != nil:
		return s, nil
	case !u.Disabled.IsZero() || (s.unsaved && u.Password != s.password):
		return seat{}, ErrSignedOut
	}
	s.principal = person(u)
	return s, nil
}

// sweep forgets the seats that are over; the caller holds mu.
func (a *Accounts) sweep(now time.Time) {
	for hash, s := range a.seats {
		if s.over(now) {
			a.drop(hash)
		}
	}
}

// forget drops all seats of a person.
func (a *Accounts) forget(userID string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for hash, s := range a.seats {
		if s.login.UserID == userID {
			a.drop(hash)
		}
	}
}

// drop forgets a seat that is over and tells whoever watches it; the caller holds mu.
func (a *Accounts) drop(hash store.Hash) {
	delete(a.seats, hash)
	if w := a.watched[hash]; w != nil {
		close(w.ended)
		delete(a.watched, hash)
	}
}

// watched is a login whose end some wait for.
type watched struct {
	ended chan struct{}
	by    int
}

// Ended returns a channel that is closed once this process ends the login of a token (a sign-out, a new password, a
// person disabled), at once if it has; watching lasts until unwatch is called.
func (a *Accounts) Ended(token string) (ended <-chan struct{}, unwatch func()) {
	hash := store.HashOf(token)
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.seats[hash] == nil {
		over := make(chan struct{})
		close(over)
		return over, func() {}
	}
	w := a.watched[hash]
	if w == nil {
		w = &watched{ended: make(chan struct{})}
		a.watched[hash] = w
	}
	w.by++
	return w.ended, func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		if w.by--; w.by == 0 && a.watched[hash] == w {
			delete(a.watched, hash)
		}
	}
}
