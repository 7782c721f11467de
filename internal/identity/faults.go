package identity

import (
	"crypto/x509"
	"errors"
	"fmt"
	"time"
)

// What can be wrong with a certificate, a signed object or a token; test with errors.Is. The error itself says whose
// and how.
var (
	ErrNotEnrolled   = errors.New("not enrolled")
	ErrNoCertificate = errors.New("no certificate")
	ErrUnknownRoot   = errors.New("does not chain to a pinned root")
	ErrExpired       = errors.New("expired")
	ErrNotYetValid   = errors.New("not yet valid")
	ErrUsage         = errors.New("not made for this use")
	ErrNames         = errors.New("does not name its holder clearly")
	ErrScope         = errors.New("outside the issuer's scope")
	ErrUnknownIssuer = errors.New("unknown issuer")
	ErrToken         = errors.New("not an enrolment token")
	ErrEnvelope      = errors.New("zone-key envelope refused")
	ErrAddressee     = errors.New("meant for another node")
	ErrStale         = errors.New("older than the one in force")
)

// Reason names the fault of a certificate in one word, for a metric's label; "other" for what is not ours.
func Reason(err error) string {
	for _, r := range []struct {
		fault error
		word  string
	}{
		{ErrNoCertificate, "no_certificate"}, {ErrUnknownRoot, "unknown_root"}, {ErrExpired, "expired"},
		{ErrNotYetValid, "not_yet_valid"}, {ErrUsage, "usage"}, {ErrNames, "names"}, {ErrScope, "scope"},
	} {
		if errors.Is(err, r.fault) {
			return r.word
		}
	}
	return "other"
}

// valid judges a certificate's validity. A zero now is a clock that is not set: then nothing can be said.
func valid(c *x509.Certificate, now time.Time) error {
	switch {
	case now.IsZero():
		return nil
	case now.After(c.NotAfter):
		return fmt.Errorf("%w on %s (this clock says %s)", ErrExpired, stamp(c.NotAfter), stamp(now))
	case now.Before(c.NotBefore):
		return fmt.Errorf("%w before %s (this clock says %s)", ErrNotYetValid, stamp(c.NotBefore), stamp(now))
	}
	return nil
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
