package cluster

import (
	"encoding/binary"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"dongthanh/internal/control"
	"dongthanh/internal/identity"
	"dongthanh/internal/packet"
	"dongthanh/internal/seq"
	"dongthanh/internal/signed"
	"dongthanh/internal/wire"
)

// fed waits until the lists of x have that many subscribers.
func (b *bed) fed(x *transmission, active, all int) {
	b.t.Helper()
	b.eventually(fmt.Sprintf("%d active of %d subscribers", active, all), func() bool {
		b.Hub.mu.Lock()
		s := b.open[x.Cert.Transmission]
		b.Hub.mu.Unlock()
		return s != nil && (*s.active.Load()).Len() == active && len(*s.all.Load()) == all
	})
}

// feeds waits until exactly those flows are subscribed to x.
func (b *bed) feeds(x *transmission, want ...*speaker) {
	b.t.Helper()
	b.eventually("the flows to be in the list", func() bool {
		b.Hub.mu.Lock()
		s := b.open[x.Cert.Transmission]
		b.Hub.mu.Unlock()
		all := *s.all.Load()
		for _, w := range want {
			if !slices.ContainsFunc(all, func(x target) bool { return x.flow.ID == w.flow }) {
				return false
			}
		}
		return len(all) == len(want)
	})
}

func TestMediaGoesWhereItIsMeantTo(t *testing.T) {
	b := newBed(t, nil)
	here := b.speaker("here", "31/11296/02")
	there := b.speaker("there", "31/11407")
	standby := b.join(identity.Node{ID: "standby", Kind: identity.Client, Zone: "31/11296"}, true)
	standby.open("127.0.0.1")
	standby.bind(false)

	x := b.transmit("31/11296")
	b.Open(x.Transmission)
	b.Open(x.Transmission)
	for _, s := range []*speaker{here, standby} {
		s.wait("the session by control", func() bool {
			m := s.message(func(m control.Message) bool { return m.Session != nil })
			return m != nil && string(m.Session.Cert) == string(x.Raw) && string(m.Session.Issuer) == string(x.Issuer)
		})
	}
	b.fed(x, 1, 2)
	body, raw := x.beacon(t, wire.ObjectSession, 0)
	b.Beacon(body, raw)
	for i := range seq.Index(20) {
		p := x.packet(t, i)
		b.Media(p)
		here.hears(x, p)
	}
	for _, s := range []*speaker{here, standby} {
		s.hearsBeacon(raw)
	}
	standby.settle(false)
	there.settle(true)
	if n := standby.count(0); n != 0 {
		t.Errorf("a standby got %d media packets, want beacons only", n)
	}
	if n := there.count(0) + there.count(wire.Beacon); n != 0 {
		t.Errorf("a loudspeaker of another commune got %d datagrams", n)
	}
	there.mu.Lock()
	if there.message(func(m control.Message) bool { return m.Session != nil }) != nil {
		t.Error("a loudspeaker of another commune was told of the session")
	}
	there.mu.Unlock()
	if got, want := b.metric("packets_sent_total", ""), 20.0; got != want {
		t.Errorf("packets_sent_total = %v, want %v", got, want)
	}
	if got := b.metric("subscribers", ""); got != 3 {
		t.Errorf("subscribers = %v, want 3", got)
	}
}

func TestMediaThatIsNotPassedOn(t *testing.T) {
	b := newBed(t, nil)
	s := b.speaker("s", "31/1")
	x, other := b.transmit("31/1"), b.transmit("31/1")
	b.Open(x.Transmission)
	b.fed(x, 1, 1)
	b.Media(x.packet(t, 500))
	b.Media(x.packet(t, 500))
	b.Media(x.packet(t, 399)) // 4 s and more ago
	b.Media(other.packet(t, 1))
	s.hears(x, x.packet(t, 500))
	s.settle(true)
	if n := s.count(0); n != 1 {
		t.Errorf("%d packets came, want 1", n)
	}
	for reason, want := range map[string]float64{dropDuplicate: 1, dropUnknown: 1, dropStale: 1} {
		if got := b.metric("packets_dropped_total", reason); got != want {
			t.Errorf("dropped as %s: %v, want %v", reason, got, want)
		}
	}
	b.Close(x.Cert.Transmission)
	b.Media(x.packet(t, 601))
	if got := b.metric("packets_dropped_total", dropUnknown); got != 2 {
		t.Errorf("dropped as unknown after Close: %v, want 2", got)
	}
}

