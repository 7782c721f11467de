package node

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"dongthanh/internal/clock"
	"dongthanh/internal/cluster"
	"dongthanh/internal/control"
	"dongthanh/internal/health"
	"dongthanh/internal/identity"
	"dongthanh/internal/link"
	"dongthanh/internal/mediaclock"
	"dongthanh/internal/onair"
	"dongthanh/internal/seq"
	"dongthanh/internal/signed"
	"dongthanh/internal/wire"
	"dongthanh/internal/zone"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// bed is a tree of real nodes on loopback: the streamer's side made of a real Hub, relays as their main makes them, and
// subscribers of package link.
type bed struct {
	t      *testing.T
	issuer *identity.Authority
	roots  *identity.Roots
	mono   mediaclock.Monotonic
	root   clock.Root // network time itself
}

func newBed(t *testing.T) *bed {
	t.Helper()
	now := time.Now()
	root, err := identity.NewRoot(now, time.Hour)
	check(t, err)
	issuer, err := root.NewIssuer("31", signed.ClassEmergency, now, time.Hour)
	check(t, err)
	roots, err := identity.NewRoots(root.Certificate.Raw)
	check(t, err)
	mono := mediaclock.NewMonotonic()
	return &bed{t: t, issuer: issuer, roots: roots, mono: mono, root: clock.NewRoot(mono, now)}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// until waits for a condition that real sockets bring about.
func until(t testing.TB, within time.Duration, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(within); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("after %s: not %s", within, what)
		}
	}
}

func (b *bed) enlist(id string, kind identity.Kind, z zone.Zone) *identity.Credentials {
	b.t.Helper()
	c, err := b.issuer.Enlist(identity.Node{ID: id, Kind: kind, Zone: z, Name: id}, time.Now(), time.Hour)
	check(b.t, err)
	return c
}

// quiet drops what the nodes log; a failing test is run again with t.Output().
func quiet(t *testing.T) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelInfo}))
}

// background runs a part until stop is called, or the test ends.
func background(t *testing.T, run func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancelCause(context.Background())
	done := make(chan struct{})
	over := errors.New("the test is over")
	var err error
	go func() {
		defer close(done)
		err = run(ctx)
	}()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel(over)
			<-done
			if !errors.Is(err, over) {
				t.Errorf("a part ended by itself: %v", err)
			}
		})
	}
	t.Cleanup(stop)
	return stop
}

// top is the streamer's side. It is cluster.Upward, as the streamer's picture of its nodes is.
type top struct {
	b    *bed
	hub  *cluster.Hub
	stop func()

	mu      sync.Mutex // guards all below
	members map[[2]string]control.Member
	reports [][]byte
	enrols  int
}

func (b *bed) streamer(id, listen string) *top {
	b.t.Helper()
	s := &top{b: b, members: map[[2]string]control.Member{}}
	h, err := cluster.New(cluster.Options{
		Config:      cluster.Config{Control: listen, Media: "127.0.0.1:0"},
		Credentials: b.enlist(id, identity.Streamer, "31"), Path: func() []string { return []string{id} },
		Clock: func() (mediaclock.Instant, uint32, bool) { return b.root.Now(), 0, true },
		Up:    s, Log: quiet(b.t), Registerer: prometheus.NewRegistry(), Prefix: "dongthanh_streamer_",
	})
	check(b.t, err)
	check(b.t, h.Bind(context.Background()))
	s.hub = h
	s.stop = background(b.t, h.Run)
	return s
}

func (s *top) Changes(c control.Changes) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.Full {
		clear(s.members)
	}
	for _, m := range c.Members {
		key := [2]string{m.Node, m.Via}
		if m.Gone {
			delete(s.members, key)
		} else {
			s.members[key] = m
		}
	}
}
func (s *top) Digest(control.Digest) {}
func (s *top) Reports(raw [][]byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reports = append(s.reports, raw...)
}
func (s *top) Nack(wire.NackBody) {}

