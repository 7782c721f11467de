package identity

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestToken(t *testing.T) {
	root := sha256.Sum256([]byte("root"))
	for _, kind := range []Kind{Relay, Client} {
		a, b := NewToken(kind, root), NewToken(kind, root)
		if a.Secret == b.Secret {
			t.Fatalf("two tokens with the secret %x", a.Secret)
		}
		got, err := ParseToken(" " + a.String() + "\n")
		if err != nil || got != a {
			t.Errorf("ParseToken(String()) = %+v, %v, want %+v", got, err, a)
		}
		if a.Hash() != sha256.Sum256(a.Secret[:]) {
			t.Errorf("Hash() = %x", a.Hash())
		}
	}
	good := NewToken(Client, root).String()
	for name, s := range map[string]string{
		"empty": "", "prefix only": tokenPrefix, "another version": "DT2." + good[4:], "short": good[:len(good)-1],
		"long": good + "A", "a comma": good[:len(good)-1] + ",", "unknown kind": tokenPrefix + "AAAA" + good[8:],
		"padding bits": good[:len(good)-1] + "_", "a word": "xin chào",
	} {
		_, err := ParseToken(s)
		if !errors.Is(err, ErrToken) {
			t.Errorf("ParseToken(%s) = %v, want ErrToken", name, err)
		}
		if err != nil && len(s) > 20 && strings.Contains(err.Error(), s[8:20]) {
			t.Errorf("the error repeats the secret: %v", err)
		}
	}
}

// TestAccept: what an answer to an enrolment may not do.
func TestAccept(t *testing.T) {
	n, other := newNetwork(t, "31", 2), newNetwork(t, "31", 2)
	k, token := must(NewKeys())(t), NewToken(Client, n.roots.Hash())
	roots := n.roots.DER()
	chain := func(leaf *x509.Certificate) [][]byte {
		return [][]byte{leaf.Raw, n.issuer.Certificate.Raw, n.root.Certificate.Raw}
	}
	good := chain(n.leafFor(t, k, speaker, nil))
	swapped := k
	swapped.Sealing = must(NewKeys())(t).Sealing
	for _, c := range []struct {
		name         string
		chain, roots [][]byte
		now          time.Time
		want         error // nil with fails: any
		fails        bool
	}{
		{"good", good, roots, day, nil, false},
		{"another root pinned", good, other.roots.DER(), day, ErrUnknownRoot, true},
		{"another root beside", good, append(n.roots.DER(), other.roots.DER()...), day, ErrUnknownRoot, true},
		{"no root", good, nil, day, ErrUnknownRoot, true},
		{"another network's certificate", [][]byte{other.leafFor(t, k, speaker, nil).Raw, other.issuer.Certificate.Raw, other.root.Certificate.Raw}, roots, day, ErrUnknownRoot, true},
		{"somebody else's key", chain(n.leaf(t, speaker, nil)), roots, day, nil, true},
		{"somebody else's sealing key", chain(n.leafFor(t, swapped, speaker, nil)), roots, day, nil, true},
		{"another kind", chain(n.leafFor(t, k, mailman, nil)), roots, day, ErrUsage, true},
		{"expired", good, roots, day.Add(2 * year), ErrExpired, true},
		{"no chain", nil, roots, day, nil, true},
		{"garbage", [][]byte{[]byte("x")}, roots, day, nil, true},
		{"five certificates", append(slices.Clone(good), good[1], good[2]), roots, day, nil, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := token.Accept(k, c.chain, c.roots, c.now)
			if (err != nil) != c.fails || (c.want != nil && !errors.Is(err, c.want)) {
				t.Fatalf("Accept() = %v, want %v", err, c.want)
			}
			if err == nil && got.Node != speaker {
				t.Errorf("Accept() = %+v, want %+v", got.Node, speaker)
			}
		})
	}
}

// TestTokenTLS: whom a new node talks to.
func TestTokenTLS(t *testing.T) {
	n, other := newNetwork(t, "31", 2), newNetwork(t, "31", 2)
	config := NewToken(Client, n.roots.Hash()).TLS(func() time.Time { return day })
	relay := n.leaf(t, mailman, nil)
	for _, c := range []struct {
		name  string
		certs []*x509.Certificate
		want  error
	}{
		{"a relay", []*x509.Certificate{relay, n.issuer.Certificate, n.root.Certificate}, nil},
		{"without its root", []*x509.Certificate{relay, n.issuer.Certificate}, ErrUnknownRoot},
		{"another network", []*x509.Certificate{other.leaf(t, mailman, nil), other.issuer.Certificate, other.root.Certificate}, ErrUnknownRoot},
		{"another network that shows our root", []*x509.Certificate{other.leaf(t, mailman, nil), other.issuer.Certificate, n.root.Certificate}, ErrUnknownRoot},
		{"another network that shows our issuer and root", []*x509.Certificate{other.leaf(t, mailman, nil), n.issuer.Certificate, n.root.Certificate}, ErrUnknownRoot},
		{"a loudspeaker", []*x509.Certificate{n.leaf(t, speaker, nil), n.issuer.Certificate, n.root.Certificate}, ErrUsage},
		{"nothing", nil, ErrUnknownRoot},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := config.VerifyConnection(tls.ConnectionState{PeerCertificates: c.certs}); !errors.Is(err, c.want) || (c.want == nil && err != nil) {
				t.Errorf("VerifyConnection() = %v, want %v", err, c.want)
			}
		})
	}
}

func FuzzToken(f *testing.F) {
	f.Add(NewToken(Relay, sha256.Sum256(nil)).String())
	f.Add("DT1.")
	f.Fuzz(func(t *testing.T, s string) {
		if token, err := ParseToken(s); err == nil && token.String() != strings.TrimSpace(s) {
			t.Errorf("ParseToken(%q) reads as %q: two texts for one token", s, token)
		}
	})
}
