package node

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
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
	"dongthanh/internal/packet"
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
	s := &subscriber{t: b.t, mono: b.mono, got: map[seq.Index][]byte{}, at: map[seq.Index]mediaclock.Local{}}
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
	s.stop = background(b.t, l.Run)
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

func (s *subscriber) media(raw []byte, at mediaclock.Local, from int) {
	p, _, v := s.table.Media(s.now(), raw, from)
	if v != onair.Accepted {
		return
	}
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

// show is a transmission that the bed sends: signed like the streamer's, its payload random.
type show struct {
	b    *bed
	cert signed.SessionCert
	raw  []byte
	key  ed25519.PrivateKey
	next int
	sent mediaclock.Instant // time of the last beacon

	mu   sync.Mutex // guards made
	made map[seq.Index][]byte
}

const packetTime = 40 * time.Millisecond

func (b *bed) show(zones ...zone.Zone) *show {
	b.t.Helper()
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	check(b.t, err)
	var id [16]byte
	_, _ = rand.Read(id[:])
	now := b.root.Now()
	c := signed.SessionCert{
		Version: 1, Transmission: id, Session: sha256Half(id[:]), SSRC: binary.BigEndian.Uint32(id[:]), PublicKey: pub,
		Zones: zones, KeyZone: zone.Common(zones), Level: 2, Fence: 1,
		NotBefore: now.Time().Unix() - 60, NotAfter: now.Time().Unix() + 1800,
		DelayMS: 1000, TS0: 12345, T0: now.Add(150 * time.Millisecond), Index0: 1000, Packet: 1920,
	}
	signer := b.issuer.ID()
	raw, err := signed.Sign(c, signer[:], b.issuer.Key)
	check(b.t, err)
	return &show{b: b, cert: c, raw: raw, key: key, made: map[seq.Index][]byte{}}
}

func sha256Half(b []byte) [16]byte { h := sha256.Sum256(b); return [16]byte(h[:16]) }

func (x *show) open(to ...*top) {
	for _, s := range to {
		s.hub.Open(&cluster.Transmission{Cert: x.cert, Raw: x.raw, Issuer: x.b.issuer.Certificate.Raw})
	}
}

// packet makes the packet with an offset from the first.
func (x *show) packet(n int, change ...func(*packet.Header)) packet.Packet {
	i := seq.Index(x.cert.Index0) + seq.Index(n)
	h := packet.Header{Index: i, Timestamp: x.cert.Timestamp(uint64(i)), SSRC: x.cert.SSRC}
	for _, f := range change {
		f(&h)
	}
	return x.seal(h, packet.MakeMKI(x.cert.KeyZone.Level(), 1), x.key)
}

func (x *show) seal(h packet.Header, mki packet.MKI, key ed25519.PrivateKey) packet.Packet {
	raw := make([]byte, packet.HeaderLen, packet.MaxLen)
	h.Put(raw)
	payload := make([]byte, 160+packet.TagLen)
	_, _ = rand.Read(payload)
	packet.Sign(key, x.cert.Transmission, mki, raw, payload[:160])
	raw = binary.BigEndian.AppendUint32(append(raw, payload...), uint32(mki))
	p, err := packet.Parse(raw)
	check(x.b.t, err)
	return p
}

// beacon sends one beacon for each fragment of the certificate and its issuer's.
func (x *show) beacon(to ...*top) {
	for _, o := range []struct {
		kind wire.ObjectKind
		raw  []byte
	}{{wire.ObjectSession, x.raw}, {wire.ObjectIssuer, x.b.issuer.Certificate.Raw}} {
		for _, body := range wire.Fragments(x.cert.Transmission, o.kind, sha256Half(o.raw), o.raw) {
			x.sent = max(x.b.root.Now(), x.sent+1)
			body.At, body.Highest = x.sent, seq.Index(x.cert.Index0)+seq.Index(x.next)-1
			raw := body.Append(nil, x.key)
			parsed, err := wire.ParseBeacon(raw)
			check(x.b.t, err)
			for _, s := range to {
				s.hub.Beacon(parsed, raw)
			}
		}
	}
}

// send sends packets until their instant has come, as the encoder does, and a beacon each second.
func (x *show) send(d time.Duration, to ...*top) {
	for end := x.b.root.Now().Add(d); x.b.root.Now() < end; {
		due := x.cert.T0.Add(time.Duration(x.next) * packetTime)
		time.Sleep(due.Sub(x.b.root.Now()))
		x.one(to...)
	}
}

func (x *show) one(to ...*top) {
	if x.next%25 == 0 || x.next < 6 && x.next%2 == 0 {
		x.beacon(to...)
	}
	p := x.packet(x.next)
	x.mu.Lock()
	x.made[p.Index] = p.Raw
	x.mu.Unlock()
	x.next++
	for _, s := range to {
		s.hub.Media(p)
	}
}

// stopOrder is a signed stop of the show.
func (x *show) stopOrder() ([]byte, signed.Stop) {
	s := signed.Stop{Version: 1, Transmissions: [][16]byte{x.cert.Transmission}, At: x.b.root.Now()}
	signer := x.b.issuer.ID()
	raw, err := signed.Sign(s, signer[:], x.b.issuer.Key)
	check(x.b.t, err)
	return raw, s
}

// missing lists which of the packets from a to b (exclusive) a subscriber did not get byte for byte before their due
// instant, less margin.
func (x *show) missing(s *subscriber, a, b int) (n []int) {
	for k := a; k < b; k++ {
		i := seq.Index(x.cert.Index0) + seq.Index(k)
		at, ok := s.has(i)
		x.mu.Lock()
		want := x.made[i]
		x.mu.Unlock()
		s.mu.Lock()
		same := string(s.got[i]) == string(want)
		s.mu.Unlock()
		if !ok || !same || x.b.root.At(at) > x.cert.PlayAt(uint64(i)) {
			n = append(n, k)
		}
	}
	return n
}

func (x *show) index(n int) seq.Index { return seq.Index(x.cert.Index0) + seq.Index(n) }

func (x *show) last() seq.Index { return x.index(x.next - 1) }
