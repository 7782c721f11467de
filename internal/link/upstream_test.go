package link

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"dongthanh/internal/control"
	"dongthanh/internal/identity"
	"dongthanh/internal/mediaclock"
	"dongthanh/internal/signed"
	"dongthanh/internal/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestCheckPath(t *testing.T) {
	long := make([]string, maxPath+1)
	for i := range long {
		long[i] = fmt.Sprint("hop", i)
	}
	for _, tc := range []struct {
		name string
		path []string
		want error
	}{
		{"beneath the streamer", []string{"s", "up"}, nil},
		{"an upstream without a way up", []string{"up"}, nil},
		{"through ourselves", []string{"s", "me", "up"}, ErrLoop},
		{"ourselves", []string{"me"}, ErrLoop},
		{"as long as it may be", append(long[:maxPath-1:maxPath-1], "up"), nil},
		{"too long", append(long[:maxPath:maxPath], "up"), ErrTooDeep},
		{"of somebody else", []string{"s", "other"}, ErrProtocol},
		{"empty", nil, ErrProtocol},
	} {
		if err := checkPath(tc.path, "me", "up"); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v, want %v", tc.name, err, tc.want)
		}
	}
}

func TestMediaAddr(t *testing.T) {
	v4, v6 := netip.MustParseAddrPort("192.0.2.7:7443"), netip.MustParseAddrPort("[2001:db8::7]:7443")
	for _, tc := range []struct {
		name, configured, given string
		control                 netip.AddrPort
		want                    string // empty: an error
	}{
		{"no host: where control leads", "", ":7444", v4, "192.0.2.7:7444"},
		{"no host, six", "", ":7444", v6, "[2001:db8::7]:7444"},
		{"mapped", "", ":7444", netip.MustParseAddrPort("[::ffff:192.0.2.7]:7443"), "192.0.2.7:7444"},
		{"what the upstream says", "", "198.51.100.1:9", v4, "198.51.100.1:9"},
		{"what the configuration says", "198.51.100.2:8", "198.51.100.1:9", v4, "198.51.100.2:8"},
		{"a name", "", "localhost:9", v4, "127.0.0.1:9"},
		{"no port", "", "192.0.2.1", v4, ""},
		{"port 0", "", ":0", v4, ""},
		{"port too large", "", ":70000", v4, ""},
		{"empty", "", "", v4, ""},
	} {
		got, err := mediaAddr(t.Context(), tc.configured, tc.given, tc.control)
		if (err != nil) != (tc.want == "") || err == nil && got.String() != tc.want {
			t.Errorf("%s: %s, %v; want %q", tc.name, got, err, tc.want)
		}
	}
}

func TestUpstreamValidate(t *testing.T) {
	for _, tc := range []struct {
		up     Upstream
		faults int
	}{
		{Upstream{Control: "wss://host:7443"}, 0},
		{Upstream{Control: "wss://[::1]:7443", Media: "host:7444"}, 0},
		{Upstream{}, 1},
		{Upstream{Control: "host:7443"}, 1},
		{Upstream{Control: "ws://host:7443"}, 1},
		{Upstream{Control: "wss://host"}, 1},
		{Upstream{Control: "wss://host:7443/path"}, 1},
		{Upstream{Control: "wss://host:7443", Media: "nowhere"}, 1},
	} {
		if got := tc.up.Validate(); len(got) != tc.faults {
			t.Errorf("%+v: %v, want %d faults", tc.up, got, tc.faults)
		}
	}
}

func TestFailureOf(t *testing.T) {
	for _, tc := range []struct {
		stood bool
		err   error
		want  failure
	}{
		{true, control.ErrClosed, lost},
		{true, control.ErrSilent, lost},
		{false, fmt.Errorf("%w: %w", control.ErrUnreachable, syscall.ECONNREFUSED), closedPort},
		{false, fmt.Errorf("%w: %w", control.ErrUnreachable, syscall.EHOSTUNREACH), busy},
		{false, ErrNoWelcome, busy},
		{false, &control.Refused{Code: control.CodeBusy}, busy},
		{true, &control.Refused{Code: control.CodeLoop}, looped},
		{false, ErrLoop, looped},
		{false, &control.Refused{Code: control.CodeRevoked}, told},
		{false, control.ErrRejected, told},
		{false, ErrTooDeep, told},
	} {
		if got := failureOf(tc.stood, fmt.Errorf("serve upstream: %w", tc.err)); got != tc.want {
			t.Errorf("failureOf(%v, %v) = %d, want %d", tc.stood, tc.err, got, tc.want)
		}
	}
}

