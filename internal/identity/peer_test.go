package identity

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"dongthanh/internal/signed"
)

// TestPeer lists what a certificate may have wrong, and that each is told apart.
func TestPeer(t *testing.T) {
	n := newNetwork(t, "31", signed.ClassEmergency)
	other := newNetwork(t, "31", signed.ClassEmergency)
	chain := func(leaf *x509.Certificate) []*x509.Certificate {
		return []*x509.Certificate{leaf, n.issuer.Certificate, n.root.Certificate}
	}
	with := func(change func(*x509.Certificate)) []*x509.Certificate { return chain(n.leaf(t, speaker, change)) }
	names := func(change func(labels []string) []string) []*x509.Certificate {
		return with(func(c *x509.Certificate) {
			var texts []string
			for _, u := range c.URIs {
				texts = append(texts, u.String())
			}
			c.URIs = nil
			for _, s := range change(texts) {
				c.URIs = append(c.URIs, must(url.Parse(s))(t))
			}
		})
	}
	without := func(label string) func([]string) []string {
		return func(l []string) []string {
			return slices.DeleteFunc(l, func(s string) bool { return strings.HasPrefix(s, prefix+label+":") })
		}
	}
	and := func(more string) func([]string) []string { return func(l []string) []string { return append(l, more) } }
	subIssuer := func() []*x509.Certificate { // an issuer that makes issuers
		pub, key, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		middle := must(issue(issuerTemplate(pub, "31", 2, serial(), day, day.Add(year)), n.issuer.Certificate, pub, n.issuer.Key))(t)
		bad := network{issuer: &Authority{Certificate: middle, Key: key}}
		return []*x509.Certificate{bad.leaf(t, speaker, nil), middle, n.issuer.Certificate, n.root.Certificate}
	}
	byNode := func() []*x509.Certificate { // a node that makes nodes
		k := must(NewKeys())(t)
		node := n.leafFor(t, k, mailman, nil)
		bad := network{issuer: &Authority{Certificate: node, Key: k.Signing}}
		return []*x509.Certificate{bad.leaf(t, speaker, nil), node, n.issuer.Certificate, n.root.Certificate}
	}
	byRoot := func() []*x509.Certificate { // no issuer between
		return []*x509.Certificate{network{issuer: n.root}.leaf(t, speaker, nil), n.root.Certificate}
	}
	ecdsaLeaf := func() []*x509.Certificate {
		key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t)
		sealing := must(NewKeys())(t).Sealing.PublicKey()
		der := must(x509.CreateCertificate(rand.Reader, nodeTemplate(speaker, sealing, serial(), day, day.Add(year)),
			n.issuer.Certificate, key.Public(), n.issuer.Key))(t)
		return chain(must(x509.ParseCertificate(der))(t))
	}
	noNames := func(c *x509.Certificate) { c.URIs = nil }

	for _, c := range []struct {
		name  string
		certs []*x509.Certificate
		now   time.Time
		use   x509.ExtKeyUsage
		want  error
	}{
		{"a loudspeaker", with(nil), day, x509.ExtKeyUsageClientAuth, nil},
		{"a relay as client", chain(n.leaf(t, mailman, nil)), day, x509.ExtKeyUsageClientAuth, nil},
		{"a relay as server", chain(n.leaf(t, mailman, nil)), day, x509.ExtKeyUsageServerAuth, nil},
		{"root left out", with(nil)[:2], day, x509.ExtKeyUsageClientAuth, nil},
		{"issuer expired since", with(nil), day.Add(200 * 24 * time.Hour), x509.ExtKeyUsageClientAuth, nil},
		{"none", nil, day, x509.ExtKeyUsageClientAuth, ErrNoCertificate},
		{"issuer left out", with(nil)[:1], day, x509.ExtKeyUsageClientAuth, ErrUnknownRoot},
		{"another root", []*x509.Certificate{other.leaf(t, speaker, nil), other.issuer.Certificate, other.root.Certificate}, day, x509.ExtKeyUsageClientAuth, ErrUnknownRoot},
		{"another root, ours appended", []*x509.Certificate{other.leaf(t, speaker, nil), other.issuer.Certificate, n.root.Certificate}, day, x509.ExtKeyUsageClientAuth, ErrUnknownRoot},
		{"another issuer, ours appended", []*x509.Certificate{other.leaf(t, speaker, nil), n.issuer.Certificate, n.root.Certificate}, day, x509.ExtKeyUsageClientAuth, ErrUnknownRoot},
		{"made by the root", byRoot(), day, x509.ExtKeyUsageClientAuth, ErrUnknownRoot},
		{"made by a node", byNode(), day, x509.ExtKeyUsageClientAuth, ErrUnknownRoot},
		{"issuer beneath an issuer", subIssuer(), day, x509.ExtKeyUsageClientAuth, ErrUnknownRoot},
		{"issuer as a node", []*x509.Certificate{n.issuer.Certificate, n.root.Certificate}, day, x509.ExtKeyUsageClientAuth, ErrUnknownRoot},
		{"expired", with(nil), day.Add(2 * year), x509.ExtKeyUsageClientAuth, ErrExpired},
		{"not yet valid", with(nil), day.Add(-2 * time.Hour), x509.ExtKeyUsageClientAuth, ErrNotYetValid},
		{"clock not set", with(nil), nobodyAt, x509.ExtKeyUsageClientAuth, nil},
		{"older than its issuer", with(func(c *x509.Certificate) { c.NotBefore = day.Add(-year) }), day, x509.ExtKeyUsageClientAuth, ErrUnknownRoot},
		{"for servers only", with(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }), day, x509.ExtKeyUsageClientAuth, ErrUsage},
		{"for any use", with(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageAny} }), day, x509.ExtKeyUsageClientAuth, ErrUsage},
		{"for mail", with(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageEmailProtection} }), day, x509.ExtKeyUsageClientAuth, ErrUsage},
		{"a loudspeaker as server", with(nil), day, x509.ExtKeyUsageServerAuth, ErrUsage},
		{"a loudspeaker made for servers", with(func(c *x509.Certificate) { c.ExtKeyUsage = append(c.ExtKeyUsage, x509.ExtKeyUsageServerAuth) }), day, x509.ExtKeyUsageServerAuth, ErrUsage},
		{"another kind of key", ecdsaLeaf(), day, x509.ExtKeyUsageClientAuth, ErrUsage},
		{"no names", with(noNames), day, x509.ExtKeyUsageClientAuth, ErrNames},
		{"a host's name only", with(func(c *x509.Certificate) { c.URIs, c.DNSNames = nil, []string{"client-1"} }), day, x509.ExtKeyUsageClientAuth, ErrNames},
		{"no id", names(without(labelNode)), day, x509.ExtKeyUsageClientAuth, ErrNames},
		{"no kind", names(without(labelKind)), day, x509.ExtKeyUsageClientAuth, ErrNames},
		{"no zone", names(without(labelZone)), day, x509.ExtKeyUsageClientAuth, ErrNames},
		{"no sealing key", names(without(labelHPKE)), day, x509.ExtKeyUsageClientAuth, ErrNames},
		{"two ids", names(and("urn:dongthanh:node:client-2")), day, x509.ExtKeyUsageClientAuth, ErrNames},
		{"two kinds", names(and("urn:dongthanh:kind:relay")), day, x509.ExtKeyUsageClientAuth, ErrNames},
		{"two zones", names(and("urn:dongthanh:zone:31")), day, x509.ExtKeyUsageClientAuth, ErrNames},
		{"two sealing keys", names(and("urn:dongthanh:hpke:AAAA")), day, x509.ExtKeyUsageClientAuth, ErrNames},
		{"two display names", names(and("urn:dongthanh:name:x")), day, x509.ExtKeyUsageClientAuth, ErrNames},
		{"an issuer's name", names(and("urn:dongthanh:issuer")), day, x509.ExtKeyUsageClientAuth, ErrNames},
		{"an unknown name of ours", names(and("urn:dongthanh:colour:red")), day, x509.ExtKeyUsageClientAuth, nil},
		{"a bad id", names(func(l []string) []string { return append(without(labelNode)(l), "urn:dongthanh:node:a/b") }), day, x509.ExtKeyUsageClientAuth, ErrNames},
		{"a bad kind", names(func(l []string) []string { return append(without(labelKind)(l), "urn:dongthanh:kind:king") }), day, x509.ExtKeyUsageClientAuth, ErrNames},
		{"a bad zone", names(func(l []string) []string { return append(without(labelZone)(l), "urn:dongthanh:zone:31//2") }), day, x509.ExtKeyUsageClientAuth, ErrNames},
		{"a short sealing key", names(func(l []string) []string { return append(without(labelHPKE)(l), "urn:dongthanh:hpke:AAAA") }), day, x509.ExtKeyUsageClientAuth, ErrNames},
		{"another province", chain(n.leaf(t, Node{ID: "x", Kind: Client, Zone: "32/1"}, nil)), day, x509.ExtKeyUsageClientAuth, ErrScope},
		{"the whole country", chain(n.leaf(t, Node{ID: "x", Kind: Client, Zone: ""}, nil)), day, x509.ExtKeyUsageClientAuth, ErrScope},
	} {
		t.Run(c.name, func(t *testing.T) {
			node, leaf, err := n.roots.node(c.certs, c.now, c.use)
			if !errors.Is(err, c.want) || (c.want == nil && err != nil) {
				t.Fatalf("node() = %v, want %v", err, c.want)
			}
			if c.want == nil && (leaf != c.certs[0] || node.Validate() != nil || (node.ID == speaker.ID && node != speaker)) {
				t.Errorf("node() = %+v, want %+v", node, speaker)
			}
			if c.want != nil && Reason(err) == "other" {
				t.Errorf("Reason(%v) = other", err)
			}
		})
	}
	node, _, err := Peer(tls.ConnectionState{PeerCertificates: with(nil)}, day, n.roots)
	if err != nil || node != speaker {
		t.Errorf("Peer() = %+v, %v, want %+v", node, err, speaker)
	}
	if _, _, err := Peer(tls.ConnectionState{}, day, n.roots); !errors.Is(err, ErrNoCertificate) {
		t.Errorf("Peer() without a certificate = %v, want ErrNoCertificate", err)
	}
}

