package node

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"dongthanh/internal/identity"
)

// TestLoop: relays that hang beneath each other find out, stay apart, and keep trying at leisure; one that has another
// upstream goes on working.
func TestLoop(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	s := b.streamer("streamer", "127.0.0.1:0")
	closed := closedPort(t)
	cfg := b.relayConfig("relay-a", url(s.hub.ControlAddr()), "wss://"+closed)
	a := b.start(cfg)
	c := b.relay("relay-b", url(a.ControlAddr()))
	until(t, 10*time.Second, "fed", func() bool { return c.links.State().Upstreams[0].Fed })

	// relay-a stands by at relay-b, which hangs beneath it.
	a.stop()
	cfg = a.cfg
	cfg.Upstreams[1].Control = url(c.ControlAddr())
	a = b.start(cfg)
	until(t, 10*time.Second, "refused for its loop", func() bool {
		return strings.Contains(a.links.State().Upstreams[1].Fault, "loop") || strings.Contains(a.links.State().Upstreams[1].Fault, "beneath")
	})
	until(t, 10*time.Second, "fed again", func() bool { return c.links.State().Upstreams[0].Fed && a.links.State().Active == 0 })
	sub := b.subscriber("near", "31/11296/01", url(c.ControlAddr()))
	until(t, 10*time.Second, "synced", sub.synced)

	// Without the streamer both would feed on each other: never may each be joined to the other.
	s.stop()
	for end := time.Now().Add(1500 * time.Millisecond); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		pa, pc := a.links.State().Upstreams[1], c.links.State().Upstreams[0]
		if pa.Joined && pc.Joined && pa.Fed && pc.Fed {
			t.Fatalf("a circle: relay-a has path %v, relay-b %v", pa.Path, pc.Path)
		}
		for _, path := range [][]string{*a.path.Load(), *c.path.Load()} {
			if slices.Contains(path[:len(path)-1], path[len(path)-1]) || len(path) > 3 {
				t.Fatalf("a hop list with a loop: %v", path)
			}
		}
	}
}

// closedPort is an address on loopback where nobody listens.
func closedPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	defer l.Close()
	return l.Addr().String()
}

// journal counts log records.
type journal struct {
	slog.Handler
	mu   sync.Mutex // guards text
	text []string
}

func (j *journal) Enabled(context.Context, slog.Level) bool { return true }
func (j *journal) WithAttrs([]slog.Attr) slog.Handler       { return j }
func (j *journal) Handle(_ context.Context, r slog.Record) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	line := r.Message
	r.Attrs(func(a slog.Attr) bool { line += " " + a.String(); return true })
	j.text = append(j.text, line)
	return nil
}

// TestUnreachableUpstream: one line in the log, a readable reason at /readyz, downstreams served, a clean end.
func TestUnreachableUpstream(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	closed := closedPort(t)
	j := &journal{}
	n, err := New(b.relayConfig("relay-a", "wss://"+closed, "wss://no-such-host.invalid:7443"), "test", slog.New(j), prometheus.NewRegistry())
	check(t, err)
	a := &running{Node: n, stop: background(t, n.Run)}
	until(t, 10*time.Second, "both failed", func() bool {
		u := a.links.State().Upstreams
		return u[0].Fault != "" && u[1].Fault != ""
	})
	sub := b.subscriber("near", "31/11296/01", url(n.ControlAddr()))
	until(t, 3*time.Second, "joined", func() bool { return sub.links.State().Upstreams[0].Joined })
	status, body := get(t, a, "/readyz")
	if status != 503 || !strings.Contains(body, "connection refused") || !strings.Contains(body, "no-such-host.invalid") || strings.Count(body, "\n") != 1 {
		t.Errorf("readyz: %d %q", status, body)
	}
	time.Sleep(1500 * time.Millisecond) // several attempts, which is the point; no event marks them
	sub.stop()
	a.stop()
	complaints := 0
	for _, l := range j.text {
		if strings.Contains(l, "upstream cannot be joined") {
			complaints++
			if strings.Contains(l, "\n") {
				t.Errorf("a line end in %q", l)
			}
		}
	}
	if complaints != 2 {
		t.Errorf("%d lines about two upstreams, want one each:\n%s", complaints, strings.Join(j.text, "\n"))
	}
}

// TestWrongStore: what New says of credentials that are missing or another node's.
func TestWrongStore(t *testing.T) {
	b := newBed(t)
	empty := b.relayConfig("relay-a", "wss://127.0.0.1:1")
	empty.Store.Dir = t.TempDir()
	client := b.relayConfig("relay-a", "wss://127.0.0.1:1")
	check(t, b.enlist("client-1", identity.Client, "31/11296").Save(client.Store.Dir))
	for _, tc := range []struct {
		name string
		cfg  Config
		want string
	}{
		{"empty", empty, "not enrolled"},
		{"a client's", client, "credentials of a client"},
	} {
		if _, err := New(tc.cfg, "test", quiet(t), prometheus.NewRegistry()); err == nil || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v; want one line with %q", tc.name, err, tc.want)
		}
	}
	worn := b.relayConfig("relay-a", "wss://127.0.0.1:1")
	check(t, os.WriteFile(filepath.Join(worn.Store.Dir, "boot"), []byte("many"), 0o600))
	if _, err := New(worn, "test", quiet(t), prometheus.NewRegistry()); err != nil {
		t.Errorf("a count of starts that is garbage keeps a relay from starting: %v", err)
	}
	if _, err := New(empty, "test", quiet(t), prometheus.NewRegistry()); !errors.Is(err, identity.ErrNotEnrolled) {
		t.Errorf("empty store: %v is not ErrNotEnrolled", err)
	}
}

// TestPortInUse: one line that names the key.
func TestPortInUse(t *testing.T) {
	b := newBed(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	defer l.Close()
	for key, change := range map[string]func(*Config){
		"nodes.control": func(c *Config) { c.Nodes.Control = l.Addr().String() },
		"admin.listen":  func(c *Config) { c.Admin.Listen = l.Addr().String() },
	} {
		cfg := b.relayConfig("relay-a", "wss://127.0.0.1:1")
		change(&cfg)
		n, err := New(cfg, "test", quiet(t), prometheus.NewRegistry())
		check(t, err)
		if err := n.Run(t.Context()); err == nil || !strings.Contains(err.Error(), key) || !strings.Contains(err.Error(), "in use") {
			t.Errorf("%s in use: %v", key, err)
		}
	}
}