// Enrol certifies whoever asks, as the issuer does once it has checked the token.
func (s *top) Enrol(_ context.Context, r control.EnrolRequest) (*control.EnrolResponse, error) {
	if _, err := identity.ParseToken(r.Token); err != nil {
		return nil, &control.Refused{Code: control.CodeUnknown, Reason: "no such token"}
	}
	sign, sealing, err := identity.ParseRequest(r.CSR)
	if err != nil {
		return nil, &control.Refused{Code: control.CodeMalformed, Reason: "no request"}
	}
	s.mu.Lock()
	s.enrols++
	s.mu.Unlock()
	chain, err := s.b.issuer.Certify(identity.Node{ID: "new-node", Kind: identity.Kind(r.Kind), Zone: "31/11296", Name: "new"}, sign, sealing, time.Now(), time.Hour)
	if err != nil {
		return nil, err
	}
	return &control.EnrolResponse{Chain: chain, Roots: s.b.roots.DER()}, nil
}

// via reports whether the streamer's side knows of a node beneath another.
func (s *top) via(node, via string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.members[[2]string{node, via}]
	return ok
}

func url(a netip.AddrPort) string { return "wss://" + a.String() }

// running is a relay that runs.
type running struct {
	*Node
	cfg  Config
	stop func()
}

// relayConfig enrols a relay into a folder of its own and returns its configuration.
func (b *bed) relayConfig(id string, upstreams ...string) Config {
	b.t.Helper()
	cfg := Default()
	cfg.Store.Dir = b.t.TempDir()
	check(b.t, b.enlist(id, identity.Relay, "31").Save(cfg.Store.Dir))
	cfg.Nodes = cluster.Config{Control: "127.0.0.1:0", Media: "127.0.0.1:0"}
	cfg.Admin = health.Config{Listen: "127.0.0.1:0"}
	cfg.Upstreams = nil
	for _, u := range upstreams {
		cfg.Upstreams = append(cfg.Upstreams, link.Upstream{Control: u})
	}
	return cfg
}

// start runs a relay; its control port stays the same across restarts.
func (b *bed) start(cfg Config) *running {
	b.t.Helper()
	n, err := New(cfg, "test", quiet(b.t).With("at", filepath.Base(cfg.Store.Dir)), prometheus.NewRegistry())
	check(b.t, err)
	check(b.t, n.Bind(context.Background()))
	cfg.Nodes.Control = n.ControlAddr().String()
	return &running{n, cfg, background(b.t, n.Run)}
}

func (b *bed) relay(id string, upstreams ...string) *running {
	b.t.Helper()
	return b.start(b.relayConfig(id, upstreams...))
}

// subscriber is a loudspeaker without sound: package link and package onair, as the client joins them.
type subscriber struct {
	t     *testing.T
	mono  mediaclock.Monotonic
	links *link.Links
	table *onair.Table
	stop  func()

	mu       sync.Mutex // guards all below
	repairs  map[uint32]*repairs
	got      map[seq.Index][]byte
	at       map[seq.Index]mediaclock.Local
	sessions int
	stopped  int
	orders   int
	beacons  int
}

