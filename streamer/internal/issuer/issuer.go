// Package issuer is the certificate authority within the streamer: it makes the root and the issuer at first start,
// certifies nodes that bring an enrolment token, and signs session certificates, stops and zone-key envelopes within
// its own scope. It decides nothing about who may go on air; the streamer's other rooms call it.
package issuer

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"dongthanh/internal/control"
	"dongthanh/internal/identity"
	"dongthanh/internal/signed"
	"dongthanh/internal/zone"
	"dongthanh/streamer/internal/store"
)

// Store is the part of the database that the issuer needs; *store.Store has it.
type Store interface {
	EnrolNode(ctx context.Context, secret store.Hash, at time.Time, build func(store.Token) (store.Node, error)) (store.Node, error)
	AddNode(ctx context.Context, n store.Node) error
	RenewNode(ctx context.Context, n store.Node) error
	Node(ctx context.Context, id string) (store.Node, error)
	Nodes(ctx context.Context) ([]store.Node, error)
	RevokeNode(ctx context.Context, id string, at time.Time) error
	EnsureZoneKey(ctx context.Context, z zone.Zone, at time.Time) (store.ZoneKey, error)
	ZoneKeys(ctx context.Context, z zone.Zone) ([]store.ZoneKey, error)
}

// Options configure an Issuer.
type Options struct {
	Dir      string // <store>/keys: root/, issuer/ and node/ beneath it
	Store    Store
	Scope    zone.Zone    // zones that it may speak to, "" the whole country; fixed at first start
	MaxClass signed.Class // highest class it may grant; fixed at first start
	Name     string       // of the streamer, for people
	Log      *slog.Logger
	Now      func() time.Time // nil: time.Now
}

// Issuer signs. Safe for concurrent use.
type Issuer struct{}

// Open reads the issuer's keys, making root, issuer and the streamer's own credentials where they are missing, and
// renewing the latter two where they grow old.
func Open(ctx context.Context, o Options) (*Issuer, error) { return nil, errors.New("not written yet") }

// Credentials are the streamer's own, for its control port.
func (i *Issuer) Credentials() *identity.Credentials { return nil }

// DER is the issuer's certificate, which goes with whatever it signed.
func (i *Issuer) DER() []byte { return nil }

// Root is the SHA-256 of the root's certificate, which enrolment tokens carry.
func (i *Issuer) Root() [32]byte { return [32]byte{} }

// Enrol certifies a node that brings a token. Refusals are *control.Refused.
func (i *Issuer) Enrol(ctx context.Context, r control.EnrolRequest) (*control.EnrolResponse, error) {
	return nil, errors.New("not written yet")
}

// Session signs a session certificate within the scope; its error wraps identity.ErrScope otherwise.
func (i *Issuer) Session(c signed.SessionCert) ([]byte, error) {
	return nil, errors.New("not written yet")
}

// Stop signs a stop.
func (i *Issuer) Stop(s signed.Stop) ([]byte, error) { return nil, errors.New("not written yet") }

// ZoneKeys returns signed envelopes for a node: its zone and every zone above within the scope, each in the current
// epoch, the one before and those prepared.
func (i *Issuer) ZoneKeys(ctx context.Context, node string) ([][]byte, error) {
	return nil, errors.New("not written yet")
}

// Revoke ends trust in a node, in the database and for Revoked.
func (i *Issuer) Revoke(ctx context.Context, node string) error { return errors.New("not written yet") }

// Revoked reports whether a node's trust has ended: the hook for control's admission. It does no I/O.
func (i *Issuer) Revoked(node string) bool { return false }

// Maintain renews what grows old; the program calls it once a day.
func (i *Issuer) Maintain(ctx context.Context) error { return errors.New("not written yet") }
