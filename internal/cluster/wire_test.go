package cluster

import (
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"dongthanh/internal/identity"
	"dongthanh/internal/mediaclock"
	"dongthanh/internal/packet"
	"dongthanh/internal/seq"
	"dongthanh/internal/wire"
)

func TestPongTellsNetworkTime(t *testing.T) {
	const ahead = 42 * time.Hour // network time is not the wall clock
	synced := true
	b := newBed(t, func(o *Options) {
		o.Clock = func() (mediaclock.Instant, uint32, bool) { return mediaclock.At(time.Now().Add(ahead)), 777, synced }
	})
	s := b.speaker("s", "31/1")
	t0 := mediaclock.At(time.Now().Add(ahead))
	s.forget()
	s.send(wire.Ping, wire.PingBody{T1: -5, Active: true}.Append(nil))
	s.wait("a pong", func() bool { return s.counted(wire.Pong) == 1 })
	t3 := mediaclock.At(time.Now().Add(ahead))
	p, err := wire.ParsePong(s.got[0].body)
	if err != nil {
		t.Fatal(err)
	}
	if p.T1 != -5 || p.T2 < t0 || p.T3 < p.T2 || p.T3 > t3 || !p.Synced || !p.Bound || p.ErrorNS != 777 ||
		p.Observed != s.udp.LocalAddr().(*net.UDPAddr).AddrPort() {
		t.Errorf("pong %+v, between %d and %d", p, t0, t3)
	}
	if d := p.T3.Sub(p.T2); d > 20*time.Millisecond {
		t.Errorf("%s between a ping and its pong", d)
	}
}

func TestAnswersComeFromThePingedAddress(t *testing.T) {
	b := newBed(t, func(o *Options) { o.Config.Media = "0.0.0.0:0" })
	x := b.transmit("31")
	b.Open(x.Transmission)
	// A connected socket, like a NAT, takes nothing from another address.
	for i, host := range []string{"127.0.0.1", "127.0.0.5", "127.7.7.7"} {
		s := b.join(identity.Node{ID: fmt.Sprint("s", i), Kind: identity.Client, Zone: "31/1"}, false)
		s.open(host)
		s.bind(true)
		b.fed(x, i+1, i+1)
		p := x.packet(t, seq.Index(i))
		b.Media(p)
		s.hears(x, p)
	}
}

func TestAnotherSourcePort(t *testing.T) {
	t.Parallel()
	b := newBed(t, nil)
	s := b.speaker("s", "31/1")
	x := b.transmit("31")
	b.Open(x.Transmission)
	b.fed(x, 1, 1)
	s.open("127.0.0.1") // the NAT forgot us
	here := s.udp.LocalAddr().(*net.UDPAddr).AddrPort()
	b.eventually("the flow to be bound to the new port", func() bool { // a second after the first binding it may move
		s.ping(true)
		return s.within(100*time.Millisecond, func() bool {
			return slices.ContainsFunc(s.got, func(h heard) bool {
				p, err := wire.ParsePong(h.body)
				return h.kind == wire.Pong && err == nil && p.Bound && p.Observed == here
			})
		})
	})
	p := x.packet(t, 1)
	b.eventually("media at the new port", func() bool {
		b.Media(p)
		p = x.packet(t, p.Index+1)
		return s.within(20*time.Millisecond, func() bool { return s.counted(0) > 0 })
	})
	if got := b.metric("subscribers", ""); got != 1 {
		t.Errorf("subscribers = %v, want 1", got)
	}
}