func (b *bed) subscriber(id string, z zone.Zone, upstreams ...string) *subscriber {
	b.t.Helper()
	creds := b.enlist(id, identity.Client, z)
	s := &subscriber{t: b.t, mono: b.mono, repairs: map[uint32]*repairs{}, got: map[seq.Index][]byte{}, at: map[seq.Index]mediaclock.Local{}}
	s.table = onair.New(onair.Options{Trust: identity.NewTrust(creds.Roots, time.Now), Upstreams: len(upstreams)})
	o := link.Options{Credentials: creds, Boot: 1, Version: "test", Log: quiet(b.t), Registerer: prometheus.NewRegistry(), Prefix: "dongthanh_client_", Clock: b.mono}
	for _, u := range upstreams {
		o.Upstreams = append(o.Upstreams, link.Upstream{Control: u})
	}
	o.Events = link.Events{
		Session: func(m control.Session, _ int) {
			s.count(&s.sessions)
			events, err := s.table.Session(s.now(), m.Cert, m.Issuer)
			if err != nil {
				b.t.Errorf("session refused: %v", err)
			}
			s.act(events)
		},
		Stop: func(m control.Stop, _ int) {
			events, _ := s.table.Stop(s.now(), m.Order, m.Issuer)
			s.act(events)
		},
		Order: func(stop []byte, _ int) {
			s.count(&s.orders)
			events, _ := s.table.Stop(s.now(), stop, nil)
			s.act(events)
		},
		Media: s.media,
		Beacon: func(body wire.BeaconBody, _ []byte, _ mediaclock.Local, from int) {
			x, events := s.table.Beacon(s.now(), body, from)
			if x != nil {
				s.count(&s.beacons)
				s.repair(x).exists(body.Highest, s.mono.Now())
			}
			s.act(events)
		},
		Positions: func() (all []wire.ResumeBody) {
			for _, x := range s.table.OnAir() {
				r := wire.ResumeBody{SSRC: x.Cert.SSRC, From: seq.Index(x.Cert.Index0)}
				if i, ok := x.Highest(); ok {
					r.From = i + 1
				}
				all = append(all, r)
			}
			return all
		},
	}
	l, err := link.New(o)
	check(b.t, err)
	s.links = l
	l.OnAir(true)
	stopKeeping, stopLinks := background(b.t, s.keep), background(b.t, l.Run)
	s.stop = func() { stopKeeping(); stopLinks() }
	return s
}

func (s *subscriber) now() onair.Now {
	at, _, ok := s.links.Now()
	return onair.Now{Local: s.mono.Now(), Network: at, Synced: ok}
}

func (s *subscriber) count(n *int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	*n++
}

func (s *subscriber) read(n *int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return *n
}

func (s *subscriber) act(events []onair.Event) {
	for _, e := range events {
		for _, h := range e.Held {
			s.media(h.Raw, s.mono.Now(), h.From)
		}
		if e.Kind == onair.Stopped {
			s.count(&s.stopped)
		}
	}
}

// repair is what asks again for a transmission's packets, as a loudspeaker does.
func (s *subscriber) repair(x *onair.Transmission) *repairs {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.repairs[x.Cert.SSRC]
	if r == nil {
		r = &repairs{x: x}
		s.repairs[x.Cert.SSRC] = r
	}
	return r
}

// keep asks for what is missing.
func (s *subscriber) keep(ctx context.Context) error {
	tick := time.NewTicker(lookOnAir)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
		for _, x := range s.table.OnAir() {
			asks, from, stalled := s.repair(x).asks(s.mono.Now(), s.links.RTT(), nil)
			for _, a := range asks {
				s.links.Nack(wire.NackBody{SSRC: x.Cert.SSRC, Base: a.Base, Bitmap: a.Bitmap, Reason: a.Reason}, a.Both)
			}
			if stalled {
				s.links.Resume(wire.ResumeBody{SSRC: x.Cert.SSRC, From: from})
			}
		}
	}
}

func (s *subscriber) media(raw []byte, at mediaclock.Local, from int) {
	now := s.now()
	p, x, v := s.table.Media(now, raw, from)
	if v != onair.Accepted {
		return
	}
	s.repair(x).arrived(p.Index, p.Last, at, dueHere(x, p.Index, now))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.got[p.Index] = append([]byte(nil), raw...)
	s.at[p.Index] = at
}

func (s *subscriber) packets() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.got)
}

// has reports when a packet came.
func (s *subscriber) has(i seq.Index) (mediaclock.Local, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at, ok := s.at[i]
	return at, ok
}

// synced reports whether network time is known.
func (s *subscriber) synced() bool { _, _, ok := s.links.Now(); return ok }
