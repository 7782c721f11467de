package cluster

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"testing"

	"dongthanh/internal/identity"
	"dongthanh/internal/seq"
	"dongthanh/internal/udp"
	"dongthanh/internal/wire"
	"dongthanh/internal/zone"
)

func fanOut(t testing.TB, subscribers int) (*bed, *transmission) {
	b := newBed(t, nil)
	x := b.transmit("31")
	b.Open(x.Transmission)
	sink, err := net.ListenPacket("udp4", "127.0.0.1:0") // its buffer overflows, which costs the sender nothing
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sink.Close() })
	to := sink.LocalAddr().(*net.UDPAddr).AddrPort()
	// Flows as control and three-way binding make them, without the TLS that would be most of the time.
	b.Hub.mu.Lock()
	for i := range subscribers {
		d := &downstream{node: identity.Node{ID: fmt.Sprint("n", i)}, streams: map[*stream]bool{}, zones: []zone.Zone{"31/1"}}
		var key [wire.KeyLen]byte
		var id wire.FlowID
		binary.BigEndian.PutUint64(id[:], uint64(i+1))
		d.flow, err = b.flows.Add(b.clock.Now(), id, key, true, d)
		if err != nil {
			t.Fatal(err)
		}
		up := wire.NewKey(key, wire.Up)
		say := func(c uint64, kind wire.Type, body []byte) []byte {
			return up.Append(nil, wire.Header{Type: kind, Flow: id, Counter: wire.Counter(c)}, body)
		}
		path := localPath(to)
		e, _ := b.flows.Receive(b.clock.Now(), path, say(1, wire.Ping, wire.PingBody{Active: true}.Append(nil)))
		if e, drop := b.flows.Receive(b.clock.Now(), path, say(2, wire.Challenge, e.Cookie[:])); drop != "" || !e.Bound {
			t.Fatal(drop)
		}
		b.orphans[d] = struct{}{}
		b.subscribe(d, b.open[x.Cert.Transmission])
	}
	b.Hub.mu.Unlock()
	b.fed(x, subscribers, subscribers)
	return b, x
}

func TestMediaAllocatesNothing(t *testing.T) {
	b, x := fanOut(t, 50)
	p := x.packet(t, 0)
	i := uint64(0)
	if n := testing.AllocsPerRun(200, func() {
		i++
		p.Index = seq.Index(i)
		b.Media(p)
	}); n != 0 {
		t.Errorf("%v allocations a packet", n)
	}
	if got := b.metric("packets_sent_total", ""); got != 201*50 {
		t.Errorf("packets_sent_total = %v, want %d", got, 201*50)
	}
}

func BenchmarkMedia(b *testing.B) {
	for _, n := range []int{1, 100, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			hub, x := fanOut(b, n)
			p := x.packet(b, 0)
			b.ReportAllocs()
			i := uint64(0)
			for b.Loop() {
				i++
				p.Index = seq.Index(i)
				hub.Media(p)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/copy")
		})
	}
}

func BenchmarkBeacon(b *testing.B) {
	hub, x := fanOut(b, 1000)
	s := hub.open[x.Cert.Transmission]
	body, buf := make([]byte, wire.MaxBody), make([]byte, wire.MaxLen)
	for b.Loop() {
		hub.broadcast(*s.all.Load(), wire.Beacon, body, buf)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1000, "ns/copy")
}

func localPath(to netip.AddrPort) udp.Path { return udp.Path{Remote: to, Local: to.Addr()} }
