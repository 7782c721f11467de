package identity

import (
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/x509"
	"testing"
	"time"

	"go.uber.org/goleak"

	"dongthanh/internal/signed"
	"dongthanh/internal/zone"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// day is when everything in these tests happens.
var day = time.Date(2026, 11, 24, 5, 0, 0, 0, time.UTC)

const year = 365 * 24 * time.Hour

// network is a root with one issuer, and what to trust it with.
type network struct {
	root, issuer *Authority
	roots        *Roots
}

func newNetwork(t testing.TB, scope zone.Zone, max signed.Class) network {
	t.Helper()
	root := must(NewRoot(day, 10*year))(t)
	issuer := must(root.NewIssuer(scope, max, day, 90*24*time.Hour))(t)
	return network{root: root, issuer: issuer, roots: must(NewRoots(root.Certificate.Raw))(t)}
}

// must fails the test on an error.
func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// leaf makes a node's certificate that change has had its way with, signed by the issuer.
func (n network) leaf(t testing.TB, node Node, change func(*x509.Certificate)) *x509.Certificate {
	t.Helper()
	k := must(NewKeys())(t)
	return n.leafFor(t, k, node, change)
}

func (n network) leafFor(t testing.TB, k Keys, node Node, change func(*x509.Certificate)) *x509.Certificate {
	t.Helper()
	template := nodeTemplate(node, k.Sealing.PublicKey(), serial(), day.Add(-time.Hour), day.Add(year))
	if change != nil {
		change(template)
	}
	return must(issue(template, n.issuer.Certificate, k.Signing.Public().(ed25519.PublicKey), n.issuer.Key))(t)
}

var (
	speaker  = Node{ID: "client-1", Kind: Client, Zone: "31/11296", Name: "Loa đình làng"}
	mailman  = Node{ID: "relay-1", Kind: Relay, Zone: "31/11296"}
	nobodyAt = time.Time{}
)

// seeded makes keys that are the same in each run: for golden files only.
func seeded(t testing.TB, b byte) Keys {
	t.Helper()
	seed := make([]byte, ed25519.SeedSize)
	for i := range seed {
		seed[i] = b
	}
	return Keys{Signing: ed25519.NewKeyFromSeed(seed), Sealing: must(ecdh.X25519().NewPrivateKey(seed))(t)}
}
