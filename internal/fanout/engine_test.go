package fanout

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// engines are all engines; each must pass TestEngines. An engine that this machine does not grant skips.
var engines = map[string]func(t testing.TB) Engine{
	"portable": func(t testing.TB) Engine { return NewPortable(newWriter(t)) },
}

// writer is a Writer over two real sockets, as udp.Socket is.
type writer struct {
	v4 *ipv4.PacketConn
	v6 *ipv6.PacketConn // nil: no IPv6 here
}

func newWriter(t testing.TB) *writer {
	t.Helper()
	w := &writer{v4: ipv4.NewPacketConn(listen(t, "udp4", "0.0.0.0:0"))}
	if c, err := net.ListenPacket("udp6", "[::]:0"); err == nil {
		t.Cleanup(func() { _ = c.Close() })
		w.v6 = ipv6.NewPacketConn(c)
	}
	return w
}

func (w *writer) WriteTo(b []byte, remote netip.AddrPort, local netip.Addr) error {
	to := net.UDPAddrFromAddrPort(remote)
	if remote.Addr().Is4() {
		_, err := w.v4.WriteTo(b, &ipv4.ControlMessage{Src: local.AsSlice()}, to)
		return err
	}
	if w.v6 == nil {
		return errors.New("no IPv6")
	}
	_, err := w.v6.WriteTo(b, &ipv6.ControlMessage{Src: local.AsSlice()}, to)
	return err
}

func (w *writer) Room(netip.AddrPort, time.Time) {} // these sockets wait by themselves

