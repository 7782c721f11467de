package identity

import (
	"bytes"
	"crypto/x509"
	"fmt"
	"time"

	"dongthanh/internal/signed"
)

// Renew joins a chain (node, issuer, root), which the issuer has made for this node's own keys, to what the node has: a
// renewed certificate, or one that says another zone or name. now is the node's best knowledge of the time; zero judges
// no validity. The chain that is in force already gives c itself. Errors: ErrUnknownRoot and the other faults of a
// chain, ErrAddressee (another node's), ErrExpired, ErrNotYetValid, ErrStale: certificates are ordered by when they
// begin, so that nobody on the way can bring back an earlier one.
func (c *Credentials) Renew(chain [][]byte, now time.Time) (*Credentials, error) {
	n, err := c.renew(chain, now)
	if err != nil {
		return nil, fmt.Errorf("renew certificate of %q: %w", c.Node.ID, err)
	}
	return n, nil
}

func (c *Credentials) renew(chain [][]byte, now time.Time) (*Credentials, error) {
	certs, err := parse(chain)
	if err != nil {
		return nil, err
	}
	n, err := assemble(Keys{Signing: c.Key, Sealing: c.HPKE}, certs, c.Roots)
	switch {
	case err != nil:
		return nil, err
	case n.Node.ID != c.Node.ID || n.Node.Kind != c.Node.Kind:
		return nil, fmt.Errorf("%w: %s %q", ErrAddressee, n.Node.Kind, n.Node.ID)
	case bytes.Equal(n.Chain[0].Raw, c.Chain[0].Raw):
		return c, nil
	case !n.Chain[0].NotBefore.After(c.Chain[0].NotBefore):
		return nil, fmt.Errorf("%w: it begins on %s, the one in force on %s", ErrStale, stamp(n.Chain[0].NotBefore), stamp(c.Chain[0].NotBefore))
	}
	if err := valid(n.Chain[0], now); err != nil {
		return nil, err
	}
	n.Now = c.Now
	return n, nil
}

// After is a moment at which an issuer can make a certificate that Renew takes for later than old: now, unless old was
// made later by a clock that went ahead.
func After(old *x509.Certificate, now time.Time) time.Time {
	if first := old.NotBefore.Add(backdated + time.Second); first.After(now) {
		return first
	}
	return now
}

// Serial writes a certificate's serial number as records and messages have it: lower-case hex.
func Serial(c *x509.Certificate) string { return fmt.Sprintf("%x", c.SerialNumber) }

// Revocation verifies the signature of a revocation. It ends whatever its issuer names: ids are drawn at random and never
// given twice, and an issuer of a small scope that lies can cut nodes, but make none speak.
func (t *Trust) Revocation(raw []byte) (signed.Revocation, error) {
	r, _, err := verified[signed.Revocation](t, raw)
	if err != nil {
		return signed.Revocation{}, fmt.Errorf("verify revocation: %w", err)
	}
	return r, nil
}
