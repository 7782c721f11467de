package cluster

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"go.uber.org/goleak"

	"dongthanh/internal/control"
	"dongthanh/internal/identity"
	"dongthanh/internal/logging"
	"dongthanh/internal/mediaclock"
	"dongthanh/internal/packet"
	"dongthanh/internal/seq"
	"dongthanh/internal/signed"
	"dongthanh/internal/testkit"
	"dongthanh/internal/wire"
	"dongthanh/internal/zone"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds every wait for something that must come.
const patience = 10 * time.Second

// authority is the issuer of all test nodes.
func authority(t testing.TB) *identity.Authority {
	t.Helper()
	root, err := identity.NewRoot(time.Now(), 24*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	issuer, err := root.NewIssuer("31", signed.ClassEmergency, time.Now(), 24*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return issuer
}

// up is where a test's Hub turns: it keeps what it is told, as a picture with the words in order.
type up struct {
	mu      sync.Mutex
	changed chan struct{} // closed and replaced at each change
	words   []control.Changes
	members map[[2]string]control.Member
	digests []control.Digest
	reports [][]byte
	nacks   []wire.NackBody
	enrol   func(control.EnrolRequest) (*control.EnrolResponse, error)
}

func newUp() *up {
	return &up{changed: make(chan struct{}), members: map[[2]string]control.Member{}}
}

func (u *up) change(do func()) {
	u.mu.Lock()
	defer u.mu.Unlock()
	do()
	close(u.changed)
	u.changed = make(chan struct{})
}

func (u *up) Changes(c control.Changes) {
	u.change(func() {
		u.words = append(u.words, c)
		if c.Full {
			clear(u.members)
		}
		for _, m := range c.Members {
			if k := [2]string{m.Node, m.Via}; m.Gone {
				delete(u.members, k)
			} else {
				u.members[k] = m
			}
		}
	})
}

func (u *up) Digest(d control.Digest) { u.change(func() { u.digests = append(u.digests, d) }) }
func (u *up) Reports(raw [][]byte)    { u.change(func() { u.reports = append(u.reports, raw...) }) }
func (u *up) Nack(n wire.NackBody)    { u.change(func() { u.nacks = append(u.nacks, n) }) }

func (u *up) Enrol(_ context.Context, r control.EnrolRequest) (*control.EnrolResponse, error) {
	return u.enrol(r)
}

// wait waits until cond holds; it is asked under the lock, after each change.
func (u *up) wait(t testing.TB, what string, cond func() bool) {
	t.Helper()
	end := time.After(patience)
	for {
		u.mu.Lock()
		ok, changed := cond(), u.changed
		u.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-changed:
		case <-end:
			u.mu.Lock()
			defer u.mu.Unlock()
			t.Fatalf("waited for %s; members %s", what, names(u.members))
		}
	}
}

// sees waits until the members told are exactly those, written node@via with ~ for a standby.
func (u *up) sees(t testing.TB, want ...string) {
	t.Helper()
	slices.Sort(want)
	u.wait(t, fmt.Sprint("members ", want), func() bool { return slices.Equal(names(u.members), want) })
}

func names(members map[[2]string]control.Member) []string {
	all := []string{}
	for _, m := range members {
		s := m.Node + "@" + m.Via
		if m.Standby {
			s = "~" + s
		}
		all = append(all, s)
	}
	slices.Sort(all)
	return all
}

// bed is a Hub that runs, and what it needs.
type bed struct {
	*Hub
	t       testing.TB
	issuer  *identity.Authority
	up      *up
	log     *testkit.Journal
	metrics *prometheus.Registry
	end     context.CancelFunc
	ended   chan error

	mu   sync.Mutex
	path []string
}

// newBed runs the Hub of a relay called "hub" in zone 31/11296.
func newBed(t testing.TB, change func(*Options)) *bed {
	t.Helper()
	b := &bed{
		t: t, issuer: authority(t), up: newUp(), log: &testkit.Journal{}, metrics: prometheus.NewRegistry(),
		ended: make(chan error, 1), path: []string{"streamer", "hub"},
	}
	credentials, err := b.issuer.Enlist(identity.Node{ID: "hub", Kind: identity.Relay, Zone: "31/11296", Name: "xã"}, time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	o := Options{
		Config: Config{Control: "127.0.0.1:0", Media: "127.0.0.1:0"}, Credentials: credentials,
		Path: func() []string {
			b.mu.Lock()
			defer b.mu.Unlock()
			return b.path
		},
		Clock: func() (mediaclock.Instant, uint32, bool) { return mediaclock.At(time.Now()), 1234, true },
		Up:    b.up, Log: logging.New(b.log, slog.LevelDebug), Registerer: b.metrics,
	}
	if change != nil {
		change(&o)
	}
	if b.Hub, err = New(o); err != nil {
		t.Fatal(err)
	}
	var ctx context.Context
	ctx, b.end = context.WithCancel(context.Background())
	if err := b.Bind(ctx); err != nil {
		t.Fatal(err)
	}
	go func() { b.ended <- b.Run(ctx) }()
	t.Cleanup(func() {
		b.end()
		if err := <-b.ended; err != context.Canceled {
			t.Errorf("Run() = %v, want the context's end", err)
		}
		if t.Failed() {
			t.Log(b.log.String())
		}
	})
	return b
}

// metric returns a counter or gauge by name and, if it has one, its reason.
func (b *bed) metric(name, reason string) float64 {
	b.t.Helper()
	families, err := b.metrics.Gather()
	if err != nil {
		b.t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != "dongthanh_relay_"+name {
			continue
		}
		for _, m := range f.GetMetric() {
			if reason == "" || slices.ContainsFunc(m.GetLabel(), func(l *dto.LabelPair) bool { return l.GetValue() == reason }) {
				return m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	b.t.Fatalf("no metric %s %s", name, reason)
	return 0
}

// eventually waits for a state of the Hub that nothing announces.
func (b *bed) eventually(what string, cond func() bool) {
	b.t.Helper()
	for end := time.Now().Add(patience); !cond(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			b.t.Fatalf("waited for %s", what)
		}
	}
}

// transmission is one that the test speaks.
type transmission struct {
	*Transmission
	key    ed25519.PrivateKey
	issuer *identity.Authority
	last   mediaclock.Instant
}

// transmit makes a transmission of 40 ms packets and a delay of 400 ms for the given zones.
func (b *bed) transmit(zones ...zone.Zone) *transmission {
	b.t.Helper()
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		b.t.Fatal(err)
	}
	x := &transmission{key: key, issuer: b.issuer}
	var ids [36]byte
	_, _ = rand.Read(ids[:])
	cert := signed.SessionCert{
		Version: 1, Transmission: [16]byte(ids[:16]), Session: [16]byte(ids[16:32]), SSRC: uint32(ids[32])<<16 | uint32(ids[33])<<8 | uint32(ids[34]) | 1<<31,
		PublicKey: pub, Zones: zones, KeyZone: zone.Common(zones), Class: signed.ClassNormal,
		NotBefore: time.Now().Unix() - 10, NotAfter: time.Now().Unix() + 3600, DelayMS: 400, T0: mediaclock.At(time.Now()), Packet: 1920,
	}
	id := b.issuer.ID()
	raw, err := signed.Sign(cert, id[:], b.issuer.Key)
	if err != nil {
		b.t.Fatal(err)
	}
	x.Transmission = &Transmission{Cert: cert, Raw: raw, Issuer: b.issuer.Certificate.Raw}
	return x
}

// packet makes the packet with index i, in the clear profile.
func (x *transmission) packet(t testing.TB, i seq.Index) packet.Packet {
	t.Helper()
	raw := make([]byte, packet.HeaderLen, packet.HeaderLen+80)
	packet.Header{Index: i, Timestamp: x.Cert.Timestamp(uint64(i)), SSRC: x.Cert.SSRC, Clear: true}.Put(raw)
	payload := bytes.Repeat([]byte{byte(i), byte(i >> 8)}, 40)
	packet.Sign(x.key, x.Cert.Transmission, 0, raw, payload)
	p, err := packet.Parse(append(raw, payload...))
	if err != nil || !p.Verify(x.Cert.PublicKey, x.Cert.Transmission) {
		t.Fatalf("packet of our own: %v", err)
	}
	return p
}

// beacon makes a beacon with a part of an object; its time rises.
func (x *transmission) beacon(t testing.TB, kind wire.ObjectKind, highest seq.Index) (wire.BeaconBody, []byte) {
	t.Helper()
	b := wire.Fragments(x.Cert.Transmission, kind, [16]byte{byte(kind)}, x.Raw[:200])[0]
	x.last = max(x.last+1, mediaclock.At(time.Now()))
	b.At, b.Highest = x.last, highest
	body := b.Append(nil, x.key)
	parsed, err := wire.ParseBeacon(body)
	if err != nil || !parsed.Verify(x.Cert.PublicKey) {
		t.Fatalf("beacon of our own: %v", err)
	}
	return parsed, body
}

// stop makes a stop of the transmissions.
func (b *bed) stop(xs ...*transmission) (raw []byte, s signed.Stop) {
	b.t.Helper()
	s = signed.Stop{Version: 1, At: mediaclock.At(time.Now())}
	for _, x := range xs {
		s.Transmissions = append(s.Transmissions, x.Cert.Transmission)
	}
	id := b.issuer.ID()
	raw, err := signed.Sign(s, id[:], b.issuer.Key)
	if err != nil {
		b.t.Fatal(err)
	}
	return raw, s
}
