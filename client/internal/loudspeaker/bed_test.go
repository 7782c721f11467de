package loudspeaker

import (
	"context"
	"crypto/rand"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"dongthanh/client/internal/device"
	"dongthanh/internal/cluster"
	"dongthanh/internal/control"
	"dongthanh/internal/identity"
	"dongthanh/internal/link"
	"dongthanh/internal/logging"
	"dongthanh/internal/mediaclock"
	"dongthanh/internal/signed"
	"dongthanh/internal/wire"
	"dongthanh/internal/zone"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	ms       = time.Millisecond
	patience = 30 * time.Second
)

// bed is a relay that runs, with an issuer beside it, and a streamer's part played by the test.
type bed struct {
	testing.TB
	root, issuer *identity.Authority
	hub          *cluster.Hub // the first of hubs
	hubs         []*cluster.Hub
	secrets      map[zone.Zone][32]byte
	log          *slog.Logger

	mu       sync.Mutex
	nodes    map[string]bool
	reports  []signed.Report
	settings []signed.Report // of no transmission
	nacks    []wire.NackBody
	onNack   func(wire.NackBody)
}

// writer sends a log to the test's.
type writer struct{ testing.TB }

func (w writer) Write(p []byte) (int, error) {
	w.Log(strings.TrimSpace(string(p)))
	return len(p), nil
}

func newBed(tb testing.TB) *bed {
	tb.Helper()
	b := newIssuer(tb)
	b.newHub(identity.Node{ID: "hub", Kind: identity.Streamer, Zone: "31", Name: "tỉnh"})
	b.hub = b.hubs[0]
	return b
}

// newHub runs one more that is fed the same. end ends it early.
func (b *bed) newHub(n identity.Node) (h *cluster.Hub, end func()) {
	b.Helper()
	credentials, err := b.issuer.Enlist(n, time.Now(), time.Hour)
	if err != nil {
		b.Fatal(err)
	}
	path := []string{"hub", n.ID}
	if n.ID == "hub" {
		path = path[:1]
	}
	h, err = cluster.New(cluster.Options{
		Config: cluster.Config{Control: "127.0.0.1:0", Media: "127.0.0.1:0"}, Credentials: credentials,
		Path:  func() []string { return path },
		Clock: func() (mediaclock.Instant, uint32, bool) { return mediaclock.At(time.Now()), 1000, true },
		Up:    b, Log: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry(),
	})
	if err != nil {
		b.Fatal(err)
	}
	end = b.run(n.ID, h.Bind, h.Run)
	b.hubs = append(b.hubs, h)
	return h, end
}

// newIssuer is a bed without a relay.
func newIssuer(tb testing.TB) *bed {
	tb.Helper()
	root, err := identity.NewRoot(time.Now(), 24*time.Hour)
	if err != nil {
		tb.Fatal(err)
	}
	b := &bed{TB: tb, root: root, secrets: map[zone.Zone][32]byte{}, nodes: map[string]bool{}}
	b.log = logging.New(writer{tb}, slog.LevelInfo)
	if b.issuer, err = root.NewIssuer("31", signed.ClassEmergency, time.Now(), 24*time.Hour); err != nil {
		tb.Fatal(err)
	}
	return b
}

// run runs something until the test ends, or end is called.
func (b *bed) run(name string, bind, run func(context.Context) error) (end func()) {
	b.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	if bind != nil {
		if err := bind(ctx); err != nil {
			b.Fatal(err)
		}
	}
	ended := make(chan error, 1)
	go func() { ended <- run(ctx) }()
	end = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil && err != context.Canceled {
			b.Errorf("%s ended with %v", name, err)
		}
	})
	b.Cleanup(end)
	return end
}

// Changes, Digest, Reports, Nack and Enrol are what a streamer does with what its hub tells.
func (b *bed) Changes(c control.Changes) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, m := range c.Members {
		b.nodes[m.Node] = !m.Gone
	}
}

func (b *bed) Digest(control.Digest) {}

func (b *bed) Reports(raw [][]byte) {
	for _, r := range raw {
		o, err := signed.Parse[signed.Report](r)
		if err != nil {
			b.Errorf("report: %v", err)
			continue
		}
		b.mu.Lock()
		if x := o.Unverified(); x.Transmission == [16]byte{} {
			b.settings = append(b.settings, x)
		} else {
			b.reports = append(b.reports, x)
		}
		b.mu.Unlock()
	}
}

func (b *bed) Nack(n wire.NackBody) {
	b.mu.Lock()
	b.nacks = append(b.nacks, n)
	do := b.onNack
	b.mu.Unlock()
	if do != nil {
		do(n)
	}
}

func (b *bed) Enrol(context.Context, control.EnrolRequest) (*control.EnrolResponse, error) {
	return nil, &control.Refused{Code: "unknown", Reason: "no tokens here"}
}

// eventually waits for something that nothing announces.
func (b *bed) eventually(what string, cond func() bool) {
	b.Helper()
	for end := time.Now().Add(patience); !cond(); time.Sleep(5 * ms) {
		if time.Now().After(end) {
			b.Fatalf("waited for %s", what)
		}
	}
}

