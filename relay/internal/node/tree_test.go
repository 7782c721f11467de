package node

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"dongthanh/internal/mediaclock"
	"dongthanh/internal/onair"
)

// TestTree: streamer, two relays in a row, loudspeakers of two communes. The right one gets every packet byte for byte,
// the other none; network time is right; the streamer knows who hangs where.
func TestTree(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	s := b.streamer("streamer", "127.0.0.1:0")
	began := b.mono.Now()
	a := b.relay("relay-a", url(s.hub.ControlAddr()))
	c := b.relay("relay-b", url(a.ControlAddr()))
	near := b.subscriber("near", "31/11296/01", url(c.ControlAddr()))
	far := b.subscriber("far", "31/11407/01", url(c.ControlAddr()))
	until(t, 10*time.Second, "synced", func() bool { return near.synced() && far.synced() })
	t.Logf("network time three hops down after %s", b.mono.Now().Sub(began))
	until(t, 10*time.Second, "known to the streamer", func() bool {
		return s.via("relay-a", "streamer") && s.via("relay-b", "relay-a") && s.via("near", "relay-b") && s.via("far", "relay-b")
	})
	if status, body := get(t, c, "/readyz"); status != http.StatusOK {
		t.Errorf("readyz of relay-b: %d %s", status, body)
	}

	x := b.show("31/11296")
	x.open(s)
	x.send(2*time.Second, s)
	until(t, 4*time.Second, "all there", func() bool { return near.packets() >= x.next })
	if m := x.missing(near, 0, x.next); len(m) > 0 {
		t.Errorf("packets %v of %d did not come whole and in time", m, x.next)
	}
	if n := far.packets(); n > 0 || far.read(&far.sessions) > 0 || far.read(&far.beacons) > 0 {
		t.Errorf("the other commune got %d packets, %d sessions, %d beacons", n, far.sessions, far.beacons)
	}
	var off time.Duration
	var errNS uint32
	defer func() { t.Logf("network time off by %s, given %s", off, time.Duration(errNS)) }()
	until(t, 10*time.Second, "network time right to 5 ms", func() bool {
		var now mediaclock.Instant
		now, errNS, _ = near.links.Now()
		off = now.Sub(b.root.Now())
		if off.Abs() > time.Duration(errNS)+time.Millisecond { // one for the two readings being apart
			t.Errorf("network time is off by %s, given %s", off, time.Duration(errNS))
		}
		return off.Abs() < 5*time.Millisecond
	})
	near.links.Report([]byte("a report is passed on unread"))
	until(t, 4*time.Second, "reported", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.reports) == 1 && string(s.reports[0]) == "a report is passed on unread"
	})
	near.stop()
	until(t, 4*time.Second, "known to have left", func() bool { return !s.via("near", "relay-b") })
	_, text := get(t, a, "/metrics")
	for _, name := range []string{"dongthanh_relay_packets_received_total", "dongthanh_relay_packets_sent_total", "dongthanh_relay_subscribers 1",
		"dongthanh_relay_transmissions 1", "dongthanh_relay_clock_offset_seconds", "dongthanh_relay_upstreams_joined 1", "dongthanh_build_info"} {
		if name != "dongthanh_build_info" && !strings.Contains(text, name) {
			t.Errorf("metrics lack %s", name)
		}
	}
}

// get asks a relay's admin page.
func get(t *testing.T, n *running, path string) (int, string) {
	t.Helper()
	r, err := http.Get("http://" + n.admin.Addr().String() + path)
	check(t, err)
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	check(t, err)
	http.DefaultClient.CloseIdleConnections()
	return r.StatusCode, string(body)
}

// TestStop: an order reaches the loudspeaker by control and in-band, and nothing sounds afterwards.
func TestStop(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	s := b.streamer("streamer", "127.0.0.1:0")
	a := b.relay("relay-a", url(s.hub.ControlAddr()))
	sub := b.subscriber("near", "31/11296/01", url(a.ControlAddr()))
	until(t, 10*time.Second, "synced", sub.synced)
	x := b.show("31/11296")
	x.open(s)
	x.send(500*time.Millisecond, s)
	until(t, 4*time.Second, "sounding", func() bool { return sub.packets() > 5 })
	raw, order := x.stopOrder()
	began := time.Now()
	s.hub.Stop(raw, order, b.issuer.Certificate.Raw)
	until(t, 2*time.Second, "stopped", func() bool { return sub.read(&sub.stopped) == 1 })
	t.Logf("stopped two hops down after %s", time.Since(began))
	until(t, 10*time.Second, "told in-band", func() bool { return sub.read(&sub.orders) >= 5 })
	n := sub.packets()
	x.send(200*time.Millisecond, s)
	if sub.packets() != n || len(a.table.OnAir()) != 0 || len(sub.table.OnAir()) != 0 {
		t.Errorf("%d packets after the stop, %d on air at the relay, %d at the loudspeaker", sub.packets()-n, len(a.table.OnAir()), len(sub.table.OnAir()))
	}
	x.open(s) // a streamer that forgot
	late := b.subscriber("late", "31/11296/02", url(a.ControlAddr()))
	until(t, 10*time.Second, "synced", late.synced)
	x.send(200*time.Millisecond, s)
	if n := len(late.table.OnAir()); late.packets() > 0 || n > 0 {
		t.Errorf("a newcomer has %d packets of the stopped transmission, and %d on air", late.packets(), n)
	}
}

