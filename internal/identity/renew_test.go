package identity

import (
	"bufio"
	"bytes"
	"crypto/ed25519"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"dongthanh/internal/mediaclock"
	"dongthanh/internal/signed"
)

// certify makes a chain for a node's keys.
func (n network) certify(t testing.TB, c *Credentials, node Node, at time.Time) [][]byte {
	t.Helper()
	return must(n.issuer.Certify(node, c.Key.Public().(ed25519.PublicKey), c.HPKE.PublicKey(), at, year))(t)
}

func TestRenew(t *testing.T) {
	n, foreign := newNetwork(t, "31", 2), newNetwork(t, "31", 2)
	c, other := n.enlist(t, speaker), n.enlist(t, speaker)
	c.Now = func() time.Time { return day.Add(time.Hour) }
	moved := speaker
	moved.Zone, moved.Name = "31/11407", "Loa chợ"
	relay, another := moved, moved
	relay.Kind, another.ID = Relay, "client-2"
	later := day.Add(time.Minute)
	good := n.certify(t, c, moved, later)
	lone := *c
	lone.HPKE = other.HPKE
	for _, x := range []struct {
		name  string
		chain [][]byte
		now   time.Time
		want  error // errAny: any
	}{
		{"a later one, elsewhere", good, later, nil},
		{"a node without the time", good, time.Time{}, nil},
		{"of another root", foreign.certify(t, c, moved, later), later, ErrUnknownRoot},
		{"for another's keys", n.certify(t, other, moved, later), later, errAny},
		{"for another sealing key", n.certify(t, &lone, moved, later), later, errAny},
		{"of another node", n.certify(t, c, another, later), later, ErrAddressee},
		{"of another kind", n.certify(t, c, relay, later), later, ErrAddressee},
		{"an earlier one", n.certify(t, c, moved, day.Add(-time.Minute)), later, errAny},
		{"of the same second", n.certify(t, c, moved, day), later, ErrStale},
		{"over", good, day.Add(2 * year), ErrExpired},
		{"to come", good, day.Add(-2 * time.Hour), ErrNotYetValid},
		{"nothing", nil, later, errAny},
		{"garbage", [][]byte{{1}, {2}, {3}}, later, errAny},
		{"without its issuer", good[:1], later, ErrUnknownRoot},
	} {
		got, err := c.Renew(x.chain, x.now)
		switch {
		case x.want == nil && (err != nil || got.Node != moved || got.Now == nil || !got.Key.Equal(c.Key)):
			t.Errorf("%s: Renew() = %+v, %v", x.name, got, err)
		case x.want == errAny && err == nil, x.want != nil && x.want != errAny && !errors.Is(err, x.want):
			t.Errorf("%s: Renew() = %v, want %v", x.name, err, x.want)
		}
	}
	renewed := must(c.Renew(good, later))(t)
	if again, err := renewed.Renew(good, later); again != renewed || err != nil {
		t.Errorf("the one in force: %v, %v", again == renewed, err)
	}
	// The certificate of before, which somebody on the way has kept.
	if _, err := renewed.Renew(chainOf(c), later); !errors.Is(err, ErrStale) {
		t.Errorf("back to the one before: %v, want ErrStale", err)
	}
}

var errAny = errors.New("any")

func chainOf(c *Credentials) (chain [][]byte) {
	for _, x := range c.Chain {
		chain = append(chain, x.Raw)
	}
	return chain
}

func TestAfterIsLater(t *testing.T) {
	n := newNetwork(t, "31", 2)
	c := n.enlist(t, speaker)
	for _, now := range []time.Time{day, day.Add(-time.Hour), day.Add(time.Hour)} {
		if _, err := c.Renew(n.certify(t, c, speaker, After(c.Chain[0], now)), time.Time{}); err != nil {
			t.Errorf("certified when the clock says %v: %v", now, err)
		}
	}
}

func TestWalletOnABrokenDisk(t *testing.T) {
	n := newNetwork(t, "31", 2)
	c := n.enlist(t, speaker)
	dir := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	w := NewWallet(dir, c)
	moved := speaker
	moved.Zone = "31/11407"
	changed, err := w.Renew(n.certify(t, c, moved, day.Add(time.Minute)), time.Time{})
	if !changed || err == nil || w.Credentials().Node != moved {
		t.Errorf("Renew() = %v, %v, node %+v; want it in force and the disk's fault told", changed, err, w.Credentials().Node)
	}
}

