package node

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"dongthanh/internal/control"
	"dongthanh/internal/identity"
	"dongthanh/internal/link"
	"dongthanh/internal/mediaclock"
	"dongthanh/internal/onair"
	"dongthanh/internal/packet"
	"dongthanh/internal/signed"
)

// TestHostileUpstream: an upstream with valid credentials, which verifies nothing, sends what an attacker could. Nothing
// of it reaches the loudspeaker, each has its reason, and the sound goes on.
func TestHostileUpstream(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	s := b.streamer("streamer", "127.0.0.1:0")
	a := b.relay("relay-a", url(s.hub.ControlAddr()))
	sub := b.subscriber("near", "31/11296/01", url(a.ControlAddr()))
	until(t, 10*time.Second, "synced", sub.synced)
	x := b.show("31/11296")
	x.open(s)
	for x.next < 12 {
		x.send(20*time.Millisecond, s)
	}
	until(t, 3*time.Second, "sounding", func() bool { return sub.packets() == x.next })

	_, other, err := ed25519.GenerateKey(rand.Reader)
	check(t, err)
	mki := packet.MakeMKI(x.cert.KeyZone.Level(), 1)
	header := func(n int) packet.Header {
		i := uint64(x.index(n))
		return packet.Header{Index: x.index(n), Timestamp: x.cert.Timestamp(i), SSRC: x.cert.SSRC}
	}
	// Indexes ahead of the sound, so that this upstream's own ring lets them pass.
	attacks := []struct {
		name string
		p    packet.Packet
		want onair.Verdict
	}{
		{"forged signature", x.seal(header(300), mki, other), onair.BadSignature},
		{"signature of another packet", func() packet.Packet {
			p := x.packet(301)
			raw := slices.Clone(p.Raw)
			raw[packet.HeaderLen] ^= 1
			q, _ := packet.Parse(raw)
			return q
		}(), onair.BadSignature},
		{"right signature, wrong timestamp", x.packet(302, func(h *packet.Header) { h.Timestamp += 1920 }), onair.WrongTime},
		{"key of another level", x.seal(header(303), packet.MakeMKI(1, 1), x.key), onair.WrongKey},
		{"another signing key", x.packet(304, func(h *packet.Header) { h.KeyID = 3 }), onair.WrongKey},
		{"far in the future", x.packet(5000), onair.WrongTime},
	}
	for _, at := range attacks {
		before := a.table.Count(at.want)
		s.hub.Media(at.p)
		until(t, 3*time.Second, at.name+" refused as "+at.want.String(), func() bool { return a.table.Count(at.want) > before })
	}

	// Replays: a second incarnation of the upstream sends the old packets again, and a packet whose tag is altered.
	port := s.hub.ControlAddr().String()
	s.stop()
	s = b.streamer("streamer", port)
	until(t, 8*time.Second, "joined again", func() bool { return a.links.State().Active == 0 && a.links.State().Upstreams[0].Alive })
	x.open(s)
	had := x.next
	altered := slices.Clone(x.made[x.index(had-6)])
	altered[len(altered)-packet.MKILen-1] ^= 1
	variant, err := packet.Parse(altered)
	check(t, err)
	until(t, 8*time.Second, "active again", func() bool { // it is bound and active once packets arrive
		x.send(20*time.Millisecond, s)
		return sub.packets() > had
	})
	dup, vary := a.table.Count(onair.Duplicate), a.table.Count(onair.Variant)
	s.hub.Media(variant)
	for k := had - 5; k < had; k++ {
		p, err := packet.Parse(x.made[x.index(k)])
		check(t, err)
		s.hub.Media(p)
	}
	until(t, 3*time.Second, "replays refused", func() bool {
		return a.table.Count(onair.Duplicate) >= dup+5 && a.table.Count(onair.Variant) > vary
	})
	_, text := get(t, a, "/metrics")
	for _, reason := range []string{"bad_signature", "wrong_time", "wrong_key", "duplicate"} {
		if !strings.Contains(text, `dongthanh_relay_packets_dropped_total{reason="`+reason+`"}`) {
			t.Errorf("metrics do not name the reason %s", reason)
		}
	}
	sub.stop()
	for i, raw := range sub.got {
		if !bytes.Equal(raw, x.made[i]) {
			t.Errorf("the loudspeaker has a packet %d that the streamer did not make", i)
		}
	}
	for _, v := range []onair.Verdict{onair.BadSignature, onair.WrongTime, onair.WrongKey, onair.Variant} {
		if n := sub.table.Count(v); n > 0 {
			t.Errorf("%d packets reached the loudspeaker as %s", n, v)
		}
	}
}

