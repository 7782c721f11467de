package identity

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"time"

	"dongthanh/internal/signed"
)

// Peer tells who is at the other end of a connection that was made with one of our configurations, with its
// certificate. It verifies again and relies on nothing that the handshake has checked. ErrNoCertificate if the other
// end showed none; a zero now judges no validity.
func Peer(cs tls.ConnectionState, now time.Time, roots *Roots) (Node, *x509.Certificate, error) {
	return roots.node(cs.PeerCertificates, now, x509.ExtKeyUsageClientAuth)
}

// ServerTLS is the configuration of a control port: TLS 1.3, our whole chain. A client certificate is asked for and
// verified if it comes; one that enrols has none yet, so whoever serves must ask Peer.
func (c *Credentials) ServerTLS() *tls.Config {
	return &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{c.certificate()},
		ClientAuth:   tls.RequestClientCert,
		NextProtos:   []string{"http/1.1"},
		// A resumed session saves a fifth of the handshake and would outlive a revocation.
		SessionTicketsDisabled: true,
		VerifyConnection: func(cs tls.ConnectionState) error {
			if len(cs.PeerCertificates) == 0 {
				return nil
			}
			_, _, err := c.Roots.node(cs.PeerCertificates, c.Time(), x509.ExtKeyUsageClientAuth)
			return err
		},
	}
}

// ClientTLS is the configuration towards an upstream: TLS 1.3, our certificate, and at the other end a relay or
// streamer that chains to a pinned root.
func (c *Credentials) ClientTLS() *tls.Config {
	own := c.certificate()
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		NextProtos: []string{"http/1.1"},
		// Always, even if the server's list of authorities does not name ours.
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &own, nil },
		// The names of hosts say nothing here: nodes are reached by address. VerifyConnection checks who it is.
		InsecureSkipVerify: true, // #nosec G402 -- replaced by VerifyConnection
		VerifyConnection: func(cs tls.ConnectionState) error {
			_, _, err := c.Roots.node(cs.PeerCertificates, c.Time(), x509.ExtKeyUsageServerAuth)
			return err
		},
	}
}

// Time is the clock that certificates are judged by; zero if it is not set.
func (c *Credentials) Time() time.Time {
	if c.Now == nil {
		return time.Now()
	}
	return c.Now()
}

// Valid returns ErrExpired or ErrNotYetValid if our own certificate is, for a clear line before others refuse it.
func (c *Credentials) Valid() error {
	if err := valid(c.Chain[0], c.Time()); err != nil {
		return fmt.Errorf("own certificate of %s %q: %w", c.Node.Kind, c.Node.ID, err)
	}
	return nil
}

// SignReport signs what this node hears with its own key.
func (c *Credentials) SignReport(r signed.Report) ([]byte, error) {
	return signed.Sign(r, []byte(c.Node.ID), c.Key)
}

func (c *Credentials) certificate() tls.Certificate {
	t := tls.Certificate{PrivateKey: c.Key, Leaf: c.Chain[0]}
	for _, x := range c.Chain {
		t.Certificate = append(t.Certificate, x.Raw)
	}
	return t
}