// speaker is a loudspeaker with a file device.
type speaker struct {
	*Loudspeaker
	id      string
	path    string
	started time.Time // of the device, at the latest
	reg     *prometheus.Registry
}

// speaker starts a loudspeaker, gives it the keys of its zones, and waits until it is ready. media is the address its
// datagrams go to; empty: the hub's.
func (b *bed) speaker(id string, z zone.Zone, skew float64, media string) *speaker {
	b.Helper()
	c, err := b.issuer.Enlist(identity.Node{ID: id, Kind: identity.Client, Zone: z, Name: id}, time.Now(), time.Hour)
	if err != nil {
		b.Fatal(err)
	}
	dir := b.TempDir()
	s := &speaker{id: id, path: filepath.Join(dir, "played.wav"), reg: prometheus.NewRegistry()}
	clock := mediaclock.NewMonotonic()
	log := b.log.With("node", id)
	d, err := device.New(device.Options{
		Config: device.Config{Kind: "file", Path: s.path, SkewPPM: skew}, Clock: clock, Log: log, Registerer: s.reg,
	})
	if err != nil {
		b.Fatal(err)
	}
	var ups []link.Upstream
	for _, h := range b.hubs {
		ups = append(ups, link.Upstream{Control: "wss://" + h.ControlAddr().String(), Media: media})
		media = "" // of the first only
	}
	s.Loudspeaker, err = New(Options{
		Credentials: c, Upstreams: ups, Dir: dir,
		Device: d, Version: "test", Log: log, Registerer: s.reg, Clock: clock,
	})
	if err != nil {
		b.Fatal(err)
	}
	b.run(id, nil, s.Run)
	b.eventually(id+" to join", func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		return b.nodes[id]
	})
	var envelopes [][]byte
	for _, z := range z.Chain() {
		if !zone.Zone("31").Contains(z) {
			continue
		}
		secret, ok := b.secrets[z]
		if !ok {
			_, _ = rand.Read(secret[:])
			b.secrets[z] = secret
		}
		e, err := identity.SealZoneKey(id, c.HPKE.PublicKey(), z, 1, secret)
		if err != nil {
			b.Fatal(err)
		}
		envelopes = append(envelopes, b.sign(e))
	}
	s.started = time.Now()
	looks := 0
	b.eventually(id+" to be ready", func() bool {
		if looks++; looks%20 == 1 { // a hub that it has not joined yet has nobody to deliver to
			for _, h := range b.hubs {
				h.Deliver(control.Keys{Node: id, Envelopes: envelopes, Issuer: b.issuer.Certificate.Raw})
			}
		}
		_, ok := s.ring.Secret(z, 1)
		return ok && s.Ready(context.Background()) == nil
	})
	return s
}

func (b *bed) sign(body signed.Body) []byte {
	b.Helper()
	id := b.issuer.ID()
	raw, err := signed.Sign(body, id[:], b.issuer.Key)
	if err != nil {
		b.Fatal(err)
	}
	return raw
}

// counts reads the frames from the metrics.
func (s *speaker) counts(tb testing.TB) map[string]float64 {
	return metric(tb, s.reg, "dongthanh_client_frames_total")
}

// total is how many frames have a result.
func (s *speaker) total(tb testing.TB) (n float64) {
	for _, c := range s.counts(tb) {
		n += c
	}
	return n
}

// metric returns the values of one metric by its only label.
func metric(tb testing.TB, reg *prometheus.Registry, name string) map[string]float64 {
	tb.Helper()
	families, err := reg.Gather()
	if err != nil {
		tb.Fatal(err)
	}
	values := map[string]float64{}
	for _, f := range families {
		if f.GetName() == name {
			for _, m := range f.GetMetric() {
				label := ""
				if len(m.GetLabel()) > 0 {
					label = m.GetLabel()[0].GetValue()
				}
				values[label] = m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	if len(values) == 0 {
		tb.Fatalf("no metric %s", name)
	}
	return values
}

// lossy passes datagrams between a loudspeaker and the hub, and drops media as drop says. It returns its address.
func (b *bed) lossy(drop func(raw []byte) bool) string {
	b.Helper()
	near, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		b.Fatal(err)
	}
	far, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(b.hub.MediaAddr()))
	if err != nil {
		b.Fatal(err)
	}
	var client sync.Map
	var wg sync.WaitGroup
	wg.Go(func() {
		var buf [2048]byte
		for {
			n, from, err := near.ReadFromUDPAddrPort(buf[:])
			if err != nil {
				return
			}
			client.Store("", from)
			_, _ = far.Write(buf[:n])
		}
	})
	wg.Go(func() {
		var buf [2048]byte
		for {
			n, err := far.Read(buf[:])
			if err != nil {
				return
			}
			if to, ok := client.Load(""); ok && !drop(buf[:n]) {
				_, _ = near.WriteToUDPAddrPort(buf[:n], to.(netip.AddrPort))
			}
		}
	})
	b.Cleanup(func() {
		_ = near.Close()
		_ = far.Close()
		wg.Wait()
	})
	return near.LocalAddr().String()
}
