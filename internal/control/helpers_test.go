package control

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"go.uber.org/goleak"

	"dongthanh/internal/identity"
	"dongthanh/internal/logging"
	"dongthanh/internal/signed"
	"dongthanh/internal/testkit"
	"dongthanh/internal/zone"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const year = 365 * 24 * time.Hour

// network is a root with one issuer.
type network struct{ root, issuer *identity.Authority }

func newNetwork(t testing.TB) network {
	t.Helper()
	// Old, so that certificates that have expired can be made.
	root := must(identity.NewRoot(time.Now().Add(-3*year), 10*year))(t)
	issuer := must(root.NewIssuer("31", signed.ClassEmergency, time.Now().Add(-3*year), 9*year))(t)
	return network{root: root, issuer: issuer}
}

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func (n network) node(t testing.TB, kind identity.Kind, id string) *identity.Credentials {
	t.Helper()
	return n.nodeAt(t, kind, id, time.Now(), year)
}

func (n network) nodeAt(t testing.TB, kind identity.Kind, id string, now time.Time, life time.Duration) *identity.Credentials {
	t.Helper()
	return must(n.issuer.Enlist(identity.Node{ID: id, Kind: kind, Zone: zone.Zone("31/11296"), Name: "Loa số 1"}, now, life))(t)
}

// port is a running control port.
type port struct {
	*Server
	t     testing.TB
	url   string
	log   *testkit.Journal
	reg   *prometheus.Registry
	stop  func()
	conns chan *Conn // each that was let in
	ends  chan error // what Run of each returned
	got   chan Message
}

// listen runs a control port of c on loopback until the test ends.
func listen(t testing.TB, c *identity.Credentials, change func(*ServerOptions)) *port {
	t.Helper()
	p := newPort(t, c, change)
	if err := p.Bind(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.url = "wss://" + p.Addr().String()
	p.run(func(ctx context.Context) error { return p.Run(ctx) })
	return p
}

func newPort(t testing.TB, c *identity.Credentials, change func(*ServerOptions)) *port {
	t.Helper()
	p := &port{
		t: t, log: &testkit.Journal{}, reg: prometheus.NewRegistry(),
		conns: make(chan *Conn, 100), ends: make(chan error, 100), got: make(chan Message, 1000),
	}
	o := ServerOptions{
		Listen: "127.0.0.1:0", Credentials: c, Log: slog.New(slog.NewTextHandler(p.log, nil)), Registerer: p.reg,
		Accept: func(c *Conn) {
			p.conns <- c
			p.ends <- c.Run(context.Background(), func(m Message) { p.got <- m })
		},
	}
	if change != nil {
		change(&o)
	}
	p.Server = must(NewServer(o))(t)
	// Each refusal gets its own line here, not one a second: to the dumper an hour goes by each time it looks.
	var looks atomic.Int64
	p.refused = logging.NewDumper(o.Log, "control connections refused", func() time.Time {
		return time.Unix(0, 0).Add(time.Duration(looks.Add(1)) * time.Hour)
	})
	return p
}

func (p *port) run(serve func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- serve(ctx) }()
	p.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			p.t.Errorf("Run() = %v, want nil", err)
		}
	})
	p.t.Cleanup(p.stop)
}

// count reads a metric, summed over its labels or of one label value.
func (p *port) count(name, label string) float64 {
	p.t.Helper()
	sum := 0.0
	for _, f := range must(p.reg.Gather())(p.t) {
		if f.GetName() != "dongthanh_relay_"+name {
			continue
		}
		for _, m := range f.GetMetric() {
			if label == "" || labelled(m, label) {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return sum
}

func labelled(m *dto.Metric, value string) bool {
	for _, l := range m.GetLabel() {
		if l.GetValue() == value {
			return true
		}
	}
	return false
}

// eventually waits for what another goroutine does shortly.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(5 * time.Second)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// next takes the next of a channel.
func next[T any](t testing.TB, what string, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(10 * time.Second):
		t.Fatalf("waited in vain for %s", what)
		panic("unreachable")
	}
}

// start runs a dialled connection and returns what it hears and how it ends.
func start(t testing.TB, c *Conn) (got chan Message, end chan error) {
	t.Helper()
	got, end = make(chan Message, 1000), make(chan error, 1)
	go func() { end <- c.Run(context.Background(), func(m Message) { got <- m }) }()
	return got, end
}

// rawTLS opens TLS with a configuration of one's own.
func rawTLS(t testing.TB, p *port, config *tls.Config) (*tls.Conn, error) {
	t.Helper()
	raw := must(net.Dial("tcp", p.Addr().String()))(t)
	c := tls.Client(raw, config)
	t.Cleanup(func() { _ = raw.Close() })
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return c, c.HandshakeContext(t.Context())
}

func contains(s string, parts ...string) bool {
	for _, p := range parts {
		if !strings.Contains(s, p) {
			return false
		}
	}
	return true
}
