package identity

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"dongthanh/internal/signed"
	"dongthanh/internal/zone"
)

// maxCerts is how many certificates of a peer are looked at: node, issuer, root and one to spare.
const maxCerts = 4

// Roots are the pinned roots, one or two (the current and the next): the only anchors of trust. They never change
// after they were made; safe for concurrent use.
type Roots struct {
	certs []*x509.Certificate
	pool  *x509.CertPool
}

// NewRoots pins roots that are known to be right, such as those on a node's own disk. The first is the current one.
func NewRoots(ders ...[]byte) (*Roots, error) {
	if len(ders) < 1 || len(ders) > 2 {
		return nil, fmt.Errorf("pin %d roots, want 1 or 2", len(ders))
	}
	r := &Roots{pool: x509.NewCertPool()}
	for _, der := range ders {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("parse root: %w", err)
		}
		if !authority(c) {
			return nil, fmt.Errorf("root %q is no Ed25519 authority: %w", c.Subject.CommonName, ErrUsage)
		}
		r.certs = append(r.certs, c)
		r.pool.AddCert(c)
	}
	return r, nil
}

// PinRoots pins roots that a stranger hands over: the one whose DER has the given SHA-256, and beside it at most one
// that this one has certified. Nobody on the way can slip in a root of his own. ErrUnknownRoot.
func PinRoots(pin [sha256.Size]byte, ders ...[]byte) (*Roots, error) {
	i := slices.IndexFunc(ders, func(der []byte) bool { return sha256.Sum256(der) == pin })
	if i < 0 {
		return nil, fmt.Errorf("root with SHA-256 %x is not among the %d certificates shown: %w", pin, len(ders), ErrUnknownRoot)
	}
	all := [][]byte{ders[i]}
	for j, der := range ders {
		if j != i && !bytes.Equal(der, ders[i]) {
			all = append(all, der)
		}
	}
	r, err := NewRoots(all...)
	if err != nil {
		return nil, err
	}
	for _, next := range r.certs[1:] {
		if err := next.CheckSignatureFrom(r.certs[0]); err != nil {
			return nil, fmt.Errorf("second root %q is not certified by the first: %w", next.Subject.CommonName, ErrUnknownRoot)
		}
	}
	return r, nil
}

// Hash returns the SHA-256 of the current root's DER, which an enrolment token carries.
func (r *Roots) Hash() [sha256.Size]byte { return sha256.Sum256(r.certs[0].Raw) }

// DER returns the roots' certificates, the current one first.
func (r *Roots) DER() [][]byte {
	ders := make([][]byte, len(r.certs))
	for i, c := range r.certs {
		ders[i] = c.Raw
	}
	return ders
}

func authority(c *x509.Certificate) bool {
	_, ed := c.PublicKey.(ed25519.PublicKey)
	return ed && c.BasicConstraintsValid && c.IsCA && c.KeyUsage&x509.KeyUsageCertSign != 0
}

// chain finds leaf → issuer → root with exactly one issuer between, in others' certificates. Times are judged at the
// moment the leaf was made: an issuer lives 90 days and the nodes it certified longer, so that its later end must not
// cut them off. Whether the leaf itself is valid now is left to the caller.
func (r *Roots) chain(leaf *x509.Certificate, others []*x509.Certificate) (issuer *x509.Certificate, err error) {
	between := x509.NewCertPool()
	for _, c := range others {
		between.AddCert(c)
	}
	chains, err := leaf.Verify(x509.VerifyOptions{
		Roots: r.pool, Intermediates: between, CurrentTime: leaf.NotBefore,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnknownRoot, err)
	}
	for _, chain := range chains {
		if len(chain) == 3 && authority(chain[1]) {
			return chain[1], nil
		}
	}
	return nil, fmt.Errorf("%w through one issuer", ErrUnknownRoot)
}

// node verifies a node's certificates, the leaf first, for a use of its key.
func (r *Roots) node(certs []*x509.Certificate, now time.Time, use x509.ExtKeyUsage) (Node, *x509.Certificate, error) {
	if len(certs) == 0 {
		return Node{}, nil, ErrNoCertificate
	}
	leaf := certs[0]
	n, err := r.check(leaf, certs[1:min(len(certs), maxCerts)], now, use)
	if err != nil {
		who := n.ID
		if who == "" {
			who = leaf.Subject.CommonName
		}
		return Node{}, nil, fmt.Errorf("certificate of %q: %w", who, err)
	}
	return n, leaf, nil
}