// TestPeerManyCertificates: a peer cannot make us search among a heap.
func TestPeerManyCertificates(t *testing.T) {
	n := newNetwork(t, "31", signed.ClassEmergency)
	certs := []*x509.Certificate{n.leaf(t, speaker, nil)}
	for range maxCerts {
		certs = append(certs, n.leaf(t, mailman, nil))
	}
	certs = append(certs, n.issuer.Certificate)
	if _, _, err := n.roots.node(certs, day, x509.ExtKeyUsageClientAuth); !errors.Is(err, ErrUnknownRoot) {
		t.Errorf("node() with the issuer in place %d = %v, want ErrUnknownRoot", len(certs), err)
	}
}

func TestVerifyIssuer(t *testing.T) {
	n := newNetwork(t, "31", signed.ClassPriority)
	other := newNetwork(t, "31", signed.ClassPriority)
	make := func(change func(*x509.Certificate)) []byte {
		pub, _, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		template := issuerTemplate(pub, "31", signed.ClassPriority, serial(), day, day.Add(year))
		change(template)
		return must(issue(template, n.root.Certificate, pub, n.root.Key))(t).Raw
	}
	uris := func(texts ...string) []byte {
		return make(func(c *x509.Certificate) {
			c.URIs = nil
			for _, s := range texts {
				c.URIs = append(c.URIs, must(url.Parse(s))(t))
			}
		})
	}
	good := n.issuer.Certificate.Raw
	for _, c := range []struct {
		name string
		der  []byte
		now  time.Time
		want error
	}{
		{"good", good, day, nil},
		{"clock not set", good, nobodyAt, nil},
		{"expired", good, day.Add(year), ErrExpired},
		{"not yet valid", good, day.Add(-year), ErrNotYetValid},
		{"another root's", other.issuer.Certificate.Raw, day, ErrUnknownRoot},
		{"the root itself", n.root.Certificate.Raw, day, ErrNames},
		{"a node", n.leaf(t, mailman, nil).Raw, day, ErrUnknownRoot},
		{"no authority", make(func(c *x509.Certificate) { c.IsCA, c.MaxPathLenZero = false, false }), day, ErrUsage},
		{"signs no certificates", make(func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageDigitalSignature }), day, ErrUsage},
		{"not called issuer", uris("urn:dongthanh:zone:31", "urn:dongthanh:class:1"), day, ErrNames},
		{"no scope", uris("urn:dongthanh:issuer", "urn:dongthanh:class:1"), day, ErrNames},
		{"two scopes", uris("urn:dongthanh:issuer", "urn:dongthanh:zone:31", "urn:dongthanh:zone:32", "urn:dongthanh:class:1"), day, ErrNames},
		{"bad scope", uris("urn:dongthanh:issuer", "urn:dongthanh:zone:/", "urn:dongthanh:class:1"), day, ErrNames},
		{"no class", uris("urn:dongthanh:issuer", "urn:dongthanh:zone:31"), day, ErrNames},
		{"unknown class", uris("urn:dongthanh:issuer", "urn:dongthanh:zone:31", "urn:dongthanh:class:3"), day, ErrNames},
		{"negative class", uris("urn:dongthanh:issuer", "urn:dongthanh:zone:31", "urn:dongthanh:class:-1"), day, ErrNames},
	} {
		t.Run(c.name, func(t *testing.T) {
			issuer, err := n.roots.VerifyIssuer(c.der, c.now)
			if !errors.Is(err, c.want) || (c.want == nil && err != nil) {
				t.Fatalf("VerifyIssuer() = %v, want %v", err, c.want)
			}
			if c.want == nil && (issuer.Scope != "31" || issuer.MaxClass != signed.ClassPriority || issuer.ID != n.issuer.ID()) {
				t.Errorf("VerifyIssuer() = %+v", issuer)
			}
		})
	}
	for name, der := range map[string][]byte{"empty": nil, "garbage": []byte("garbage"), "large": append(slices.Clone(good), slices.Repeat([]byte{0}, signed.MaxLen)...)} {
		if _, err := n.roots.VerifyIssuer(der, day); err == nil {
			t.Errorf("VerifyIssuer(%s) = nil, want an error", name)
		}
	}
}