// credentials are a client's, and a relay's of the same root.
func credentials(t testing.TB) (client, relay *identity.Credentials) {
	t.Helper()
	now := time.Now()
	root, err := identity.NewRoot(now, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	issuer, err := root.NewIssuer("31", signed.ClassNormal, now, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	client, err = issuer.Enlist(identity.Node{ID: "me", Kind: identity.Client, Zone: "31/1"}, now, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	relay, err = issuer.Enlist(identity.Node{ID: "up", Kind: identity.Relay, Zone: "31"}, now, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return client, relay
}

func newLinks(t testing.TB, creds *identity.Credentials, e Events, upstreams ...string) *Links {
	t.Helper()
	o := Options{Credentials: creds, Boot: 7, Events: e, Log: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry(),
		Prefix: "dongthanh_client_", Clock: mediaclock.NewMonotonic()}
	for _, u := range upstreams {
		o.Upstreams = append(o.Upstreams, Upstream{Control: u})
	}
	l, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// TestUpstreamsThatBreakTheProtocol: a real control port whose owner answers a join in ways that ours never do. Each
// leaves the node unjoined, with a fault that says why.
func TestUpstreamsThatBreakTheProtocol(t *testing.T) {
	client, relay := credentials(t)
	flow := make([]byte, 8)
	for _, tc := range []struct {
		name   string
		answer control.Message
		want   string
	}{
		{"a session instead of a welcome", control.Message{Session: &control.Session{Cert: []byte("x"), Issuer: []byte("y")}}, ErrProtocol.Error()},
		{"a hop list through ourselves", control.Message{Welcome: &control.Welcome{Flow: flow, Media: ":9", Path: []string{"s", "me", "up"}}}, ErrLoop.Error()},
		{"a hop list that is not its own", control.Message{Welcome: &control.Welcome{Flow: flow, Media: ":9", Path: []string{"s"}}}, "hop list"},
		{"a refusal", control.Message{Refuse: &control.Refuse{Code: control.CodeZone, Reason: "not here"}}, "not here"},
		{"a media address that is none", control.Message{Welcome: &control.Welcome{Flow: flow, Media: "nowhere", Path: []string{"s", "up"}}}, "media address"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			server, err := control.NewServer(control.ServerOptions{
				Listen: "127.0.0.1:0", Credentials: relay, Log: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry(), Prefix: "dongthanh_relay_",
				Accept: func(c *control.Conn) {
					_ = c.Run(t.Context(), func(control.Message) { _ = c.Send(tc.answer) })
				},
			})
			if err != nil {
				t.Fatal(err)
			}
			if err := server.Bind(t.Context()); err != nil {
				t.Fatal(err)
			}
			faults := make(chan string, 16)
			l := newLinks(t, client, Events{State: func(s State) {
				if u := s.Upstreams[0]; u.Joined {
					t.Error("joined nonetheless")
				} else if u.Fault != "" {
					select {
					case faults <- u.Fault:
					default:
					}
				}
			}}, "wss://"+server.Addr().String())
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan struct{}, 2)
			go func() { _ = server.Run(ctx); done <- struct{}{} }()
			go func() { _ = l.Run(ctx); done <- struct{}{} }()
			select {
			case fault := <-faults:
				if !strings.Contains(fault, tc.want) || strings.Contains(fault, "\n") {
					t.Errorf("fault %q, want one line with %q", fault, tc.want)
				}
			case <-time.After(10 * time.Second):
				t.Error("no fault came")
			}
			cancel()
			<-done
			<-done
		})
	}
}

// FuzzDatagram hands an upstream's datagrams to the reader: some with a tag that holds, as a hostile upstream makes
// them. Nothing may panic, and nobody but a pong that was asked for may move the time.
func FuzzDatagram(f *testing.F) {
	client, _ := credentials(f)
	key := [wire.KeyLen]byte{1, 2, 3}
	down := wire.NewKey(key, wire.Down)
	for typ := range uint8(16) {
		f.Add(typ, []byte("body"), true)
	}
	f.Add(uint8(wire.Pong), wire.PongBody{T1: 5, T2: 1 << 60, T3: 1 << 60, Synced: true}.Append(nil), true)
	f.Add(uint8(wire.Challenge), make([]byte, 16), true)
	f.Add(uint8(0x90), make([]byte, 100), false)
	f.Fuzz(func(t *testing.T, typ uint8, body []byte, tagged bool) {
		l := newLinks(t, client, Events{
			Media:  func([]byte, mediaclock.Local, int) {},
			Beacon: func(wire.BeaconBody, []byte, mediaclock.Local, int) {},
			Order:  func([]byte, int) {},
		}, "wss://127.0.0.1:1")
		fl := &flow{id: wire.FlowID{9}, up: wire.NewKey(key, wire.Up), down: down, counter: &l.counter}
		fl.conn.Store(&net.UDPConn{}) // refuses every write
		u := l.ups[0]
		u.flow = fl
		raw := append([]byte{typ}, body...)
		if tagged {
			raw = down.Append(nil, wire.Header{Type: wire.Type(typ & 0xf), Flow: fl.id, Counter: 1}, body[:min(len(body), wire.MaxBody)])
		}
		l.take(u, fl, raw, 0)
		if _, _, ok := l.Now(); ok || u.filter.Estimate().N > 0 {
			t.Error("a pong that nobody asked for was believed")
		}
	})
}