func TestLateJoinerHearsAtOnce(t *testing.T) {
	b := newBed(t, nil)
	x := b.transmit("31")
	b.Open(x.Transmission)
	for _, kind := range []wire.ObjectKind{wire.ObjectIssuer, wire.ObjectSession, wire.ObjectAssertion} {
		for range 3 { // only the newest of each counts
			body, raw := x.beacon(t, kind, 10)
			b.Beacon(body, raw)
		}
	}
	b.eventually("the beacons to be kept", func() bool {
		b.Hub.mu.Lock()
		defer b.Hub.mu.Unlock()
		return b.open[x.Cert.Transmission].beacons.newest == x.last
	})
	var want []string
	b.Hub.mu.Lock()
	for _, k := range b.open[x.Cert.Transmission].beacons.inOrder() {
		want = append(want, string(k.body))
	}
	b.Hub.mu.Unlock()

	s := b.join(identity.Node{ID: "late", Kind: identity.Client, Zone: "31/11296"}, false)
	s.open("127.0.0.1")
	began := time.Now()
	s.ping(true)
	s.wait("three beacons", func() bool { return s.counted(wire.Beacon) == 3 })
	if d := time.Since(began); d > 500*time.Millisecond {
		t.Errorf("from the first ping to the beacons: %s", d)
	}
	s.wait("the session by control", func() bool {
		return s.message(func(m control.Message) bool { return m.Session != nil }) != nil
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	var got []string
	for _, h := range s.got {
		if h.kind == wire.Beacon {
			got = append(got, string(h.body))
		}
	}
	if len(want) != 3 || !slices.Equal(got, want) {
		t.Error("the beacons are not the newest of each object, the oldest first")
	}
}

func TestStopIsRepeatedAndFinal(t *testing.T) {
	t.Parallel()
	b := newBed(t, nil)
	s, other := b.speaker("s", "31/1"), b.speaker("other", "31/2")
	x, y := b.transmit("31/1"), b.transmit("31/2")
	b.Open(x.Transmission)
	b.Open(y.Transmission)
	b.fed(x, 1, 1)
	b.fed(y, 1, 1)
	b.Media(x.packet(t, 1))
	raw, order := b.stop(x)
	began := time.Now()
	b.Stop(raw, order, x.Issuer)
	b.Stop(raw, order, x.Issuer) // it comes by many ways
	b.Media(x.packet(t, 2))
	for _, n := range []*speaker{s, other} { // by control to all
		n.wait("the stop by control", func() bool {
			m := n.message(func(m control.Message) bool { return m.Stop != nil })
			return m != nil && string(m.Stop.Order) == string(raw)
		})
	}
	s.wait("ten datagrams", func() bool { return s.counted(wire.Stop) == stopTimes })
	if d := time.Since(began); d < 800*time.Millisecond || d > 1500*time.Millisecond {
		t.Errorf("ten stops took %s, want about a second", d)
	}
	s.mu.Lock()
	for _, h := range s.got {
		if h.kind == wire.Stop && string(h.body) != string(raw) {
			t.Error("a stop was altered")
		}
	}
	s.mu.Unlock()
	b.Media(y.packet(t, 1))
	other.hears(y, y.packet(t, 1))
	s.settle(true)
	if got := s.indices(x); !slices.Equal(got, []seq.Index{1}) {
		t.Errorf("media %v, want nothing after the stop", got)
	}
	if n, m := s.count(wire.Stop), other.count(wire.Stop); n != stopTimes || m != 0 {
		t.Errorf("%d and %d stops, want %d and none", n, m, stopTimes)
	}
	s.send(wire.Nack, wire.NackBody{SSRC: x.Cert.SSRC, Base: 1, Bitmap: 1}.Append(nil))
	s.send(wire.Resume, wire.ResumeBody{SSRC: x.Cert.SSRC, From: 1}.Append(nil))
	s.settle(true)
	if got := s.indices(x); len(got) != 1 {
		t.Errorf("a stopped transmission was repeated: %v", got)
	}
	b.Close(x.Cert.Transmission)
	b.Open(x.Transmission)
	b.Media(x.packet(t, 3))
	s.settle(true)
	if got := s.indices(x); len(got) != 1 {
		t.Errorf("a stopped transmission was opened again: %v", got)
	}
	late := b.join(identity.Node{ID: "late", Kind: identity.Client, Zone: "31/1"}, false)
	late.wait("the stop, though it came before", func() bool {
		return late.message(func(m control.Message) bool { return m.Stop != nil }) != nil
	})
}

func TestStopOfSomethingUnknownGoesToAll(t *testing.T) {
	b := newBed(t, nil)
	s := b.speaker("s", "31/1")
	raw, order := b.stop(b.transmit("31/2"))
	b.Stop(raw, order, b.issuer.Certificate.Raw)
	s.wait("a stop", func() bool { return s.counted(wire.Stop) > 0 })
}

// TestManyAtOnce runs several transmissions while loudspeakers come and go: whoever stays misses nothing.
func TestManyAtOnce(t *testing.T) {
	b := newBed(t, nil)
	const streams, packets = 4, 50
	var xs []*transmission
	var all [streams][]packet.Packet
	for i := range streams {
		x := b.transmit("31")
		xs = append(xs, x)
		for n := range seq.Index(packets) {
			all[i] = append(all[i], x.packet(t, n))
		}
		b.Open(x.Transmission)
	}
	steady := b.speaker("steady", "31/1")
	b.fed(xs[streams-1], 1, 1)
	for _, x := range xs {
		b.fed(x, 1, 1)
	}
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-done:
				return
			default:
			}
			s := b.speaker(fmt.Sprint("passing-", i%3), "31/2")
			s.ping(i%2 == 0)
			s.leave()
		}
	})
	var sending sync.WaitGroup
	for i := range streams {
		sending.Go(func() {
			for _, p := range all[i] {
				b.Media(p)
				body, raw := xs[i].beacon(t, wire.ObjectSession, p.Index)
				b.Beacon(body, raw)
				time.Sleep(5 * time.Millisecond) // the pace of packets, not a wait
			}
		})
	}
	sending.Wait()
	close(done)
	wg.Wait()
	for i, x := range xs {
		steady.hears(x, all[i][packets-1])
		if got := steady.indices(x); len(got) != packets || !slices.IsSorted(got) {
			t.Errorf("transmission %d: %d packets came, want %d in order", i, len(got), packets)
		}
	}
}

func TestTooManyTransmissions(t *testing.T) {
	b := newBed(t, nil)
	x := b.transmit("31").Transmission
	for i := range maxStreams + 1 {
		binary.BigEndian.PutUint32(x.Cert.Transmission[:], uint32(i))
		x.Cert.SSRC = uint32(i)
		b.Open(x)
	}
	if got := b.metric("packets_dropped_total", dropBusy); got != 1 {
		t.Errorf("%v were refused, want 1", got)
	}
}

func TestTwoWithOneSSRC(t *testing.T) {
	b := newBed(t, nil)
	s := b.speaker("s", "31/1")
	low, high := b.transmit("31"), b.transmit("31")
	high.Cert.SSRC, high.Cert.Class = low.Cert.SSRC, signed.ClassEmergency
	b.Open(low.Transmission)
	b.Open(high.Transmission)
	b.fed(high, 1, 1)
	p := high.packet(t, 3)
	b.Media(p)
	s.hears(high, p)
	b.Close(low.Cert.Transmission) // takes nothing from the other
	p = high.packet(t, 4)
	b.Media(p)
	s.hears(high, p)
}
