package identity

import (
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"time"

	"dongthanh/internal/signed"
	"dongthanh/internal/zone"
)

// backdated is how much earlier than now a certificate begins: a node's clock may lag, and a certificate that is not
// yet valid keeps it silent. Taste.
const backdated = time.Hour

// Authority is a root or an issuer with its private key. Only the streamer's room issuer and tests hold one.
type Authority struct {
	Certificate *x509.Certificate
	Key         ed25519.PrivateKey
	root        *x509.Certificate // of an issuer; itself for a root
}

// NewRoot makes a self-signed root that lives until now + life.
func NewRoot(now time.Time, life time.Duration) (*Authority, error) {
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make root's key: %w", err)
	}
	t := rootTemplate(pub, serial(), now, life)
	c, err := issue(t, t, pub, key)
	if err != nil {
		return nil, fmt.Errorf("make root: %w", err)
	}
	return &Authority{Certificate: c, Key: key, root: c}, nil
}

// NewIssuer makes an issuer beneath the root: it may certify nodes and grant sessions within scope, up to class max.
func (a *Authority) NewIssuer(scope zone.Zone, max signed.Class, now time.Time, life time.Duration) (*Authority, error) {
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make issuer's key: %w", err)
	}
	c, err := issue(issuerTemplate(pub, scope, max, serial(), a.within(now), a.until(now, life)), a.Certificate, pub, a.Key)
	if err != nil {
		return nil, fmt.Errorf("make issuer for zone %q: %w", scope, err)
	}
	return &Authority{Certificate: c, Key: key, root: a.Certificate}, nil
}

// OpenIssuer joins an issuer's stored key and certificates. It checks that they belong together; validity is not judged.
func OpenIssuer(key ed25519.PrivateKey, issuer, root []byte) (*Authority, error) {
	roots, err := NewRoots(root)
	if err != nil {
		return nil, fmt.Errorf("open issuer: %w", err)
	}
	if _, err := roots.VerifyIssuer(issuer, time.Time{}); err != nil {
		return nil, fmt.Errorf("open issuer: %w", err)
	}
	c, err := x509.ParseCertificate(issuer)
	if err != nil {
		return nil, fmt.Errorf("open issuer: %w", err)
	}
	return open(key, c, roots.certs[0])
}

// OpenRoot joins a root's stored key and certificate.
func OpenRoot(key ed25519.PrivateKey, root []byte) (*Authority, error) {
	roots, err := NewRoots(root)
	if err != nil {
		return nil, fmt.Errorf("open root: %w", err)
	}
	return open(key, roots.certs[0], roots.certs[0])
}

func open(key ed25519.PrivateKey, c, root *x509.Certificate) (*Authority, error) {
	if !key.Public().(ed25519.PublicKey).Equal(c.PublicKey) {
		return nil, fmt.Errorf("open %q: the key is another certificate's", c.Subject.CommonName)
	}
	return &Authority{Certificate: c, Key: key, root: root}, nil
}

// Certify makes a node's certificate for its two public keys and returns its chain in DER: node, issuer, root. ErrScope
// if the node's zone is not this issuer's; ErrNames if the names are out of bounds.
func (a *Authority) Certify(n Node, signing ed25519.PublicKey, sealing *ecdh.PublicKey, now time.Time, life time.Duration) ([][]byte, error) {
	issuer, err := issuerOf(a.Certificate)
	if err != nil {
		return nil, fmt.Errorf("certify %q: %w", n.ID, err)
	}
	if err := n.Validate(); err != nil {
		return nil, fmt.Errorf("certify %q: %w", n.ID, err)
	}
	if !issuer.Scope.Contains(n.Zone) {
		return nil, fmt.Errorf("certify %q: %w: zone %q is not in %q", n.ID, ErrScope, n.Zone, issuer.Scope)
	}
	until := now.Add(life)
	if until.After(a.root.NotAfter) {
		until = a.root.NotAfter
	}
	c, err := issue(nodeTemplate(n, sealing, serial(), a.within(now), until), a.Certificate, signing, a.Key)
	if err != nil {
		return nil, fmt.Errorf("certify %q: %w", n.ID, err)
	}
	return [][]byte{c.Raw, a.Certificate.Raw, a.root.Raw}, nil
}

// Enlist draws keys for a node and certifies them: for the streamer's own certificate, which no token stands for.
func (a *Authority) Enlist(n Node, now time.Time, life time.Duration) (*Credentials, error) {
	k, err := NewKeys()
	if err != nil {
		return nil, err
	}
	chain, err := a.Certify(n, k.Signing.Public().(ed25519.PublicKey), k.Sealing.PublicKey(), now, life)
	if err != nil {
		return nil, err
	}
	roots, err := NewRoots(a.root.Raw)
	if err != nil {
		return nil, err
	}
	return NewCredentials(k, chain, roots)
}

// ID names the authority as the signer of objects: the SHA-256 of its certificate's DER.
func (a *Authority) ID() signed.ID { return sha256.Sum256(a.Certificate.Raw) }

// within is the begin of what is made now: backdated, but not before the authority's own begin, since a chain is judged
// by the moment at which its last certificate begins.
func (a *Authority) within(now time.Time) time.Time {
	if t := now.Add(-backdated); t.After(a.Certificate.NotBefore) {
		return t
	}
	return a.Certificate.NotBefore
}

func (a *Authority) until(now time.Time, life time.Duration) time.Time {
	if t := now.Add(life); t.Before(a.Certificate.NotAfter) {
		return t
	}
	return a.Certificate.NotAfter
}

// serial draws 127 random bits (RFC 5280 §4.1.2.2: positive, at most 20 bytes).
func serial() *big.Int {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	b[0] &= 0x7f
	return new(big.Int).SetBytes(b[:])
}

func issue(t, parent *x509.Certificate, pub ed25519.PublicKey, key ed25519.PrivateKey) (*x509.Certificate, error) {
	der, err := x509.CreateCertificate(rand.Reader, t, parent, pub, key)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

// fingerprint tells two authorities apart for people.
func fingerprint(pub ed25519.PublicKey) string {
	h := sha256.Sum256(pub)
	return fmt.Sprintf("%x", h[:4])
}

func rootTemplate(pub ed25519.PublicKey, serial *big.Int, now time.Time, life time.Duration) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{Organization: []string{"Dong Thanh"}, CommonName: "root " + fingerprint(pub)},
		NotBefore:    now.Add(-backdated), NotAfter: now.Add(life),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true, IsCA: true, MaxPathLen: 1,
	}
}

func issuerTemplate(pub ed25519.PublicKey, scope zone.Zone, max signed.Class, serial *big.Int, from, until time.Time) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{Organization: []string{"Dong Thanh"}, CommonName: "issuer " + fingerprint(pub)},
		NotBefore:    from, NotAfter: until,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		BasicConstraintsValid: true, IsCA: true, MaxPathLen: 0, MaxPathLenZero: true,
		URIs: IssuerURIs(scope, max),
	}
}

func nodeTemplate(n Node, sealing *ecdh.PublicKey, serial *big.Int, from, until time.Time) *x509.Certificate {
	t := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{Organization: []string{"Dong Thanh"}, CommonName: string(n.Kind) + " " + n.ID},
		NotBefore:    from, NotAfter: until,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
		URIs:                  n.URIs(sealing),
	}
	if n.Kind.Serves() {
		t.ExtKeyUsage = append(t.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
	}
	return t
}
