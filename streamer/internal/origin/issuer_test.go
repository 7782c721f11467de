package origin

import (
	"io"
	"testing"

	"dongthanh/internal/signed"
)

// renewing is an issuer that is renewed right after it has signed for the first time.
type renewing struct {
	Issuer
	next Issuer
}

func (r *renewing) Session(c signed.SessionCert) ([]byte, error) {
	raw, err := r.Issuer.Session(c)
	r.Issuer = r.next
	return raw, err
}

// TestIssuerRenewed: the issuer that goes out with a certificate is always the one that signed it.
func TestIssuerRenewed(t *testing.T) {
	next := newIssuer(t, signed.ClassEmergency)
	k := transmit(t, plan(), &renewing{newIssuer(t, signed.ClassEmergency), next}, &tone{samples: 9600, err: io.EOF}, nil)
	if k.err != nil {
		t.Fatal(k.err)
	}
	k.hear(t, plan(), next) // it fails if the certificate cannot be verified by the issuer beside it
}