func listen(t testing.TB, network, addr string) net.PacketConn {
	t.Helper()
	c, err := net.ListenPacket(network, addr)
	if err != nil {
		t.Skipf("this machine has no %s %s: %v", network, addr, err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// subscriber is a real socket.
type subscriber struct {
	net.PacketConn
	d Destination
}

func subscribe(t testing.TB, addr, local string) subscriber {
	t.Helper()
	network := "udp4"
	if netip.MustParseAddr(addr).Is6() {
		network = "udp6"
	}
	c := listen(t, network, net.JoinHostPort(addr, "0"))
	return subscriber{c, Destination{Remote: c.LocalAddr().(*net.UDPAddr).AddrPort(), Local: netip.MustParseAddr(local)}}
}

// got returns the next datagram and who sent it; ok is false when there is none.
func (s subscriber) got(t testing.TB) (b []byte, from netip.Addr, ok bool) {
	t.Helper()
	// What was sent over loopback is there when the sender's call returns.
	if err := s.SetReadDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	b = make([]byte, 2000)
	n, a, err := s.ReadFrom(b)
	if err != nil {
		return nil, netip.Addr{}, false
	}
	return b[:n], a.(*net.UDPAddr).AddrPort().Addr().Unmap(), true
}

func TestEngines(t *testing.T) {
	for name, open := range engines {
		t.Run(name, func(t *testing.T) {
			if e := open(t); e.Name() != name {
				t.Errorf("Name() = %q, want %q", e.Name(), name)
			}
			t.Run("each gets its copy", func(t *testing.T) { eachGetsItsCopy(t, open(t)) })
			t.Run("from the address that was pinged", func(t *testing.T) { fromThePinged(t, open(t)) })
			t.Run("both families", func(t *testing.T) { bothFamilies(t, open(t)) })
			t.Run("nobody", func(t *testing.T) {
				if l := open(t).Prepare(nil); l.Len() != 0 || l.Send([]byte("x")) != (Result{}) {
					t.Error("something was sent to nobody")
				}
			})
			t.Run("dead subscribers disturb no others", func(t *testing.T) { deadDisturbNone(t, open(t)) })
			t.Run("a list never changes", func(t *testing.T) { listNeverChanges(t, open(t)) })
		})
	}
}

func eachGetsItsCopy(t *testing.T, e Engine) {
	var subs []subscriber
	var to []Destination
	for range 50 {
		s := subscribe(t, "127.0.0.1", "127.0.0.1")
		subs, to = append(subs, s), append(to, s.d)
	}
	l := e.Prepare(to)
	if l.Len() != len(subs) {
		t.Fatalf("Len() = %d, want %d", l.Len(), len(subs))
	}
	for _, size := range []int{1, 63, 64, 65, 230, 548} {
		packet := bytes.Repeat([]byte{byte(size)}, size)
		if r := l.Send(packet); r != (Result{Sent: len(subs)}) {
			t.Errorf("%d bytes: %+v, want all sent", size, r)
		}
		for i, s := range subs {
			if b, _, ok := s.got(t); !ok || !bytes.Equal(b, packet) {
				t.Errorf("subscriber %d got %d bytes, %v, want %d", i, len(b), ok, size)
			}
		}
	}
	for i, s := range subs {
		if b, _, ok := s.got(t); ok {
			t.Errorf("subscriber %d got %d bytes more", i, len(b))
			break
		}
		if i == 2 {
			break // each look takes its time
		}
	}
}

func fromThePinged(t *testing.T, e Engine) {
	var subs []subscriber
	var to []Destination
	for i := range 5 {
		s := subscribe(t, "127.0.0.1", fmt.Sprintf("127.0.0.%d", i+2))
		subs, to = append(subs, s), append(to, s.d)
	}
	l := e.Prepare(to)
	for range 3 {
		l.Send([]byte("x"))
		for _, s := range subs {
			if _, from, ok := s.got(t); !ok || from != s.d.Local {
				t.Errorf("came from %v, %v, want %v", from, ok, s.d.Local)
			}
		}
	}
	chosen := e.Prepare([]Destination{{Remote: subs[0].d.Remote}})
	if r := chosen.Send([]byte("y")); r.Sent != 1 {
		t.Errorf("without a local address: %+v, want it sent", r)
	}
	if b, _, ok := subs[0].got(t); !ok || string(b) != "y" {
		t.Errorf("without a local address: got %q, %v", b, ok)
	}
}

func bothFamilies(t *testing.T, e Engine) {
	four, six := subscribe(t, "127.0.0.1", "127.0.0.1"), subscribe(t, "::1", "::1")
	l := e.Prepare([]Destination{four.d, six.d})
	if r := l.Send([]byte("x")); r.Sent != 2 {
		t.Errorf("%+v, want both sent", r)
	}
	for _, s := range []subscriber{four, six} {
		if _, from, ok := s.got(t); !ok || from != s.d.Local {
			t.Errorf("%v: came from %v, %v", s.d.Remote, from, ok)
		}
	}
}

func deadDisturbNone(t *testing.T, e Engine) {
	closed := subscribe(t, "127.0.0.1", "127.0.0.1")
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}
	refused := Destination{Remote: netip.MustParseAddrPort("127.0.0.1:9"), Local: netip.MustParseAddr("203.0.113.77")} // not ours
	var to []Destination
	var subs []subscriber
	for range 20 {
		s := subscribe(t, "127.0.0.1", "127.0.0.1")
		subs = append(subs, s)
		to = append(to, refused, closed.d, s.d)
	}
	l := e.Prepare(to)
	for range 5 {
		r := l.Send([]byte("x"))
		if r.Sent+r.Failed+r.Late != len(to) || r.Failed != len(subs) {
			t.Errorf("%+v, want %d failed and %d in all", r, len(subs), len(to))
		}
		for i, s := range subs {
			if _, _, ok := s.got(t); !ok {
				t.Errorf("subscriber %d got nothing", i)
			}
		}
	}
}

func listNeverChanges(t *testing.T, e Engine) {
	a, b := subscribe(t, "127.0.0.1", "127.0.0.1"), subscribe(t, "127.0.0.1", "127.0.0.1")
	to := []Destination{a.d}
	l := e.Prepare(to)
	to[0] = b.d
	e.Prepare(to).Send([]byte("new"))
	l.Send([]byte("old"))
	if x, _, _ := a.got(t); string(x) != "old" {
		t.Errorf("the old list's subscriber got %q", x)
	}
	if x, _, _ := b.got(t); string(x) != "new" {
		t.Errorf("the new list's subscriber got %q", x)
	}
}

// full is a socket whose buffer has room for some datagrams and then for none, which loopback never shows. A wait brings
// room for more, or takes its whole time.
type full struct {
	room, more int
	waits      int
	waited     time.Duration
}

func (f *full) Room(_ netip.AddrPort, t time.Time) {
	f.waits++
	if f.room = f.more; f.more == 0 {
		f.waited += time.Until(t)
		<-time.After(time.Until(t))
	}
}

func (f *full) WriteTo([]byte, netip.AddrPort, netip.Addr) error {
	if f.room == 0 {
		return syscall.EAGAIN
	}
	f.room--
	return nil
}

func TestPortableDropsTheRestWhenThereIsNoRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &full{room: 7}
		l := NewPortable(f).Prepare(make([]Destination, 20))
		if r := l.Send([]byte("x")); r != (Result{Sent: 7, Late: 13}) {
			t.Errorf("%+v, want 7 sent and 13 late", r)
		}
		if f.waited != Patience {
			t.Errorf("waited %s for room, want %s", f.waited, Patience)
		}
	})
}

func TestPortableWaitsForRoom(t *testing.T) {
	f := &full{room: 7, more: 5}
	l := NewPortable(f).Prepare(make([]Destination, 20))
	if r := l.Send([]byte("x")); r != (Result{Sent: 20}) || f.waits != 3 {
		t.Errorf("%+v after %d waits, want all sent after 3", r, f.waits)
	}
}

// order notes who is served when.
type order struct{ ports []uint16 }

func (o *order) Room(netip.AddrPort, time.Time) {}

func (o *order) WriteTo(_ []byte, remote netip.AddrPort, _ netip.Addr) error {
	o.ports = append(o.ports, remote.Port())
	return nil
}

func TestPortableTurns(t *testing.T) {
	to := make([]Destination, 4)
	for i := range to {
		to[i].Remote = netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(i+1))
	}
	o := &order{}
	l := NewPortable(o).Prepare(to)
	seen := map[uint16]int{}
	for range 8 {
		o.ports = nil
		l.Send([]byte("x"))
		seen[o.ports[0]]++
	}
	if len(seen) != 4 {
		t.Errorf("first served, by port: %v, want all four in turn", seen)
	}
}

func TestPortableAllocatesNothing(t *testing.T) {
	l := NewPortable(&full{room: 1 << 40}).Prepare(make([]Destination, 100))
	p := make([]byte, 230)
	if n := testing.AllocsPerRun(100, func() { l.Send(p) }); n != 0 {
		t.Errorf("%v allocations a packet", n)
	}
}
