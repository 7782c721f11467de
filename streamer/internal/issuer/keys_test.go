package issuer

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"dongthanh/internal/identity"
	"dongthanh/internal/signed"
	"dongthanh/streamer/internal/store"
)

// TestFirstStart: what lies on the disk, who may read it, and that a second start finds the same.
func TestFirstStart(t *testing.T) {
	p := newPlace(t)
	i := p.open()
	keys := p.options().Dir
	want := map[string]fs.FileMode{
		".": 0o700, ".lock": 0o600, "root": 0o700, "root/key.pem": 0o600, "root/cert.pem": 0o600,
		"issuer-0001": 0o700, "issuer-0001/key.pem": 0o600, "issuer-0001/cert.pem": 0o600,
		"node": 0o700, "node/key.pem": 0o600, "node/hpke.pem": 0o600, "node/chain.pem": 0o600, "node/roots.pem": 0o600,
	}
	err := filepath.WalkDir(keys, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := must(filepath.Rel(keys, path))(t)
		mode, ok := want[name]
		if got := must(d.Info())(t).Mode().Perm(); !ok || got != mode {
			t.Errorf("%s has mode %04o, want %04o", name, got, mode)
		}
		delete(want, name)
		return nil
	})
	if err != nil || len(want) > 0 {
		t.Errorf("missing: %v, %v", want, err)
	}

	c := i.Credentials()
	if c.Node.Kind != identity.Streamer || c.Node.Name != "Đài xã" || c.Node.Zone != "" || c.Node.Validate() != nil {
		t.Errorf("the streamer is %+v", c.Node)
	}
	if err := c.Valid(); err != nil {
		t.Error(err)
	}
	root := must(x509.ParseCertificate(i.root))(t)
	issuer := must(x509.ParseCertificate(i.DER()))(t)
	for name, x := range map[string]struct {
		c    *x509.Certificate
		life time.Duration
	}{"root": {root, rootLife}, "issuer": {issuer, issuerLife}, "streamer": {c.Chain[0], serverLife}} {
		if got := x.c.NotAfter.Sub(p.now); got != x.life {
			t.Errorf("%s lives %s, want %s", name, got, x.life)
		}
	}
	if i.Root() != sha256.Sum256(root.Raw) {
		t.Error("Root() is not the hash of the root")
	}
	n := must(p.db.Node(t.Context(), c.Node.ID))(t)
	if n.Kind != store.NodeStreamer || n.Serial != identity.Serial(c.Chain[0]) || n.Sealing != [32]byte(c.HPKE.PublicKey().Bytes()) {
		t.Errorf("the database has %+v", n)
	}

	again := p.open()
	if again.Root() != i.Root() || string(again.DER()) != string(i.DER()) || again.Credentials().Node != c.Node || !again.Credentials().Key.Equal(c.Key) {
		t.Error("a second start has other keys")
	}
	if openssl, err := exec.LookPath("openssl"); err == nil {
		for _, use := range []string{"sslclient", "sslserver"} {
			out, err := exec.Command(openssl, "verify", "-attime", "1795500000", "-purpose", use, "-CAfile", filepath.Join(keys, "root/cert.pem"),
				"-untrusted", filepath.Join(keys, "issuer-0001/cert.pem"), filepath.Join(keys, "node/chain.pem")).CombinedOutput()
			if err != nil {
				t.Errorf("openssl verify for %s: %v\n%s", use, err, out)
			}
		}
	}

	// The database is lost: the keys stay, and it knows the streamer again.
	q := newPlace(t)
	o := p.options()
	o.Store = q.db
	third := must(Open(t.Context(), o))(t)
	if third.Root() != i.Root() {
		t.Error("another root after the database was lost")
	}
	must(q.db.Node(t.Context(), c.Node.ID))(t)
}

// TestStartAtOnce: the server and command lines start on an empty folder together.
func TestStartAtOnce(t *testing.T) {
	p := newPlace(t)
	var wg sync.WaitGroup
	all := make(chan *Issuer, 6)
	for range cap(all) {
		wg.Go(func() {
			i, err := Open(context.Background(), p.options())
			if err != nil {
				t.Error(err)
				return
			}
			all <- i
		})
	}
	wg.Wait()
	close(all)
	first := <-all
	for i := range all {
		if i.Root() != first.Root() || string(i.DER()) != string(first.DER()) || !i.Credentials().Key.Equal(first.Credentials().Key) {
			t.Error("two programs have made different keys")
		}
	}
}

