package ingest

import (
	"errors"
	"net"
	"strings"
	"syscall"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

func TestConfig(t *testing.T) {
	for _, tt := range []struct {
		name   string
		cfg    Config
		faults []string
	}{
		{"default", DefaultConfig(), nil},
		{"one address", Config{Listen: "10.0.0.1:8082", PublicIPs: []string{"203.0.113.7", "2001:db8::1"}}, nil},
		{"nothing", Config{}, []string{"listen"}},
		{"no port", Config{Listen: "10.0.0.1"}, []string{"listen"}},
		{"a name", Config{Listen: ":1", PublicIPs: []string{"loa.example.vn"}}, []string{"public_ips.0"}},
		{"all at once", Config{Listen: "x", PublicIPs: []string{"1.2.3.4", "0.0.0.0", "224.0.0.1", "fe80::1%eth0", ""}},
			[]string{"listen", "public_ips.1", "public_ips.2", "public_ips.3", "public_ips.4"}},
		{"ICE servers", Config{Listen: ":1", ICEServers: []ICEServer{
			{URL: "stun:stun.example.vn:3478"}, {URL: "https://stun.example.vn"}, {URL: "turn:a>b"}, {URL: "turns:turn.example.vn", Username: "lễ", Credential: "a\n"},
		}}, []string{"ice_servers.1.url", "ice_servers.2.url", "ice_servers.3.username", "ice_servers.3.credential"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var paths []string
			for _, f := range tt.cfg.Validate() {
				paths = append(paths, f.Path)
			}
			if strings.Join(paths, " ") != strings.Join(tt.faults, " ") {
				t.Errorf("faults of %v, want of %v", paths, tt.faults)
			}
		})
	}
}

func TestLineConfig(t *testing.T) {
	for _, tt := range []struct {
		cfg    LineConfig
		faults string
	}{
		{LineConfig{}, ""},
		{LineConfig{Listen: "10.0.0.1", Ports: "5004-5067"}, ""},
		{LineConfig{Listen: "::1", Ports: "5004-5004"}, ""},
		{LineConfig{Listen: "10.0.0.1:5004", Ports: "5004"}, "listen ports"},
		{LineConfig{Listen: "0.0.0.0", Ports: "5005-5004"}, "listen ports"},
		{LineConfig{Listen: "239.0.0.1", Ports: "0-9"}, "listen ports"},
		{LineConfig{Ports: "1-65536"}, "ports"},
	} {
		var paths []string
		for _, f := range tt.cfg.Validate() {
			paths = append(paths, f.Path)
		}
		if got := strings.Join(paths, " "); got != tt.faults {
			t.Errorf("%+v: faults of %q, want of %q", tt.cfg, got, tt.faults)
		}
	}
}

// TestPortInUse: one protocol of the port is enough to be told that it is in use.
func TestPortInUse(t *testing.T) {
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	ofUDP, ofTCP := itoa(udp.LocalAddr().(*net.UDPAddr).AddrPort().Port()), itoa(tcp.Addr().(*net.TCPAddr).AddrPort().Port())
	for listen, port := range map[string]string{
		"127.0.0.1:" + ofUDP: ofUDP, ":" + ofUDP: ofUDP, "127.0.0.1:" + ofTCP: ofTCP, ":" + ofTCP: ofTCP,
	} {
		reg := prometheus.NewRegistry()
		_, err := NewMicrophones(Config{Listen: listen}, quiet(), reg)
		if !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), port) {
			t.Errorf("NewMicrophones on %s = %v, want that the port is in use", listen, err)
		}
		if n, err := testutil.GatherAndCount(reg); n != 0 || err != nil {
			t.Errorf("%d metrics are left, error %v", n, err)
		}
	}
}

// On every address, each of the machine's is offered, loopback too.
func TestEveryAddress(t *testing.T) {
	m := open(t, func(c *Config) { c.Listen = ":0" })
	want, err := localAddresses(false)
	if err != nil {
		t.Fatal(err)
	}
	got := m.Addrs()
	if len(got) != len(want) || len(got) == 0 {
		t.Errorf("listens on %v, want each of %v", got, want)
	}
	b := newBrowser(t)
	mic := b.connect(m)
	m.talk(b, mic, 5, nil)
}

// A socket that failed, and an address that was away, are opened again.
func TestAddressesComeAndGo(t *testing.T) {
	m := open(t, func(c *Config) { c.Listen = ":0" })
	m.ports.mu.Lock()
	gone := 0
	for addr, mux := range m.ports.muxes {
		_ = mux.close()
		if gone++; gone == 1 {
			delete(m.ports.muxes, addr)
		}
	}
	m.ports.mu.Unlock()
	mic := newBrowser(t).connect(m)
	if mic.Reason() != ReasonNone || len(m.Addrs()) != gone {
		t.Errorf("Reason = %q, listens on %v, want a connection and %d addresses", mic.Reason(), m.Addrs(), gone)
	}
}

func TestMetrics(t *testing.T) {
	m := open(t)
	reg := m.reg.(*prometheus.Registry)
	b := newBrowser(t)
	mic := b.connect(m)
	m.talk(b, mic, 20, nil)
	read := func(name string, labels ...string) float64 {
		t.Helper()
		families, err := reg.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			for _, x := range f.GetMetric() {
				if f.GetName() != name || (len(labels) > 0 && x.GetLabel()[0].GetValue() != labels[0]) {
					continue
				}
				return x.GetCounter().GetValue() + x.GetGauge().GetValue()
			}
		}
		t.Fatalf("no metric %s %v", name, labels)
		return 0
	}
	const packets, ended = "dongthanh_streamer_microphone_packets_total", "dongthanh_streamer_microphones_ended_total"
	if got := read("dongthanh_streamer_microphones"); got != 1 {
		t.Errorf("%v microphones, want 1", got)
	}
	if got := read(packets, "taken"); got < 19 || got > 20 {
		t.Errorf("%v packets taken, want 20", got)
	}
	if err := mic.Close(); err != nil {
		t.Fatal(err)
	}
	if got := read("dongthanh_streamer_microphones"); got != 0 {
		t.Errorf("%v microphones after Close, want none", got)
	}
	if got := read(packets, "taken"); got < 19 || got > 20 {
		t.Errorf("%v packets taken after Close, want 20 still", got)
	}
	if got := read(ended, string(ReasonStreamer)); got != 1 {
		t.Errorf("%v ended, want 1", got)
	}
	if problems, err := testutil.GatherAndLint(reg); err != nil || len(problems) > 0 {
		t.Errorf("lint: %v %v", problems, err)
	}
}
