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

func (r *renewing) Session(c signed.SessionCert) (raw, issuer []byte, err error) {
	raw, issuer, err = r.Issuer.Session(c)
	r.Issuer = r.next
	return raw, issuer, err
}

// TestIssuerRenewed: the issuer that goes out with a certificate is always the one that signed it.
func TestIssuerRenewed(t *testing.T) {
	first := newIssuer(t, signed.ClassEmergency)
	k := transmit(t, plan(), &renewing{first, newIssuer(t, signed.ClassEmergency)}, &tone{samples: 9600, err: io.EOF}, nil)
	if k.err != nil {
		t.Fatal(k.err)
	}
	k.hear(t, plan(), first) // it fails if the certificate cannot be verified by the issuer beside it
}