func TestPinRoots(t *testing.T) {
	a, b := newNetwork(t, "", 2), newNetwork(t, "", 2)
	pin := a.roots.Hash()
	next := must(issue(rootTemplate(b.root.Certificate.PublicKey.(ed25519.PublicKey), serial(), day, year), a.root.Certificate,
		b.root.Certificate.PublicKey.(ed25519.PublicKey), a.root.Key))(t)
	for _, c := range []struct {
		name string
		ders [][]byte
		want int // roots pinned; 0: refused
	}{
		{"the one", [][]byte{a.root.Certificate.Raw}, 1},
		{"the one twice", [][]byte{a.root.Certificate.Raw, a.root.Certificate.Raw}, 1},
		{"with the next, certified", [][]byte{a.root.Certificate.Raw, next.Raw}, 2},
		{"in other order", [][]byte{next.Raw, a.root.Certificate.Raw}, 2},
		{"none", nil, 0},
		{"another", [][]byte{b.root.Certificate.Raw}, 0},
		{"with a stranger's", [][]byte{a.root.Certificate.Raw, b.root.Certificate.Raw}, 0},
		{"with an issuer", [][]byte{a.root.Certificate.Raw, b.issuer.Certificate.Raw}, 0},
		{"with garbage", [][]byte{a.root.Certificate.Raw, []byte("x")}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := PinRoots(pin, c.ders...)
			if (err == nil) != (c.want > 0) {
				t.Fatalf("PinRoots() = %v, want %d roots", err, c.want)
			}
			if err == nil && (len(r.DER()) != c.want || r.Hash() != pin) {
				t.Errorf("PinRoots() pins %d roots, want %d", len(r.DER()), c.want)
			}
		})
	}
	// The next root takes over: what it has issued holds.
	r := must(PinRoots(pin, a.root.Certificate.Raw, next.Raw))(t)
	if _, _, err := r.node([]*x509.Certificate{b.leaf(t, speaker, nil), b.issuer.Certificate, b.root.Certificate}, day, x509.ExtKeyUsageClientAuth); err != nil {
		t.Errorf("node beneath the next root: %v", err)
	}
}
