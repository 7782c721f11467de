package membership

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"dongthanh/internal/zone"
	"dongthanh/streamer/internal/nodes"
	"dongthanh/streamer/internal/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// scene is a picture that a test moves by hand.
type scene struct {
	mu      sync.Mutex
	airings []nodes.Airing
	nodes   []nodes.Node
	changed chan struct{}
}

func newScene() *scene { return &scene{changed: make(chan struct{})} }

func (s *scene) Airings() []nodes.Airing  { s.mu.Lock(); defer s.mu.Unlock(); return s.airings }
func (s *scene) List() []nodes.Node       { s.mu.Lock(); defer s.mu.Unlock(); return s.nodes }
func (s *scene) Changed() <-chan struct{} { s.mu.Lock(); defer s.mu.Unlock(); return s.changed }

func (s *scene) set(airings []nodes.Airing, list []nodes.Node) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.airings, s.nodes = airings, list
	close(s.changed)
	s.changed = make(chan struct{})
}

const sessionID = "01930000-0000-7000-8000-000000000001"

func airing(lease time.Duration, hearing ...string) nodes.Airing {
	a := nodes.Airing{Expected: 3, Hearing: map[string]time.Time{}, Record: store.Session{
		ID: sessionID, Title: "Bản tin sáng", Zones: []zone.Zone{"31/11296"}, Class: "normal", State: store.SessionLive, Fence: 7,
	}}
	for _, id := range hearing {
		a.Hearing[id] = time.Now().Add(lease)
	}
	return a
}

func speaker(id string, state nodes.State) nodes.Node {
	return nodes.Node{Node: store.Node{ID: id, Name: "Loa " + id, Kind: store.NodeClient, Zone: "31/11296/01"}, State: state, Upstream: "relay-1"}
}

// server is a Redis that a test can stop, start and empty.
type server struct {
	url         string
	stop, start func()
}

// servers are what the suite must hold over.
func servers(t *testing.T) map[string]func(*testing.T) server {
	return map[string]func(*testing.T) server{
		"embedded": func(*testing.T) server { return server{} },
		"real":     realRedis,
	}
}

func realRedis(t *testing.T) server {
	t.Helper()
	bin, err := exec.LookPath("redis-server")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("redis-server is not installed: make test installs it")
		}
		t.Skip("redis-server is not installed")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	l.Close()
	dir := t.TempDir()
	var cmd *exec.Cmd
	s := server{url: fmt.Sprintf("redis://127.0.0.1:%d/0", port)}
	s.start = func() {
		cmd = exec.Command(bin, "--port", fmt.Sprint(port), "--bind", "127.0.0.1", "--save", "", "--dir", dir, "--logfile", filepath.Join(dir, "log"))
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		waitFor(t, "redis to listen", 5*time.Second, func() error {
			c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
			if err == nil {
				c.Close()
			}
			return err
		})
	}
	s.stop = func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	s.start()
	t.Cleanup(s.stop)
	return s
}

// waitFor polls what another process does until it is right.
func waitFor(t *testing.T, what string, limit time.Duration, right func() error) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for {
		err := right()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("waited %v for %s: %v", limit, what, err)
		}
		<-time.After(10 * time.Millisecond)
	}
}

