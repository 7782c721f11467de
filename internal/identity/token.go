package identity

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"strings"
	"time"
)

// tokenPrefix marks the text form of version 1.
const tokenPrefix = "DT1."

// Token lets one node enrol, once. It carries the SHA-256 of the root's certificate, so that a new node knows the true
// root before it has spoken to anybody.
type Token struct {
	Kind   Kind // Relay or Client
	Root   [sha256.Size]byte
	Secret [16]byte
}

const tokenLen = 1 + sha256.Size + 16

// NewToken draws a secret of 128 bits. root is Roots.Hash.
func NewToken(kind Kind, root [sha256.Size]byte) Token {
	t := Token{Kind: kind, Root: root}
	_, _ = rand.Read(t.Secret[:]) // never fails (crypto/rand)
	return t
}

// ParseToken reads the text form. ErrToken; the error does not repeat the text.
func ParseToken(s string) (Token, error) {
	text, ok := strings.CutPrefix(strings.TrimSpace(s), tokenPrefix)
	if !ok {
		return Token{}, fmt.Errorf("%w: it does not begin with %s", ErrToken, tokenPrefix)
	}
	if len(text) != base64.RawURLEncoding.EncodedLen(tokenLen) {
		return Token{}, fmt.Errorf("%w: %d characters after %s, want %d", ErrToken, len(text), tokenPrefix,
			base64.RawURLEncoding.EncodedLen(tokenLen))
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil {
		return Token{}, fmt.Errorf("%w: characters that do not belong", ErrToken)
	}
	t := Token{Root: [sha256.Size]byte(raw[1:]), Secret: [16]byte(raw[1+sha256.Size:])}
	switch raw[0] {
	case 'r':
		t.Kind = Relay
	case 'c':
		t.Kind = Client
	default:
		return Token{}, fmt.Errorf("%w: unknown kind", ErrToken)
	}
	return t, nil
}

// String is the text form: "DT1." and base64url of kind (1 byte, 'r' or 'c'), root (32) and secret (16). It is a
// secret: print it once, log it never.
func (t Token) String() string {
	raw := make([]byte, 0, tokenLen)
	raw = append(raw, t.Kind[0])
	raw = append(raw, t.Root[:]...)
	raw = append(raw, t.Secret[:]...)
	return tokenPrefix + base64.RawURLEncoding.EncodeToString(raw)
}

// Hash is the SHA-256 of the secret: all that the issuer keeps. A secret of 128 bits needs no salt.
func (t Token) Hash() [sha256.Size]byte { return sha256.Sum256(t.Secret[:]) }

// TLS is the configuration of an enrolment: no certificate of our own, and at the other end a relay or streamer that
// chains to the token's root, else ErrUnknownRoot. The other end shows its root in the handshake.
func (t Token) TLS(now func() time.Time) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		NextProtos: []string{"http/1.1"},
		// The names of hosts say nothing here: nodes are reached by address. VerifyConnection checks who it is.
		InsecureSkipVerify: true, // #nosec G402 -- replaced by VerifyConnection
		VerifyConnection: func(cs tls.ConnectionState) error {
			ders := make([][]byte, 0, len(cs.PeerCertificates))
			for _, c := range cs.PeerCertificates {
				if sha256.Sum256(c.Raw) == t.Root {
					ders = append(ders, c.Raw)
				}
			}
			roots, err := PinRoots(t.Root, ders...)
			if err != nil {
				return fmt.Errorf("not the network this token belongs to: %w", err)
			}
			_, _, err = roots.node(cs.PeerCertificates, now(), x509.ExtKeyUsageServerAuth)
			return err
		},
	}
}

// Accept checks an issuer's answer to an enrolment and makes credentials of it: the chain must lead to the token's
// root, be for our own keys and for the token's kind. roots beyond the token's are pinned only if that one has
// certified them.
func (t Token) Accept(k Keys, chain, roots [][]byte, now time.Time) (*Credentials, error) {
	pinned, err := PinRoots(t.Root, roots...)
	if err != nil {
		return nil, fmt.Errorf("accept certificate: %w", err)
	}
	certs, err := parse(chain)
	if err != nil {
		return nil, fmt.Errorf("accept certificate: %w", err)
	}
	c, err := assemble(k, certs, pinned)
	if err != nil {
		return nil, fmt.Errorf("accept certificate: %w", err)
	}
	if c.Node.Kind != t.Kind {
		return nil, fmt.Errorf("accept certificate: it is for a %s, the token for a %s: %w", c.Node.Kind, t.Kind, ErrUsage)
	}
	if err := valid(c.Chain[0], now); err != nil {
		return nil, fmt.Errorf("accept certificate: %w", err)
	}
	return c, nil
}
