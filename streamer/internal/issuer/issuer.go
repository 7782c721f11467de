// Package issuer is the certificate authority within the streamer: it makes the root and the issuer at first start,
// certifies nodes that bring an enrolment token, and signs session certificates, stops and zone-key envelopes within
// its own scope. It never decides who goes on air; the streamer's other rooms and its command line call it. Its keys
// leave the machine by nobody's hand but an administrator's: keys/root/key.pem may be moved to a safe place and is
// needed again only when the issuer is renewed.
package issuer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"dongthanh/internal/identity"
	"dongthanh/internal/signed"
	"dongthanh/internal/zone"
	"dongthanh/streamer/internal/store"
)

// How long certificates live. What is within the last third of its life is renewed.
const (
	rootLife     = 10 * 365 * 24 * time.Hour
	issuerLife   = 90 * 24 * time.Hour
	serverLife   = 90 * 24 * time.Hour  // streamer and relays
	clientLife   = 365 * 24 * time.Hour // loudspeakers
	maintainWait = time.Hour
)

// Store is the part of the database that the issuer needs; *store.Store has it.
type Store interface {
	AddToken(ctx context.Context, t store.Token) error
	Token(ctx context.Context, secret store.Hash) (store.Token, error)
	EnrolNode(ctx context.Context, secret store.Hash, at time.Time, build func(store.Token) (store.Node, error)) (store.Node, error)
	AddNode(ctx context.Context, n store.Node) error
	RenewNode(ctx context.Context, n store.Node) error
	Node(ctx context.Context, id string) (store.Node, error)
	Nodes(ctx context.Context) ([]store.Node, error)
	ReissueNode(ctx context.Context, n store.Node, from string) error
	Restored(ctx context.Context) (time.Time, error)
	RevokeNode(ctx context.Context, id string, at time.Time) error
	EnsureZoneKey(ctx context.Context, z zone.Zone, at time.Time) (store.ZoneKey, error)
	ZoneKeys(ctx context.Context, z zone.Zone) ([]store.ZoneKey, error)
}

// Options configure an Issuer. Dir, Store and Log must be set.
type Options struct {
	Dir      string // <store>/keys; root/, issuer-N/ and node/ lie beneath it
	Store    Store
	Scope    zone.Zone    // the zones that it may speak to; "" is the whole country
	MaxClass signed.Class // the highest class that it may grant
	Name     string       // of the streamer, for people; "streamer" if empty
	Log      *slog.Logger
	Now      func() time.Time // nil: time.Now
}

// Issuer certifies and signs. Safe for concurrent use.
type Issuer struct {
	o    Options
	root []byte // DER; set by Open

	renewing sync.Mutex // held while keys on disk change
	current  atomic.Pointer[state]

	mu      sync.RWMutex // guards revoked
	revoked map[string]bool
}

// state is what a renewal replaces as a whole.
type state struct {
	authority   *identity.Authority
	grants      *identity.Issuer
	credentials *identity.Credentials
}

// Open reads the keys, makes root, issuer and the streamer's own credentials where they are missing, and renews the
// latter two where they grow old or the scope has changed. Two programs may do so at a time (the server and a command
// line): they find the same keys.
func Open(ctx context.Context, o Options) (*Issuer, error) {
	if o.Dir == "" || o.Store == nil || o.Log == nil {
		return nil, errors.New("open issuer: an option that must be set is not")
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Name == "" {
		o.Name = "streamer"
	}
	i := &Issuer{o: o, revoked: make(map[string]bool)}
	if err := i.open(ctx); err != nil {
		return nil, fmt.Errorf("open issuer in %s: %w", o.Dir, err)
	}
	return i, nil
}

func (i *Issuer) open(ctx context.Context) error {
	if err := identity.MakeDir(i.o.Dir); err != nil {
		return err
	}
	if err := i.Maintain(ctx); err != nil {
		return err
	}
	nodes, err := i.o.Store.Nodes(ctx)
	if err != nil {
		return err
	}
	for _, n := range nodes {
		if !n.Revoked.IsZero() {
			i.revoked[n.ID] = true
		}
	}
	return nil
}

// Maintain renews what grows old: the issuer (for which the root's key must be in its place) and the streamer's own
// credentials. Holders of the old ones go on with them; they stay valid for weeks.
func (i *Issuer) Maintain(ctx context.Context) (err error) {
	i.renewing.Lock()
	defer i.renewing.Unlock()
	// Another program (the command line beside the server) may do the same.
	lock, err := os.OpenFile(filepath.Join(i.o.Dir, lockName), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Close()) }() // closing releases the lock
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return fmt.Errorf("lock the keys: %w", err)
	}
	now := i.o.Now()
	if i.root == nil {
		if i.root, err = ensureRoot(i.o.Dir, now); err != nil {
			return err
		}
	}
	authority, err := i.ensureIssuer(now)
	if err != nil {
		return err
	}
	roots, err := identity.NewRoots(i.root)
	if err != nil {
		return err
	}
	grants, err := roots.VerifyIssuer(authority.Certificate.Raw, now)
	if err != nil {
		return fmt.Errorf("the issuer itself: %w", err)
	}
	credentials, err := i.ensureCredentials(ctx, authority, now)
	if err != nil {
		return err
	}
	i.current.Store(&state{authority: authority, grants: grants, credentials: credentials})
	return nil
}

// Run keeps the certificates young until ctx ends, and returns nil then. What cannot be renewed is logged, again and
// again: there are weeks to put it right.
func (i *Issuer) Run(ctx context.Context) error {
	t := time.NewTicker(maintainWait)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
			if err := i.Maintain(ctx); err != nil && ctx.Err() == nil {
				i.o.Log.Error("certificates could not be renewed", "err", err)
			}
		}
	}
}

// Credentials are the streamer's own, for its control port. After a renewal they are others.
func (i *Issuer) Credentials() *identity.Credentials { return i.current.Load().credentials }

// DER is the issuer's certificate, which goes along with whatever it signed.
func (i *Issuer) DER() []byte { return i.current.Load().authority.Certificate.Raw }

// Root is the SHA-256 of the root's certificate, which enrolment tokens carry.
func (i *Issuer) Root() [32]byte { return i.Credentials().Roots.Hash() }

// aging reports whether less than a third of a certificate's life is left.
func aging(from, until, now time.Time) bool { return until.Sub(now) < until.Sub(from)/3 }