// check returns the names together with the error where the signature held and something else is wrong.
func (r *Roots) check(leaf *x509.Certificate, others []*x509.Certificate, now time.Time, use x509.ExtKeyUsage) (Node, error) {
	raw, err := r.chain(leaf, others)
	if err != nil {
		return Node{}, err
	}
	issuer, err := issuerOf(raw)
	if err != nil {
		return Node{}, fmt.Errorf("its issuer: %w", err)
	}
	if _, ed := leaf.PublicKey.(ed25519.PublicKey); !ed || leaf.IsCA || !slices.Contains(leaf.ExtKeyUsage, use) {
		return Node{}, ErrUsage
	}
	n, err := nodeOf(leaf)
	if err != nil {
		return Node{}, err
	}
	if use == x509.ExtKeyUsageServerAuth && !n.Kind.Serves() {
		return n, fmt.Errorf("%w: a %s serves nobody", ErrUsage, n.Kind)
	}
	if !issuer.Scope.Contains(n.Zone) {
		return n, fmt.Errorf("%w: zone %q is not in %q", ErrScope, n.Zone, issuer.Scope)
	}
	return n, valid(leaf, now)
}

// Issuer is a verified issuer: what it may grant, and the key that its grants are signed with.
type Issuer struct {
	ID        signed.ID
	DER       []byte
	Key       ed25519.PublicKey
	Scope     zone.Zone    // it speaks to zones at or beneath this one
	MaxClass  signed.Class // the highest class it grants
	NotBefore time.Time
	NotAfter  time.Time
}

// VerifyIssuer checks an issuer's certificate against the roots. ErrUnknownRoot, ErrNames, ErrUsage, ErrExpired,
// ErrNotYetValid; a zero now judges no validity.
func (r *Roots) VerifyIssuer(der []byte, now time.Time) (*Issuer, error) {
	if len(der) > signed.MaxLen {
		return nil, fmt.Errorf("issuer's certificate of %d bytes, want at most %d", len(der), signed.MaxLen)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("parse issuer's certificate: %w", err)
	}
	_, err = c.Verify(x509.VerifyOptions{
		Roots: r.pool, CurrentTime: c.NotBefore, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	if err != nil {
		return nil, fmt.Errorf("issuer %q: %w: %w", c.Subject.CommonName, ErrUnknownRoot, err)
	}
	issuer, err := issuerOf(c)
	if err != nil {
		return nil, fmt.Errorf("issuer %q: %w", c.Subject.CommonName, err)
	}
	if err := valid(c, now); err != nil {
		return nil, fmt.Errorf("issuer %q: %w", c.Subject.CommonName, err)
	}
	return issuer, nil
}

// issuerOf reads an issuer's certificate, whose signature the caller has checked.
func issuerOf(c *x509.Certificate) (*Issuer, error) {
	if !authority(c) {
		return nil, ErrUsage
	}
	m := labels(c.URIs)
	if _, err := only(m, labelIssuer); err != nil {
		return nil, err
	}
	place, err := only(m, labelZone)
	if err != nil {
		return nil, err
	}
	scope, err := zone.Parse(place)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNames, err)
	}
	text, err := only(m, labelClass)
	if err != nil {
		return nil, err
	}
	class, err := strconv.ParseUint(text, 10, 8)
	if err != nil || signed.Class(class) > signed.ClassEmergency {
		return nil, fmt.Errorf("%w: class %q", ErrNames, text)
	}
	return &Issuer{
		ID: sha256.Sum256(c.Raw), DER: c.Raw, Key: c.PublicKey.(ed25519.PublicKey), Scope: scope,
		MaxClass: signed.Class(class), NotBefore: c.NotBefore, NotAfter: c.NotAfter,
	}, nil
}

// Permits returns nil if the issuer may grant c: its zones and key zone lie within the scope, its class is not too
// high, and it claims no administrative level above the scope's, which would outrank others. ErrScope.
func (i *Issuer) Permits(c signed.SessionCert) error {
	for _, z := range append([]zone.Zone{c.KeyZone}, c.Zones...) {
		if !i.Scope.Contains(z) {
			return fmt.Errorf("%w: zone %q is not in %q", ErrScope, z, i.Scope)
		}
	}
	if c.Class > i.MaxClass {
		return fmt.Errorf("%w: class %d, at most %d", ErrScope, c.Class, i.MaxClass)
	}
	if int(c.Level) < i.Scope.Level() {
		return fmt.Errorf("%w: level %d, at least %d", ErrScope, c.Level, i.Scope.Level())
	}
	return nil
}

// MayStop reports whether a stop by this issuer ends c: whoever may speak to all of c's zones may silence it there.
func (i *Issuer) MayStop(c signed.SessionCert) bool {
	return i.MaxClass >= c.Class && !slices.ContainsFunc(c.Zones, func(z zone.Zone) bool { return !i.Scope.Contains(z) })
}

// parse reads certificates in DER.
func parse(ders [][]byte) ([]*x509.Certificate, error) {
	if len(ders) == 0 || len(ders) > maxCerts {
		return nil, fmt.Errorf("%d certificates, want 1 to %d", len(ders), maxCerts)
	}
	certs := make([]*x509.Certificate, 0, len(ders))
	for _, der := range ders {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, errors.Join(errors.New("parse certificate"), err)
		}
		certs = append(certs, c)
	}
	return certs, nil
}