// TestSpoofedAddressGetsNoMedia plays a victim whose address someone who holds a node's key (or replays what it sent)
// puts into datagrams: it must not get more bytes than were sent in its name.
func TestSpoofedAddressGetsNoMedia(t *testing.T) {
	b := newBed(t, nil)
	x := b.transmit("31")
	b.Open(x.Transmission)
	s := b.join(identity.Node{ID: "s", Kind: identity.Client, Zone: "31/1"}, false)
	s.open("127.0.0.1")
	s.silent = true // it does not have the address, so it sees no challenge
	sentBytes := 0
	count := func(n int) { sentBytes += n }
	for i := range 20 {
		s.ping(true)
		count(wire.PingLen)
		s.send(wire.Nack, wire.NackBody{SSRC: x.Cert.SSRC, Bitmap: ^uint64(0)}.Append(nil))
		count(wire.Overhead + 19)
		s.send(wire.Resume, wire.ResumeBody{SSRC: x.Cert.SSRC}.Append(nil))
		count(wire.Overhead + 10)
		s.send(wire.Challenge, make([]byte, 16))
		count(wire.Overhead + 16)
		b.Media(x.packet(t, seq.Index(i)))
		body, raw := x.beacon(t, wire.ObjectSession, 1)
		b.Beacon(body, raw)
	}
	s.settle(true)
	count(wire.PingLen)
	s.mu.Lock()
	defer s.mu.Unlock()
	got := 0
	for _, h := range s.got {
		got += len(h.body) + wire.Overhead
		if h.kind != wire.Pong && h.kind != wire.Challenge {
			t.Errorf("an address that is not proved got a datagram of type %d", h.kind)
		}
	}
	if got > sentBytes {
		t.Errorf("%d bytes for %d", got, sentBytes)
	}
	if b.metric("subscribers", "") != 0 {
		t.Error("it counts as a subscriber")
	}
}

// TestStrangersGetNothing throws rubbish at the port. Nothing is answered, nothing is logged, everything is counted.
func TestStrangersGetNothing(t *testing.T) {
	b := newBed(t, nil)
	s := b.speaker("s", "31/1")
	b.eventually("the line that says it joined", func() bool { return strings.Contains(b.log.String(), "downstream joined") })
	lines := strings.Count(b.log.String(), "\n")
	c, err := net.Dial("udp", b.MediaAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	rng := rand.New(rand.NewPCG(3, 4))
	random := func(n int) []byte {
		r := make([]byte, n)
		for i := range r {
			r[i] = byte(rng.Uint32())
		}
		return r
	}
	real := s.up.Append(nil, wire.Header{Type: wire.Ping, Flow: s.flow, Counter: wire.MakeCounter(9, 1)}, make([]byte, 9))
	n := 0
	for i := range 600 {
		var d []byte
		switch i % 6 {
		case 0:
			d = random(rng.IntN(1400))
		case 1: // a header of ours with any flow
			d = append([]byte{wire.Magic, 0x10 | byte(i%16)}, random(198)...)
		case 2: // the real flow with a wrong tag
			d = slices.Clone(real)
			d[len(d)-1-i%8] ^= 1 << (i % 7)
		case 3: // RTP
			d = append([]byte{0x90, packet.PayloadType}, random(200)...)
		case 4: // empty
		case 5: // the whole range of sizes
			d = random(1 + i)
		}
		if _, err := c.Write(d); err != nil {
			t.Fatal(err)
		}
		n++
		if i%50 == 0 {
			s.settle(true) // so that the socket's buffer does not overflow
		}
	}
	s.settle(true)
	if err := c.SetReadDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if n, err := c.Read(make([]byte, 2000)); err == nil {
		t.Errorf("a stranger was answered with %d bytes", n)
	}
	dropped := b.metric("packets_dropped_total", "malformed") + b.metric("packets_dropped_total", "stranger") +
		b.metric("packets_dropped_total", "tag")
	if dropped != float64(n) {
		t.Errorf("%v datagrams counted as dropped, want %d", dropped, n)
	}
	if more := strings.Count(b.log.String(), "\n") - lines; more != 0 {
		t.Errorf("%d lines in the log", more)
	}
}

// TestDeadSubscribersDisturbNobody has half of the subscribers vanish without a word and one read nothing at all.
func TestDeadSubscribersDisturbNobody(t *testing.T) {
	b := newBed(t, nil)
	x := b.transmit("31")
	b.Open(x.Transmission)
	var alive []*speaker
	for i := range 6 {
		s := b.speaker(fmt.Sprint("s", i), "31/1")
		if i%2 == 0 {
			alive = append(alive, s)
		} else {
			_ = s.udp.Close() // the port is closed; its control connection stands
		}
	}
	slow := b.join(identity.Node{ID: "slow", Kind: identity.Client, Zone: "31/1"}, false)
	slow.open("127.0.0.1")
	slow.bind(true)
	_ = slow.udp.SetReadDeadline(time.Unix(1, 0)) // it reads no more, and its buffer fills
	b.fed(x, 7, 7)
	var worst time.Duration
	const packets = 200
	for i := range seq.Index(packets) {
		p := x.packet(t, i)
		began := time.Now()
		b.Media(p)
		worst = max(worst, time.Since(began))
		if i%20 == 0 {
			alive[0].hears(x, p)
		}
	}
	for _, s := range alive {
		s.hears(x, x.packet(t, packets-1))
		if got := len(s.indices(x)); got != packets {
			t.Errorf("%s got %d packets, want %d", s.node.ID, got, packets)
		}
	}
	if worst > time.Second { // the machine is busy too; a wait for the slow one would have no end
		t.Errorf("a packet took %s to send", worst)
	}
}

// TestMediaNeedsNoLockOfControl holds the lock of everything that control code does while media flows.
func TestMediaNeedsNoLockOfControl(t *testing.T) {
	b := newBed(t, nil)
	s := b.speaker("s", "31/1")
	x := b.transmit("31")
	b.Open(x.Transmission)
	b.fed(x, 1, 1)
	body, raw := x.beacon(t, wire.ObjectSession, 1)
	var packets []packet.Packet
	for i := range seq.Index(20) {
		packets = append(packets, x.packet(t, i))
	}
	b.Hub.mu.Lock()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for _, p := range packets {
			b.Media(p)
			b.Beacon(body, raw)
		}
		b.Received(20)
		b.Dropped("forged")
	}()
	select {
	case <-done:
		b.Hub.mu.Unlock()
	case <-time.After(patience):
		b.Hub.mu.Unlock()
		t.Fatal("media waits for control")
	}
	for _, p := range packets {
		s.hears(x, p)
	}
	if b.metric("packets_received_total", "") != 20 || b.metric("packets_dropped_total", "forged") != 1 {
		t.Error("the node's own counts are not kept")
	}
}