// TestRelayRestart: the middle relay is restarted while on air. A loudspeaker that has no other comes back within 2 s
// of the relay's return; one with a standby loses no packet at all.
func TestRelayRestart(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	s := b.streamer("streamer", "127.0.0.1:0")
	a := b.relay("relay-a", url(s.hub.ControlAddr()))
	m := b.relay("relay-m", url(a.ControlAddr()))
	single := b.subscriber("single", "31/11296/01", url(m.ControlAddr()))
	double := b.subscriber("double", "31/11296/02", url(m.ControlAddr()), url(a.ControlAddr()))
	until(t, 10*time.Second, "synced, at the preferred upstream", func() bool { return single.synced() && double.synced() && double.links.State().Active == 0 })
	x := b.show("31/11296")
	x.open(s)
	x.send(time.Second, s)
	until(t, 4*time.Second, "sounding", func() bool { return single.packets() == x.next && double.packets() == x.next })
	m.stop()
	down := x.next
	x.send(700*time.Millisecond, s)
	back := b.mono.Now()
	b.start(m.cfg)
	x.send(2500*time.Millisecond, s)
	until(t, 4*time.Second, "all there", func() bool {
		_, one := single.has(x.last())
		_, two := double.has(x.last())
		return one && two
	})
	if missing := x.missing(double, 0, x.next); len(missing) > 0 {
		t.Errorf("with a standby packets %v were lost (the relay went at %d)", missing, down)
	}
	var first mediaclock.Local
	for k := down; first == 0 && k < x.next; k++ {
		if at, ok := single.has(x.index(k)); ok && at > back {
			first = at
		}
	}
	if first == 0 || first.Sub(back) > 4*time.Second { // 2 s, and as much for a machine that has more to do
		t.Errorf("without a standby the first packet came %s after the relay's return, want within 2 s", first.Sub(back))
	}
	t.Logf("without a standby the first packet came %s after the relay's return; %d of %d lost in all", first.Sub(back), len(x.missing(single, 0, x.next)), x.next)
	if got := double.links.Failovers(); got < 1 {
		t.Errorf("%d failovers, want at least 1", got)
	}
	until(t, 15*time.Second, "back at the preferred upstream", func() bool { return double.links.State().Active == 0 })
	until(t, 8*time.Second, "fed by one upstream only", func() bool {
		before := double.table.Count(onair.Duplicate)
		x.send(400*time.Millisecond, s)
		return double.table.Count(onair.Duplicate) == before
	})
}

// TestStreamerGone: without an upstream a relay keeps its downstreams, says so, and comes back by itself.
func TestStreamerGone(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	s := b.streamer("streamer", "127.0.0.1:0")
	port := s.hub.ControlAddr()
	a := b.relay("relay-a", url(port))
	sub := b.subscriber("near", "31/11296/01", url(a.ControlAddr()))
	until(t, 10*time.Second, "synced", sub.synced)
	s.stop()
	until(t, 10*time.Second, "noticed", func() bool { status, _ := get(t, a, "/readyz"); return status == http.StatusServiceUnavailable })
	if _, body := get(t, a, "/readyz"); !strings.Contains(body, "downstreams are still served") || !strings.Contains(body, port.String()) {
		t.Errorf("readyz says %q", body)
	}
	until(t, 4*time.Second, "unfed", func() bool { u := sub.links.State().Upstreams[0]; return u.Joined && u.Alive && !u.Fed })
	if !sub.synced() {
		t.Error("network time is lost together with the streamer")
	}
	s = b.streamer("streamer", port.String())
	until(t, 8*time.Second, "ready again", func() bool { status, _ := get(t, a, "/readyz"); return status == http.StatusOK })
	x := b.show("31/11296")
	x.open(s)
	x.send(400*time.Millisecond, s)
	until(t, 10*time.Second, "sounding", func() bool { return sub.packets() == x.next })
}
