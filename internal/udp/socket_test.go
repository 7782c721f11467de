package udp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func listenTest(t testing.TB, addr string) *Socket {
	t.Helper()
	s, err := Listen(context.Background(), addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func dialTest(t testing.TB, network, addr string) *net.UDPConn {
	t.Helper()
	c, err := net.Dial(network, addr)
	if err != nil {
		t.Skipf("this machine has no %s: %v", network, err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return c.(*net.UDPConn)
}

// TestAnswersFromThePingedAddress pings one port at several of the machine's addresses. A connected socket, like a NAT,
// takes the answer only if it comes from the address that was pinged.
func TestAnswersFromThePingedAddress(t *testing.T) {
	s := listenTest(t, ":0")
	port := s.Addr().Port()
	families := s.Families()
	for _, addr := range []string{"127.0.0.1", "127.0.0.2", "127.9.8.7", "::1"} {
		t.Run(addr, func(t *testing.T) {
			ip := netip.MustParseAddr(addr)
			if ip.Is6() && families == 1 {
				t.Skip("this machine has no IPv6")
			}
			c := dialTest(t, "udp", net.JoinHostPort(addr, fmt.Sprint(port)))
			if _, err := c.Write([]byte("ping")); err != nil {
				t.Fatal(err)
			}
			family := 0
			if ip.Is6() {
				family = 1
			}
			b := make([]byte, 100)
			n, p, err := s.Read(family, b)
			if err != nil || string(b[:n]) != "ping" {
				t.Fatalf("Read() = %q, %v", b[:n], err)
			}
			if p.Local != ip || p.Remote != c.LocalAddr().(*net.UDPAddr).AddrPort() {
				t.Errorf("came by %v, want from %v to %v", p, c.LocalAddr(), ip)
			}
			if err := s.Write([]byte("pong"), p); err != nil {
				t.Fatal(err)
			}
			if n, err := c.Read(b); err != nil || string(b[:n]) != "pong" {
				t.Errorf("answer %q, %v", b[:n], err)
			}
		})
	}
}

func TestOneFamilyAndAPortInUse(t *testing.T) {
	s := listenTest(t, "127.0.0.1:0")
	if s.Families() != 1 {
		t.Errorf("%d families on an IPv4 address, want 1", s.Families())
	}
	if err := s.Write([]byte("x"), Path{Remote: netip.MustParseAddrPort("[::1]:9")}); err == nil {
		t.Error("wrote to an address of a family that is not open")
	}
	if other, err := Listen(context.Background(), s.Addr().String()); err == nil {
		_ = other.Close()
		t.Error("listened on a port in use")
	}
	if _, err := Listen(context.Background(), "nonsense"); err == nil {
		t.Error("listened on nonsense")
	}
}

func TestLongDatagramFillsTheBuffer(t *testing.T) {
	s := listenTest(t, "127.0.0.1:0")
	c := dialTest(t, "udp4", s.Addr().String())
	if _, err := c.Write(make([]byte, 60_000)); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 1096)
	if n, _, err := s.Read(0, b); err != nil || n != len(b) {
		t.Errorf("Read() = %d, %v, want the buffer filled", n, err)
	}
}

func TestCloseFreesTheReader(t *testing.T) {
	s := listenTest(t, "127.0.0.1:0")
	ended := make(chan error)
	go func() {
		_, _, err := s.Read(0, make([]byte, 10))
		ended <- err
	}()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Read() = %v, want net.ErrClosed", err)
	}
}

func TestRoomEnds(t *testing.T) {
	s := listenTest(t, "127.0.0.1:0")
	began := time.Now()
	s.Room(s.Addr(), began.Add(5*time.Second)) // there is room
	s.Room(netip.MustParseAddrPort("[::1]:1"), began.Add(5*time.Second))
	if d := time.Since(began); d > time.Second {
		t.Errorf("waited %s for room that was there", d)
	}
	s.Room(s.Addr(), began.Add(-time.Second)) // a moment that has passed
	if err := s.WriteTo([]byte("x"), s.Addr(), netip.Addr{}); err != nil {
		t.Errorf("WriteTo() after a wait that ended = %v", err)
	}
	if err := s.Write([]byte("x"), Path{Remote: s.Addr()}); err != nil {
		t.Errorf("Write() = %v", err)
	}
}

func TestSocketAllocatesNothing(t *testing.T) {
	s := listenTest(t, "127.0.0.1:0")
	p := Path{Remote: s.Addr(), Local: netip.MustParseAddr("127.0.0.1")}
	b := make([]byte, 200)
	if n := testing.AllocsPerRun(200, func() {
		if err := s.Write(b, p); err != nil {
			t.Fatal(err)
		}
		if _, _, err := s.Read(0, b); err != nil {
			t.Fatal(err)
		}
		if err := s.WriteTo(b, p.Remote, p.Local); err != nil {
			t.Fatal(err)
		}
		if _, _, err := s.Read(0, b); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations for two writes and two reads", n)
	}
}

func BenchmarkWrite(b *testing.B) {
	s := listenTest(b, "127.0.0.1:0")
	sink := listenTest(b, "127.0.0.1:0")
	p := Path{Remote: sink.Addr(), Local: netip.MustParseAddr("127.0.0.1")}
	buf := make([]byte, 230)
	for b.Loop() {
		if err := s.Write(buf, p); err != nil {
			b.Fatal(err)
		}
	}
}