// mirrored runs a mirror of s until the test ends and returns a client of its own to look with.
func mirrored(t *testing.T, s *scene, url string) *redis.Client {
	t.Helper()
	r, err := Open(Config{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- NewMirror(r, s, slog.New(slog.DiscardHandler)).Run(ctx) }()
	look := redis.NewClient(&redis.Options{Addr: r.client.Options().Addr, MaxRetries: -1})
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		look.Close()
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return look
}

func members(t *testing.T, c *redis.Client, want ...string) func() error {
	return func() error {
		got, err := c.ZRange(t.Context(), Prefix+"session:"+sessionID+":members", 0, -1).Result()
		if err != nil {
			return err
		}
		if diff := cmp.Diff(append([]string{}, want...), got); diff != "" {
			return fmt.Errorf("members: %s", diff)
		}
		return nil
	}
}

func TestCopyFollowsThePicture(t *testing.T) {
	for name, serve := range servers(t) {
		t.Run(name, func(t *testing.T) {
			s := newScene()
			c := mirrored(t, s, serve(t).url)
			s.set([]nodes.Airing{airing(8*time.Second, "a", "b")}, []nodes.Node{speaker("a", nodes.Playing), speaker("c", nodes.Offline)})
			waitFor(t, "two members", 2*time.Second, members(t, c, "a", "b"))

			h, err := c.HGetAll(t.Context(), Prefix+"session:"+sessionID).Result()
			if err != nil {
				t.Fatal(err)
			}
			want := map[string]string{
				"id": sessionID, "title": "Bản tin sáng", "state": "live", "zones": "31/11296", "class": "normal",
				"fence": "7", "started_at": "0", "expected": "3", "hearing": "2",
			}
			if diff := cmp.Diff(want, h); diff != "" {
				t.Errorf("session hash: %s", diff)
			}
			if n, err := c.HGetAll(t.Context(), Prefix+"node:a").Result(); err != nil || n["state"] != "playing" || n["name"] != "Loa a" {
				t.Errorf("node hash = %v, %v", n, err)
			}
			if lock, err := c.Get(t.Context(), Prefix+"onair:31/11296").Result(); err != nil || lock != `{"session":"`+sessionID+`","title":"Bản tin sáng","class":"normal","fence":7}` {
				t.Errorf("lock = %q, %v", lock, err)
			}
			ttl := c.PTTL(t.Context(), Prefix+"onair:31/11296").Val()
			if ttl <= 0 || ttl > lockTTL {
				t.Errorf("lock lives %v, want at most %v", ttl, lockTTL)
			}
			score := c.ZScore(t.Context(), Prefix+"session:"+sessionID+":members", "a").Val()
			if left := time.Until(time.UnixMilli(int64(score))); left < 5*time.Second || left > 8*time.Second {
				t.Errorf("lease ends in %v, want almost 8 s", left)
			}

			s.set([]nodes.Airing{airing(8*time.Second, "b")}, nil)
			waitFor(t, "a to leave", 2*time.Second, members(t, c, "b"))
			s.set(nil, nil)
			waitFor(t, "the set to go", 2*time.Second, members(t, c))
			waitFor(t, "the session to be over", time.Second, func() error {
				if state := c.HGet(t.Context(), Prefix+"session:"+sessionID, "state").Val(); state != "ended" {
					return fmt.Errorf("state %q", state)
				}
				if n := c.Exists(t.Context(), Prefix+"onair:31/11296", Prefix+"node:a").Val(); n != 0 {
					return fmt.Errorf("%d of lock and node are still there", n)
				}
				return nil
			})
		})
	}
}

// TestEnd: sessions that end with the streamer are over in Redis too; and where it ended without a word, nobody stays a
// member for longer than 10 s.
func TestEnd(t *testing.T) {
	for name, serve := range servers(t) {
		t.Run(name, func(t *testing.T) {
			s := newScene()
			r, err := Open(Config{URL: serve(t).url})
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error)
			go func() { done <- NewMirror(r, s, slog.New(slog.DiscardHandler)).Run(ctx) }()
			s.set([]nodes.Airing{airing(time.Minute, "a", "b")}, nil)
			waitFor(t, "two members", 2*time.Second, members(t, r.client, "a", "b"))
			key := Prefix + "session:" + sessionID
			if ttl := r.client.PTTL(t.Context(), key+":members").Val(); ttl <= 0 || ttl > 10*time.Second {
				t.Errorf("members outlive the streamer by %v, want at most 10 s", ttl)
			}
			s.set(nil, nil) // the sessions were closed, and at once the streamer ends
			cancel()
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			if err := members(t, r.client)(); err != nil {
				t.Error(err)
			}
			if state := r.client.HGet(t.Context(), key, "state").Val(); state != "ended" {
				t.Errorf("the session is %q, want ended", state)
			}
		})
	}
}

// TestLostDataHeals empties Redis behind the mirror's back.
func TestLostDataHeals(t *testing.T) {
	for name, serve := range servers(t) {
		t.Run(name, func(t *testing.T) {
			s := newScene()
			c := mirrored(t, s, serve(t).url)
			s.set([]nodes.Airing{airing(time.Minute, "a", "b")}, nil)
			waitFor(t, "two members", 2*time.Second, members(t, c, "a", "b"))
			if err := c.FlushAll(t.Context()).Err(); err != nil {
				t.Fatal(err)
			}
			c.ZAdd(t.Context(), Prefix+"session:"+sessionID+":members", redis.Z{Score: 1, Member: "ghost"})
			waitFor(t, "the set to heal", 10*time.Second, members(t, c, "a", "b"))
		})
	}
}

// TestReturnOfADeadRedis kills Redis on air: within 10 s of its return the copy is whole, with what changed meanwhile.
func TestReturnOfADeadRedis(t *testing.T) {
	r := realRedis(t)
	s := newScene()
	c := mirrored(t, s, r.url)
	s.set([]nodes.Airing{airing(time.Minute, "a", "b")}, nil)
	waitFor(t, "two members", 2*time.Second, members(t, c, "a", "b"))
	r.stop()
	s.set([]nodes.Airing{airing(time.Minute, "b", "c")}, nil)
	r.start()
	waitFor(t, "the set to be whole", 10*time.Second, members(t, c, "b", "c"))
}

func TestConfigRefusesABadURL(t *testing.T) {
	for url, ok := range map[string]bool{"": true, "redis://127.0.0.1:6379/0": true, "rediss://u:p@h:1": true, "http://h": false, "127.0.0.1:6379": false} {
		if err := (Config{URL: url}).Validate(); (err == nil) != ok {
			t.Errorf("Validate(%q) = %v, want ok %v", url, err, ok)
		}
	}
}
