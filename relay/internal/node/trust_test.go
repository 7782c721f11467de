package node

import (
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"dongthanh/internal/cluster"
	"dongthanh/internal/identity"
	"dongthanh/internal/mediaclock"
	"dongthanh/internal/signed"
	"dongthanh/internal/testkit"
)

func TestOutcastsOutliveARestart(t *testing.T) {
	root, err := identity.NewRoot(time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	issuer, err := root.NewIssuer("31", signed.ClassNormal, time.Now(), time.Second)
	if err != nil {
		t.Fatal(err)
	}
	roots, err := identity.NewRoots(root.Certificate.Raw)
	if err != nil {
		t.Fatal(err)
	}
	id := issuer.ID()
	raw, err := signed.Sign(signed.Revocation{Version: 1, Nodes: []string{"stolen"}, At: mediaclock.At(time.Now())}, id[:], issuer.Key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	o, err := openOutcasts(dir, roots)
	if err != nil {
		t.Fatal(err)
	}
	good := cluster.Revocation{Raw: raw, Nodes: []string{"stolen"}, Issuer: issuer.Certificate.Raw}
	forged := cluster.Revocation{Raw: []byte("forged"), Nodes: []string{"innocent"}, Issuer: issuer.Certificate.Raw}
	for _, want := range []int{2, 0} { // told twice, it is nothing new
		if fresh, err := o.take([]cluster.Revocation{good, forged}); err != nil || len(fresh) != want {
			t.Errorf("take() = %d, %v, want %d", len(fresh), err, want)
		}
	}
	o, err = openOutcasts(dir, roots)
	if err != nil || !o.has("stolen") || len(o.list()) != 1 {
		t.Errorf("after a restart: %v, stolen is out: %v, %d kept", err, o.has("stolen"), len(o.list()))
	}
	if o.has("innocent") {
		t.Error("what somebody wrote into the file counts")
	}
	if err := os.WriteFile(filepath.Join(dir, revokedFile), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if o, err := openOutcasts(dir, roots); err == nil || o == nil || o.has("stolen") {
		t.Errorf("a damaged file: %v", err)
	}
}

// TestDiskThatHangs: whoever asks who is out, which the fan-out does with its lock held, never waits for the disk.
func TestDiskThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		free := make(chan struct{})
		o := &outcasts{write: func([]byte) error { <-free; return nil }, ids: map[string]bool{}}
		var taking sync.WaitGroup
		taking.Go(func() { _, _ = o.take([]cluster.Revocation{{Nodes: []string{"stolen"}}}) })
		synctest.Wait() // it is inside write
		if !o.mu.TryRLock() {
			t.Error("who is out cannot be asked while the disk hangs")
		} else {
			o.mu.RUnlock()
			if !o.has("stolen") || len(o.list()) != 1 {
				t.Error("a revocation does not hold before it is on the disk")
			}
		}
		close(free)
		taking.Wait()
	})
}

// TestCertificatesThatAreNone: a hostile upstream that sends them without end fills no log.
func TestCertificatesThatAreNone(t *testing.T) {
	b := newBed(t)
	var log testkit.Journal
	n, err := New(b.relayConfig("r", "wss://127.0.0.1:1"), "test", slog.New(slog.NewTextHandler(&log, nil)), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	n.refused.Stop() // it would say what it counts
	for range 100 {
		n.renew([][]byte{[]byte("x")})
	}
	if total := n.refused.Total(); total != 100 || log.String() != "" {
		t.Errorf("%d are counted, and logged is %q", total, log.String())
	}
}