// TestRenewal follows a streamer through the months, and the root's key out of the house and back.
func TestRenewal(t *testing.T) {
	p := newPlace(t)
	i := p.open()
	keys := p.options().Dir
	first, streamer := i.DER(), i.Credentials()
	speaker := p.enrol(i, identity.Client, "31/11296")
	roots := streamer.Roots
	maintain := func() {
		t.Helper()
		if err := i.Maintain(t.Context()); err != nil {
			t.Fatal(err)
		}
	}

	p.pass(59 * day)
	maintain()
	if string(i.DER()) != string(first) || !i.Credentials().Key.Equal(streamer.Key) {
		t.Fatal("renewed while two thirds were not over")
	}
	p.pass(2 * day)
	maintain()
	second := i.DER()
	if string(second) == string(first) {
		t.Fatal("the issuer is not renewed in its last third")
	}
	if now := i.Credentials(); now.Key.Equal(streamer.Key) || now.Node != streamer.Node {
		t.Errorf("the streamer's credentials are not renewed, or it has become %+v", now.Node)
	}
	if n := must(p.db.Node(t.Context(), streamer.Node.ID))(t); n.Serial != identity.Serial(i.Credentials().Chain[0]) {
		t.Error("the database does not know the new certificate")
	}
	if _, err := os.Stat(filepath.Join(keys, "issuer-0001", keyName)); !os.IsNotExist(err) {
		t.Errorf("the old issuer's key is still there: %v", err)
	}
	// What the first has certified holds until its own end, and a node needs nothing new for it.
	p.pass(100 * day)
	maintain()
	if err := speaker.Valid(); err != nil {
		t.Errorf("a loudspeaker is cut off when its issuer ends: %v", err)
	}
	if _, err := roots.VerifyIssuer(i.DER(), p.clock()); err != nil {
		t.Errorf("the third issuer: %v", err)
	}

	// The root's key goes to the safe.
	safe := filepath.Join(t.TempDir(), keyName)
	rootKey := filepath.Join(keys, rootDir, keyName)
	move := func(from, to string) {
		t.Helper()
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	move(rootKey, safe)
	i = p.open()
	third := i.DER()
	p.pass(70 * day)
	maintain()
	if string(i.DER()) != string(third) || !strings.Contains(p.log.String(), rootKey) {
		t.Error("an old issuer without the root's key does not go on, or nobody is told")
	}
	p.pass(30 * day)
	if err := i.Maintain(t.Context()); err == nil || !strings.Contains(err.Error(), rootKey) {
		t.Errorf("Maintain() = %v, want an error that names %s", err, rootKey)
	}
	if _, err := Open(t.Context(), p.options()); err == nil || !strings.Contains(err.Error(), rootKey) {
		t.Errorf("Open() = %v, want an error that names %s", err, rootKey)
	}
	move(safe, rootKey)
	maintain()
	if string(i.DER()) == string(third) {
		t.Error("the issuer is not renewed though the root's key is back")
	}
	if i.Credentials().Roots.Hash() != roots.Hash() {
		t.Error("the root has changed")
	}
}

// TestScopeChanges: another configuration needs another issuer, and the root's key for it.
func TestScopeChanges(t *testing.T) {
	p := newPlace(t)
	p.open()
	o := p.options()
	o.Scope, o.MaxClass = "31", signed.ClassNormal
	i := must(Open(t.Context(), o))(t)
	if s := i.current.Load(); s.grants.Scope != "31" || s.grants.MaxClass != signed.ClassNormal || s.credentials.Node.Zone != "31" {
		t.Errorf("the issuer grants %+v to %+v", s.grants, s.credentials.Node)
	}
	if err := os.Remove(filepath.Join(o.Dir, rootDir, keyName)); err != nil {
		t.Fatal(err)
	}
	must(Open(t.Context(), o))(t)
	o.Scope = ""
	if _, err := Open(t.Context(), o); err == nil || !strings.Contains(err.Error(), "scope or class has changed") {
		t.Errorf("Open() with a wider scope and no root's key = %v, want an error", err)
	}
}

// TestOpenRefuses: damaged or unsafe keys are named, not replaced.
func TestOpenRefuses(t *testing.T) {
	p := newPlace(t)
	o := p.options()
	o.Dir = t.TempDir()
	must(Open(t.Context(), o))(t)
	foreign := o.Dir
	for _, c := range []struct {
		name string
		do   func(dir string) error
		want string
	}{
		{"root's key open to others", func(dir string) error { return os.Chmod(filepath.Join(dir, "issuer-0001", keyName), 0o644) }, "chmod 600"},
		{"garbage root", func(dir string) error { return os.WriteFile(filepath.Join(dir, rootDir, certName), []byte("x"), 0o600) }, "no certificate"},
		{"issuer's key lost", func(dir string) error { return os.Remove(filepath.Join(dir, "issuer-0001", keyName)) }, "no such file"},
		{"issuer of another root", func(dir string) error {
			data, err := os.ReadFile(filepath.Join(foreign, "issuer-0001", certName))
			if err != nil {
				return err
			}
			return os.WriteFile(filepath.Join(dir, "issuer-0001", certName), data, 0o600)
		}, "pinned root"},
		{"garbage node", func(dir string) error {
			return os.WriteFile(filepath.Join(dir, nodeDir, "chain.pem"), []byte("x"), 0o600)
		}, "no certificate"},
		{"strange folder", func(dir string) error { return os.Mkdir(filepath.Join(dir, "issuer-x"), 0o700) }, "no number"},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := o
			o.Dir = t.TempDir()
			must(Open(t.Context(), o))(t)
			if err := c.do(o.Dir); err != nil {
				t.Fatal(err)
			}
			if _, err := Open(t.Context(), o); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("Open() = %v, want %q", err, c.want)
			}
		})
	}
	if _, err := Open(t.Context(), Options{}); err == nil {
		t.Error("Open() without options = nil, want an error")
	}
}

func TestRun(t *testing.T) {
	p := newPlace(t)
	i := p.open()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- i.Run(ctx) }()
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run() = %v, want nil", err)
	}
}
