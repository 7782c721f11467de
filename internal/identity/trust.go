package identity

import (
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"
	"sync"
	"time"

	"dongthanh/internal/signed"
)

// maxIssuers bounds the cache of verified issuers. A node meets one for each streamer, and one more while that one is
// renewed; only the roots can make more.
const maxIssuers = 32

// leeway is how much earlier than its begin a session certificate is accepted: nodes' clocks differ, and media freshness
// is judged by the same 15 s (DESIGN §8).
const leeway = 15 * time.Second

// Trust judges signed objects by the pinned roots. It keeps the issuers it has verified. Safe for concurrent use.
type Trust struct {
	roots *Roots
	now   func() time.Time

	mu      sync.RWMutex // guards the two below
	issuers map[signed.ID]*Issuer
	order   []signed.ID // of arrival; the oldest goes when full
}

// NewTrust makes a Trust that knows no issuer yet. now is the node's best knowledge of the time; a zero time says that
// it has none, and then validity is not judged: such a node admits by fences instead (DESIGN §8).
func NewTrust(roots *Roots, now func() time.Time) *Trust {
	return &Trust{roots: roots, now: now, issuers: make(map[signed.ID]*Issuer)}
}

// AddIssuer verifies an issuer's certificate and remembers it; one that is known costs a hash. The errors are
// Roots.VerifyIssuer's.
func (t *Trust) AddIssuer(der []byte) error {
	if t.issuer(sha256.Sum256(der)) != nil {
		return nil
	}
	issuer, err := t.roots.VerifyIssuer(der, t.now())
	if err != nil {
		return fmt.Errorf("trust issuer: %w", err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.issuers[issuer.ID] != nil {
		return nil
	}
	if len(t.order) == maxIssuers {
		delete(t.issuers, t.order[0])
		t.order = t.order[1:]
	}
	t.issuers[issuer.ID] = issuer
	t.order = append(t.order, issuer.ID)
	return nil
}

func (t *Trust) issuer(id signed.ID) *Issuer {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.issuers[id]
}

// Session verifies a session certificate: the signature of an issuer that may grant it (ErrScope), and its validity
// (ErrExpired, ErrNotYetValid). ErrUnknownIssuer until AddIssuer has been told of it.
func (t *Trust) Session(raw []byte) (signed.SessionCert, *Issuer, error) {
	c, issuer, err := verified[signed.SessionCert](t, raw)
	if err == nil {
		err = issuer.Permits(c)
	}
	if now := t.now(); err == nil && !now.IsZero() {
		switch {
		case now.Unix() > c.NotAfter:
			err = fmt.Errorf("%w on %s", ErrExpired, stamp(time.Unix(c.NotAfter, 0)))
		case now.Add(leeway).Unix() < c.NotBefore:
			err = fmt.Errorf("%w before %s", ErrNotYetValid, stamp(time.Unix(c.NotBefore, 0)))
		}
	}
	if err != nil {
		return signed.SessionCert{}, nil, fmt.Errorf("verify session certificate: %w", err)
	}
	return c, issuer, nil
}

// Stop verifies a stop's signature. Whose transmissions it ends is for the caller to ask, of each: Issuer.MayStop.
func (t *Trust) Stop(raw []byte) (signed.Stop, *Issuer, error) {
	s, issuer, err := verified[signed.Stop](t, raw)
	if err != nil {
		return signed.Stop{}, nil, fmt.Errorf("verify stop: %w", err)
	}
	return s, issuer, nil
}

// ZoneKey verifies the signature of a zone-key envelope, and that its zone is the issuer's to key (ErrScope).
func (t *Trust) ZoneKey(raw []byte) (signed.ZoneKey, error) {
	k, issuer, err := verified[signed.ZoneKey](t, raw)
	if err == nil && !issuer.Scope.Contains(k.Zone) {
		err = fmt.Errorf("%w: zone %q is not in %q", ErrScope, k.Zone, issuer.Scope)
	}
	if err != nil {
		return signed.ZoneKey{}, fmt.Errorf("verify zone key: %w", err)
	}
	return k, nil
}

// Order verifies an order to the node that this is: the signature of an issuer whose scope contains the node's zone
// (ErrScope), the addressee (ErrAddressee), and its validity (ErrExpired, ErrNotYetValid). Whether it is a replay is for
// the caller to tell by its number.
func (t *Trust) Order(raw []byte, self Node) (signed.Order, error) {
	o, issuer, err := verified[signed.Order](t, raw)
	now := t.now()
	switch {
	case err != nil:
	case !issuer.Scope.Contains(self.Zone):
		err = fmt.Errorf("%w: zone %q is not in %q", ErrScope, self.Zone, issuer.Scope)
	case o.Node != self.ID:
		err = fmt.Errorf("%w: %q", ErrAddressee, o.Node)
	case now.IsZero():
	case now.After(o.NotAfter.Time()):
		err = fmt.Errorf("%w on %s", ErrExpired, stamp(o.NotAfter.Time()))
	case now.Add(leeway).Before(o.At.Time()):
		err = fmt.Errorf("%w before %s", ErrNotYetValid, stamp(o.At.Time()))
	}
	if err != nil {
		return signed.Order{}, fmt.Errorf("verify order: %w", err)
	}
	return o, nil
}

// verified parses an object and checks its signature with the key of a known issuer that is valid now.
func verified[B signed.Body](t *Trust, raw []byte) (B, *Issuer, error) {
	var none B
	o, err := signed.Parse[B](raw)
	if err != nil {
		return none, nil, err
	}
	if len(o.Signer()) != len(signed.ID{}) {
		return none, nil, fmt.Errorf("%w: signer of %d bytes", signed.ErrMalformed, len(o.Signer()))
	}
	issuer := t.issuer(signed.ID(o.Signer()))
	if issuer == nil {
		return none, nil, fmt.Errorf("%w %x", ErrUnknownIssuer, o.Signer()[:8])
	}
	b, err := o.Verify(issuer.Key)
	if err != nil {
		return none, nil, err
	}
	if err := issuer.validAt(t.now()); err != nil {
		return none, nil, err
	}
	return b, issuer, nil
}

func (i *Issuer) validAt(now time.Time) error {
	switch {
	case now.IsZero():
		return nil
	case now.After(i.NotAfter):
		return fmt.Errorf("its issuer %w on %s", ErrExpired, stamp(i.NotAfter))
	case now.Before(i.NotBefore):
		return fmt.Errorf("its issuer is %w before %s", ErrNotYetValid, stamp(i.NotBefore))
	}
	return nil
}

// VerifyReport checks a report with the signing key of the node whose id is n, and that the node speaks of itself.
func VerifyReport(raw []byte, n string, key ed25519.PublicKey) (signed.Report, error) {
	o, err := signed.Parse[signed.Report](raw)
	if err != nil {
		return signed.Report{}, fmt.Errorf("verify report: %w", err)
	}
	if len(key) != ed25519.PublicKeySize { // crypto/ed25519 would panic
		return signed.Report{}, fmt.Errorf("verify report: key of %d bytes", len(key))
	}
	r, err := o.Verify(key)
	if err != nil {
		return signed.Report{}, fmt.Errorf("verify report: %w", err)
	}
	if r.Node != n || string(o.Signer()) != n {
		return signed.Report{}, fmt.Errorf("verify report: it speaks of %q, signed by %q", r.Node, o.Signer())
	}
	return r, nil
}