// TestFalseObjects: certificates and stops that nobody of ours signed change nothing.
func TestFalseObjects(t *testing.T) {
	b := newBed(t)
	stranger := newBed(t)
	n, _ := b.offline("relay-a")
	e := n.events()
	x, foreign := b.show("31/11296"), stranger.show("31/11296")
	e.Session(control.Session{Cert: foreign.raw, Issuer: stranger.issuer.Certificate.Raw}, 0)
	e.Session(control.Session{Cert: x.raw, Issuer: stranger.issuer.Certificate.Raw}, 0)
	e.Session(control.Session{Cert: []byte("garbage")}, 0)
	if len(n.table.OnAir()) != 0 {
		t.Fatal("a certificate of another root was believed")
	}
	e.Session(control.Session{Cert: x.raw, Issuer: b.issuer.Certificate.Raw}, 0)
	order := signed.Stop{Version: 1, Transmissions: [][16]byte{x.cert.Transmission}}
	id := stranger.issuer.ID()
	raw, err := signed.Sign(order, id[:], stranger.issuer.Key)
	check(t, err)
	e.Stop(control.Stop{Order: raw, Issuer: stranger.issuer.Certificate.Raw}, 0)
	e.Order(raw, 0)
	if len(n.table.OnAir()) != 1 {
		t.Error("a stop of another root was obeyed")
	}
	if n.refused.Total() < 5 {
		t.Errorf("%d objects counted as refused, want 5", n.refused.Total())
	}
}

// offline is a relay that does not run: its parts are called by the test.
func (b *bed) offline(id string) (*Node, Config) {
	b.t.Helper()
	cfg := b.relayConfig(id, "wss://127.0.0.1:1")
	n, err := New(cfg, "test", quiet(b.t), prometheus.NewRegistry())
	check(b.t, err)
	b.t.Cleanup(n.refused.Stop)
	return n, cfg
}

// TestMediaBeforeCertificate: sound that overtakes its certificate is held, and goes out with it.
func TestMediaBeforeCertificate(t *testing.T) {
	b := newBed(t)
	n, _ := b.offline("relay-a")
	x := b.show("31/11296")
	for k := range 4 {
		n.media(x.packet(k).Raw, n.mono.Now(), 0)
	}
	if n.table.Count(onair.Held) != 4 {
		t.Fatalf("%d packets held, want 4", n.table.Count(onair.Held))
	}
	n.events().Session(control.Session{Cert: x.raw, Issuer: b.issuer.Certificate.Raw}, 0)
	if got := n.table.Count(onair.Accepted); got != 4 {
		t.Errorf("%d packets accepted once the certificate came, want 4", got)
	}
}

// TestMediaAllocatesNothing on the way of an accepted packet through the whole relay.
func TestMediaAllocatesNothing(t *testing.T) {
	b := newBed(t)
	n, _ := b.offline("relay-a")
	x := b.show("31/11296")
	n.events().Session(control.Session{Cert: x.raw, Issuer: b.issuer.Certificate.Raw}, 0)
	const runs = 100
	var packets [runs + 1][]byte
	for k := range packets {
		packets[k] = x.packet(k).Raw
	}
	k := 0
	got := testing.AllocsPerRun(runs, func() {
		n.media(packets[k], n.mono.Now(), 0)
		k++
	})
	if got != 0 || n.table.Count(onair.Accepted) != runs+1 {
		t.Errorf("%g allocations a packet and %d of %d accepted, want 0 and all", got, n.table.Count(onair.Accepted), runs+1)
	}
}

