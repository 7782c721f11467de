package node

import (
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"dongthanh/internal/cluster"
	"dongthanh/internal/control"
	"dongthanh/internal/identity"
	"dongthanh/internal/logging"
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

// TestLettersBesideAFlood: what one upstream tells is not lost because another one sends without end.
func TestLettersBesideAFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &Node{letters: make(chan letter, 1), refused: logging.NewDumper(slog.New(slog.DiscardHandler), "x", time.Now)}
		defer n.refused.Stop()
		n.revoked(control.Revoked{Issuer: []byte("flood")}, 0)
		var posting sync.WaitGroup
		posting.Go(func() { n.revoked(control.Revoked{Issuer: []byte("true")}, 1) })
		synctest.Wait()
		<-n.letters
		posting.Wait()
		select {
		case l := <-n.letters:
			if string(l.revoked.Issuer) != "true" {
				t.Errorf("the letter is %q", l.revoked.Issuer)
			}
		default:
			t.Error("the letter of the other upstream is lost")
		}
		n.post(letter{})
		began := time.Now()
		n.post(letter{}) // nobody opens any: the disk hangs
		if d := time.Since(began); d != postWait || n.refused.Total() != 1 {
			t.Errorf("a letter without a place holds its upstream up for %v, %d are counted", d, n.refused.Total())
		}
	})
}

// TestTooManyOutcasts: what is not taken is told.
func TestTooManyOutcasts(t *testing.T) {
	o := &outcasts{write: func([]byte) error { return nil }, ids: map[string]bool{}}
	for i := range maxOutcasts {
		o.ids[strconv.Itoa(i)] = true
	}
	if _, err := o.take([]cluster.Revocation{{Nodes: []string{"7"}}}); err != nil {
		t.Errorf("one that is known: %v", err)
	}
	if fresh, err := o.take([]cluster.Revocation{{Nodes: []string{"stolen"}}}); err == nil || len(fresh) != 0 {
		t.Errorf("one more: %d, %v", len(fresh), err)
	}
}