func TestRevocation(t *testing.T) {
	n, foreign := newNetwork(t, "31", 2), newNetwork(t, "31", 2)
	trust := NewTrust(n.roots, func() time.Time { return day })
	if err := trust.AddIssuer(n.issuer.Certificate.Raw); err != nil {
		t.Fatal(err)
	}
	sign := func(a *Authority) []byte {
		id := a.ID()
		return must(signed.Sign(signed.Revocation{Version: 1, Nodes: []string{"client-1"}, At: mediaclock.At(day)}, id[:], a.Key))(t)
	}
	raw := sign(n.issuer)
	if r, err := trust.Revocation(raw); err != nil || r.Nodes[0] != "client-1" {
		t.Errorf("Revocation() = %+v, %v", r, err)
	}
	if _, err := trust.Revocation(sign(foreign.issuer)); !errors.Is(err, ErrUnknownIssuer) {
		t.Errorf("of another network: %v", err)
	}
	raw[len(raw)-1] ^= 1
	if _, err := trust.Revocation(raw); !errors.Is(err, signed.ErrSignature) {
		t.Errorf("altered: %v", err)
	}
}

// TestKilledWhileRenewing kills a process that renews a node's certificate again and again, without a warning: what is on
// the disk is a whole certificate each time, never an earlier one than the process has said it stored.
func TestKilledWhileRenewing(t *testing.T) {
	if dir := os.Getenv("RENEW_IN"); dir != "" {
		renewForEver(t, dir)
		return
	}
	n := newNetwork(t, "31", 2)
	first := n.enlist(t, speaker)
	dir := t.TempDir()
	if err := first.Save(dir); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(WriteKey(dir, "issuer.pem", n.issuer.Key), WriteCertificates(dir, "issuer-cert.pem", n.issuer.Certificate.Raw, n.root.Certificate.Raw)); err != nil {
		t.Fatal(err)
	}
	last := first
	for round := range 8 {
		cmd := exec.Command(os.Args[0], "-test.run", "^TestKilledWhileRenewing$", "-test.count=1")
		cmd.Env = append(os.Environ(), "RENEW_IN="+dir)
		out := must(cmd.StdoutPipe())(t)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		// The kill falls into another step each time: so many renewals later, and a little after.
		s, said := bufio.NewScanner(out), ""
		for i := 0; i <= 2+round && s.Scan(); i++ {
			said = s.Text()
		}
		for end := time.Now().Add(time.Duration(round) * 200 * time.Microsecond); time.Now().Before(end); {
			runtime.Gosched()
		}
		_ = cmd.Process.Kill()
		for s.Scan() { // said before it died
			if bytes.HasPrefix(s.Bytes(), []byte("stored ")) {
				said = s.Text()
			}
		}
		_ = cmd.Wait()
		c, err := Load(dir)
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		var stored int64
		if _, err := fmt.Sscanf(said, "stored %d", &stored); err != nil {
			t.Fatalf("round %d: it said %q", round, said)
		}
		if at := c.Chain[0].NotBefore; at.Unix() < stored || at.Before(last.Chain[0].NotBefore) {
			t.Errorf("round %d: the certificate of %v is on the disk, stored was that of %v", round, at, time.Unix(stored, 0))
		}
		last = c
	}
	if last == first {
		t.Error("nothing was renewed")
	}
}

func renewForEver(t *testing.T, dir string) {
	c := must(Load(dir))(t)
	ders := must(ReadCertificates(filepath.Join(dir, "issuer-cert.pem")))(t)
	key := must(ReadKey(filepath.Join(dir, "issuer.pem")))(t).(ed25519.PrivateKey)
	n := network{issuer: must(OpenIssuer(key, ders[0], ders[1]))(t)}
	w := NewWallet(dir, c)
	for {
		c := w.Credentials()
		chain := n.certify(t, c, speaker, After(c.Chain[0], day))
		if changed, err := w.Renew(chain, time.Time{}); err != nil || !changed {
			t.Fatal(err)
		}
		leaf := must(x509.ParseCertificate(chain[0]))(t)
		fmt.Printf("stored %d\n", leaf.NotBefore.Unix())
	}
}