// TestEnrolThroughTwoRelays: a new relay gets its certificate at the control port of a relay two hops down; and keys
// sealed for a node travel down to it, as orders do, unread.
func TestEnrolThroughTwoRelays(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	s := b.streamer("streamer", "127.0.0.1:0")
	a := b.relay("relay-a", url(s.hub.ControlAddr()))
	c := b.relay("relay-b", url(a.ControlAddr()))
	dir := t.TempDir()
	token := identity.NewToken(identity.Relay, b.roots.Hash())
	got, err := control.EnrolNode(t.Context(), url(c.ControlAddr()), token.String(), identity.Relay, dir)
	if err != nil || got.ID != "new-node" || s.enrols != 1 {
		t.Fatalf("enrolled as %+v, %v, after %d requests; want new-node after one", got, err, s.enrols)
	}
	if creds, err := identity.Load(dir); err != nil || creds.Node.ID != "new-node" {
		t.Errorf("stored credentials: %v, %v", creds, err)
	}

	keys, orders := make(chan control.Keys, 1), make(chan control.Order, 1)
	l, err := link.New(link.Options{
		Upstreams: []link.Upstream{{Control: url(c.ControlAddr())}}, Credentials: b.enlist("near", identity.Client, "31/11296/01"),
		Boot: 1, Log: quiet(t), Registerer: prometheus.NewRegistry(), Prefix: "dongthanh_client_", Clock: mediaclock.NewMonotonic(),
		Events: link.Events{
			Keys: func(k control.Keys, _ int) { keys <- k }, NodeOrder: func(o control.Order, _ int) { orders <- o },
		},
	})
	check(t, err)
	background(t, l.Run)
	until(t, 10*time.Second, "known to the streamer", func() bool { return s.via("near", "relay-b") })
	if !s.hub.Deliver(control.Keys{Node: "near", Envelopes: [][]byte{[]byte("sealed")}, Issuer: b.issuer.Certificate.Raw}) {
		t.Fatal("nobody has the node beneath it")
	}
	select {
	case k := <-keys:
		if k.Node != "near" || string(k.Envelopes[0]) != "sealed" {
			t.Errorf("keys came as %+v", k)
		}
	case <-time.After(2 * time.Second):
		t.Error("the keys did not come")
	}
	sent := control.Order{Node: "near", Order: []byte("\x00a signed order\xff"), Issuer: b.issuer.Certificate.Raw}
	if !s.hub.Order(sent) {
		t.Fatal("nobody has the node beneath it")
	}
	select {
	case o := <-orders:
		if !reflect.DeepEqual(o, sent) {
			t.Errorf("the order came as %+v", o)
		}
	case <-time.After(2 * time.Second):
		t.Error("the order did not come")
	}
}

// TestDormantAndBack: a transmission whose streamer vanished is closed here, or its subscribers would be taken for dead
// when they slow their pings; a beacon opens it again.
func TestDormantAndBack(t *testing.T) {
	b := newBed(t)
	n, _ := b.offline("relay-a")
	x := b.show("31/11296")
	n.events().Session(control.Session{Cert: x.raw, Issuer: b.issuer.Certificate.Raw}, 0)
	n.media(x.packet(0).Raw, n.mono.Now(), 0)
	on := n.table.Get(x.cert.Transmission)
	for _, step := range []struct {
		kind onair.Kind
		want int
	}{{onair.Silent, 1}, {onair.Dormant, 0}, {onair.Revived, 1}, {onair.Revived, 1}, {onair.Expired, 0}} {
		n.act([]onair.Event{{Kind: step.kind, On: on}})
		if got := len(*n.repairs.Load()); got != step.want {
			t.Errorf("after event %d: %d transmissions looked after, want %d", step.kind, got, step.want)
		}
	}
}