// FuzzDatagram gives whatever bytes to a running node. It never panics, and only what carries a flow's tag is answered.
func FuzzDatagram(f *testing.F) {
	b := newBed(f, nil)
	s := b.speaker("s", "31/1")
	x := b.transmit("31")
	b.Open(x.Transmission)
	b.Media(x.packet(f, 1))
	sink, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		f.Fatal(err)
	}
	defer sink.Close()
	path := localPath(sink.LocalAddr().(*net.UDPAddr).AddrPort())
	socket := b.socket.Load()
	r := reader{hub: b.Hub}
	for _, seed := range [][]byte{
		nil, {wire.Magic}, x.packet(f, 2).Raw, make([]byte, 1000),
		s.up.Append(nil, wire.Header{Type: wire.Ping, Flow: s.flow, Counter: 1 << 50}, wire.PingBody{}.Append(nil)),
		s.up.Append(nil, wire.Header{Type: wire.Nack, Flow: s.flow, Counter: 1 << 51}, wire.NackBody{SSRC: x.Cert.SSRC, Bitmap: 3}.Append(nil)),
		s.up.Append(nil, wire.Header{Type: wire.Resume, Flow: s.flow, Counter: 1 << 52}, wire.ResumeBody{SSRC: x.Cert.SSRC}.Append(nil)),
		s.up.Append(nil, wire.Header{Type: wire.Challenge, Flow: s.flow, Counter: 1 << 53}, make([]byte, 16)),
	} {
		f.Add(seed)
	}
	got := make([]byte, 2000)
	f.Fuzz(func(t *testing.T, d []byte) {
		w, err := wire.Parse(d)
		authentic := err == nil && w.Flow == s.flow && w.Verify(s.up) == nil
		r.datagram(d, path, r.now())
		if err := socket.Write([]byte("mark"), path); err != nil {
			t.Fatal(err)
		}
		answered := 0
		for {
			n, err := sink.Read(got)
			if err != nil {
				t.Fatal(err)
			}
			if string(got[:n]) == "mark" {
				break
			}
			answered += n
		}
		if answered > len(d) || (answered > 0 && !authentic) {
			t.Errorf("%d bytes answered for %x", answered, d)
		}
	})
}
