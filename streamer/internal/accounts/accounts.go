// Package accounts is who may do what: people who sign in with a password, machines that bring an API token, and the
// table of what each role may do. It knows no HTTP; the streamer's api and console hand it names, passwords and tokens
// and get a Principal. It keeps no password and no token, only their hashes, and logs neither.
package accounts

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"dongthanh/internal/zone"
	"dongthanh/streamer/internal/store"
)

// Records is the part of the store that accounts need; *store.Store has it.
type Records interface {
	AddUser(ctx context.Context, u store.User) error
	User(ctx context.Context, id string) (store.User, error)
	UserByName(ctx context.Context, name string) (store.User, error)
	SetPassword(ctx context.Context, id, hash string) error
	UpgradePassword(ctx context.Context, id, old, hash string) error
	DisableUser(ctx context.Context, id string, at time.Time) error
	AddLogin(ctx context.Context, l store.Login) error
	Login(ctx context.Context, token store.Hash) (store.Login, error)
	TouchLogin(ctx context.Context, token store.Hash, at time.Time) error
	DeleteLogin(ctx context.Context, token store.Hash) error
	DeleteLogins(ctx context.Context, userID string) error
	AddToken(ctx context.Context, t store.Token) error
	APIToken(ctx context.Context, secret store.Hash, at time.Time) (store.Token, error)
}

// Options are what Accounts need; all but Cost, Log and Metrics are required.
type Options struct {
	Records Records
	Now     func() time.Time
	Cost    Cost                  // zero: DefaultCost
	Log     *slog.Logger          // nil: silent
	Metrics prometheus.Registerer // nil: not registered
}

// Accounts signs people and machines in. Safe for concurrent use.
type Accounts struct {
	records Records
	now     func() time.Time
	log     *slog.Logger
	hasher  *hasher
	signIns *prometheus.CounterVec

	mu       sync.Mutex // guards what follows; never held over the database or a hash
	throttle *throttle
	seats    map[store.Hash]*seat
	watched  map[store.Hash]*watched
}

// New returns Accounts over o.Records, which stay the caller's to close.
func New(o Options) (*Accounts, error) {
	if o.Cost == (Cost{}) {
		o.Cost = DefaultCost()
	}
	if err := o.Cost.validate(); err != nil {
		return nil, fmt.Errorf("make accounts: %w", err)
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	a := &Accounts{
		records: o.Records, now: o.Now, log: o.Log, hasher: newHasher(o.Cost),
		throttle: newThrottle(), seats: map[store.Hash]*seat{}, watched: map[store.Hash]*watched{},
		signIns: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "dongthanh_streamer_sign_ins_total",
			Help: "Attempts to sign in with a password, by result: ok, refused, throttled, busy, failed.",
		}, []string{"result"}),
	}
	if o.Metrics != nil {
		if err := o.Metrics.Register(a.signIns); err != nil {
			return nil, fmt.Errorf("register sign-in metrics: %w", err)
		}
	}
	return a, nil
}

// Principal is whoever makes a request: a person or a machine. The zero Principal is nobody and may do nothing.
type Principal struct {
	ID      string // user or token id
	Name    string
	Role    Role
	Zone    zone.Zone // acts here and beneath
	Machine bool      // came with an API token
}

func person(u store.User) Principal {
	return Principal{ID: u.ID, Name: u.Name, Role: Role(u.Role), Zone: u.Zone}
}

// Person describes somebody to be added.
type Person struct {
	Name     string
	Password string
	Role     Role
	Zone     zone.Zone
}

// AddUser stores a new person and returns them without the hash. It answers ErrName, ErrNameTaken, ErrRole, ErrZone, or
// one of the errors of CheckPassword.
func (a *Accounts) AddUser(ctx context.Context, p Person) (Principal, error) {
	if err := CheckName(p.Name); err != nil {
		return Principal{}, err
	}
	if !p.Role.Valid() {
		return Principal{}, ErrRole
	}
	hash, err := a.hashNew(ctx, p.Password, p.Name)
	if err != nil {
		return Principal{}, err
	}
	u := store.User{ID: store.NewID(), Name: p.Name, Password: hash, Role: string(p.Role), Zone: p.Zone, Created: a.now()}
	switch err := a.records.AddUser(ctx, u); {
	case errors.Is(err, store.ErrConflict):
		return Principal{}, ErrNameTaken
	case errors.Is(err, store.ErrUnknownZone):
		return Principal{}, ErrZone
	case err != nil:
		return Principal{}, err
	}
	return person(u), nil
}

// SetPassword gives a person a new password and signs them out everywhere. The caller has verified who asks.
func (a *Accounts) SetPassword(ctx context.Context, id, password string) error {
	u, err := a.records.User(ctx, id)
	if err != nil {
		return err
	}
	hash, err := a.hashNew(ctx, password, u.Name)
	if err != nil {
		return err
	}
	if err := a.records.SetPassword(ctx, id, hash); err != nil {
		return err
	}
	a.forget(id)
	return nil
}

// Disable forbids a person to sign in and signs them out everywhere.
func (a *Accounts) Disable(ctx context.Context, id string) error {
	if err := a.records.DisableUser(ctx, id, a.now()); err != nil {
		return err
	}
	a.forget(id)
	return nil
}

func (a *Accounts) hashNew(ctx context.Context, password, name string) (string, error) {
	text, err := checked(password, name)
	if err != nil {
		return "", err
	}
	return a.hasher.hash(ctx, text)
}
