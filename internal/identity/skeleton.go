package identity

import (
	"context"
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"time"

	"dongthanh/internal/signed"
	"dongthanh/internal/zone"
)

var errSkeleton = errors.New("not written yet")

// What can be wrong with a certificate or an object; test with errors.Is.
var (
	ErrNotEnrolled   = errors.New("not enrolled")
	ErrUnknownRoot   = errors.New("does not chain to a pinned root")
	ErrExpired       = errors.New("expired")
	ErrNotYetValid   = errors.New("not yet valid")
	ErrUsage         = errors.New("not made for this use")
	ErrNames         = errors.New("names no node clearly")
	ErrNoCertificate = errors.New("no certificate")
	ErrUnknownIssuer = errors.New("unknown issuer")
	ErrScope         = errors.New("outside the issuer's scope")
	ErrToken         = errors.New("malformed enrolment token")
	ErrEnvelope      = errors.New("zone-key envelope cannot be opened")
)

// Load reads a node's credentials from dir/{key.pem,hpke.pem,chain.pem,roots.pem}. ErrNotEnrolled if there are none. An
// expired certificate is no error here.
func Load(dir string) (*Credentials, error) { return nil, errSkeleton }

// Save stores credentials so that Load finds either the old or the new ones whole, whenever the power fails.
func (c *Credentials) Save(dir string) error { return errSkeleton }

// ServerTLS is the configuration of a control port.
func (c *Credentials) ServerTLS() *tls.Config { return nil }

// ClientTLS is the configuration towards an upstream.
func (c *Credentials) ClientTLS() *tls.Config { return nil }

// Peer tells who is at the other end of a connection.
func Peer(cs tls.ConnectionState, now time.Time, roots *Roots) (Node, *x509.Certificate, error) {
	return Node{}, nil, errSkeleton
}

// SealingKey returns the X25519 key that a node's certificate carries.
func SealingKey(leaf *x509.Certificate) (*ecdh.PublicKey, error) { return nil, errSkeleton }

// Roots are the one or two pinned roots.
type Roots struct{}

// Issuer is a verified issuer.
type Issuer struct {
	ID        signed.ID
	DER       []byte
	Key       ed25519.PublicKey
	Scope     zone.Zone
	MaxClass  signed.Class
	NotBefore time.Time
	NotAfter  time.Time
}

// Permits returns nil if the issuer may grant c: zones, key zone, class, level (ErrScope).
func (i *Issuer) Permits(c signed.SessionCert) error { return errSkeleton }

// MayStop reports whether a stop by this issuer ends c.
func (i *Issuer) MayStop(c signed.SessionCert) bool { return false }

// VerifyIssuer checks an issuer's certificate against the roots.
func (r *Roots) VerifyIssuer(der []byte, now time.Time) (*Issuer, error) { return nil, errSkeleton }

// Trust verifies signed objects; safe for concurrent use.
type Trust struct{}

// NewTrust makes a Trust that knows no issuer yet. now may return the zero time: the clock is not set, validity is then
// not judged (DESIGN §8: such a node admits by fences).
func NewTrust(roots *Roots, now func() time.Time) *Trust { return &Trust{} }

// AddIssuer verifies an issuer and remembers it.
func (t *Trust) AddIssuer(der []byte) error { return errSkeleton }

// Session verifies a session certificate. ErrUnknownIssuer until AddIssuer.
func (t *Trust) Session(raw []byte) (signed.SessionCert, *Issuer, error) {
	return signed.SessionCert{}, nil, errSkeleton
}

// Stop verifies a stop; the caller asks MayStop for each transmission.
func (t *Trust) Stop(raw []byte) (signed.Stop, *Issuer, error) {
	return signed.Stop{}, nil, errSkeleton
}

// ZoneKey verifies an envelope's signature.
func (t *Trust) ZoneKey(raw []byte) (signed.ZoneKey, error) { return signed.ZoneKey{}, errSkeleton }

// Token is a parsed enrolment token.
type Token struct {
	Kind   Kind
	Root   [32]byte // SHA-256 of the root's DER
	Secret [16]byte
}

// NewToken draws a secret.
func NewToken(kind Kind, root [32]byte) Token { return Token{} }

// ParseToken reads the text form.
func ParseToken(s string) (Token, error) { return Token{}, errSkeleton }

// String is the text form, "DT1." + base64url.
func (t Token) String() string { return "" }

// Hash is the SHA-256 of the secret: all that the issuer keeps.
func (t Token) Hash() [32]byte { return [32]byte{} }

// Keyring holds a node's zone secrets.
type Keyring struct{}

// OpenKeyring reads dir/zonekeys.json, creating an empty keyring where there is none.
func OpenKeyring(dir string, c *Credentials) (*Keyring, error) { return nil, errSkeleton }

// Open opens a verified envelope (Trust.ZoneKey) and keeps the secret, on disk when it returns.
func (k *Keyring) Open(e signed.ZoneKey) error { return errSkeleton }

// Secret returns a zone's secret in an epoch.
func (k *Keyring) Secret(z zone.Zone, epoch uint32) ([32]byte, bool) { return [32]byte{}, false }

var _ = context.Background
