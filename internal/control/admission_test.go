package control

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"dongthanh/internal/identity"
)

func TestAdmission(t *testing.T) {
	at := time.Unix(1000, 0)
	v4 := func(n int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, byte(n >> 8), byte(n)}) }
	t.Run("connections of one address", func(t *testing.T) {
		a := newAdmission(2)
		for range maxOpen {
			if err := a.open(at, v4(1)); err != nil {
				t.Fatal(err)
			}
		}
		if err := a.open(at, v4(1)); !errors.Is(err, errTooMany) {
			t.Errorf("one more = %v, want errTooMany", err)
		}
		if err := a.open(at, netip.MustParseAddr("::ffff:10.0.0.1")); !errors.Is(err, errTooMany) {
			t.Errorf("the same address, mapped = %v, want errTooMany", err)
		}
		if err := a.open(at, v4(2)); err != nil {
			t.Errorf("another address = %v", err)
		}
		a.release(at, v4(1))
		if err := a.open(at, v4(1)); err != nil {
			t.Errorf("after one has gone = %v", err)
		}
	})
	t.Run("a block of IPv6 is one", func(t *testing.T) {
		a := newAdmission(2)
		for i := range maxOpen {
			if err := a.open(at, netip.MustParseAddr(fmt.Sprintf("2001:db8::%x", i+1))); err != nil {
				t.Fatal(err)
			}
		}
		if err := a.open(at, netip.MustParseAddr("2001:db8::ffff:0:1")); !errors.Is(err, errTooMany) {
			t.Errorf("one more of the /64 = %v, want errTooMany", err)
		}
		if err := a.open(at, netip.MustParseAddr("2001:db8:0:1::1")); err != nil {
			t.Errorf("the next /64 = %v", err)
		}
	})
	t.Run("failures of one address", func(t *testing.T) {
		a := newAdmission(2)
		for range failDepth {
			a.failed(at, v4(1))
		}
		if err := a.open(at, v4(1)); !errors.Is(err, errFailing) {
			t.Errorf("open() = %v, want errFailing", err)
		}
		if err := a.open(at, v4(2)); err != nil {
			t.Errorf("another address = %v", err)
		}
		for range 1000 { // more failures owe no more
			a.failed(at, v4(1))
		}
		if err := a.open(at.Add(1100*time.Millisecond), v4(1)); err != nil {
			t.Errorf("a second later = %v", err)
		}
	})
	t.Run("handshakes of all", func(t *testing.T) {
		a := newAdmission(2)
		n := 0
		for ; a.open(at, v4(n)) == nil; n++ {
			a.release(at, v4(n))
		}
		if want := int(handshakeRate); n != want { // half a second's worth of 2 processors
			t.Errorf("%d at once, want %d", n, want)
		}
		if err := a.open(at, v4(0)); !errors.Is(err, errBusy) {
			t.Errorf("one more = %v, want errBusy", err)
		}
		// A fleet that comes back is let in at the rate, no slower.
		in := 0
		for ms := range 2000 {
			for range 5 {
				if now := at.Add(time.Duration(ms) * time.Millisecond); a.open(now, v4(n)) == nil {
					a.release(now, v4(n))
					in, n = in+1, n+1
				}
			}
		}
		if want := int(2 * 2 * handshakeRate); in < want*98/100 || in > want {
			t.Errorf("%d in two seconds, want %d", in, want)
		}
	})
	t.Run("pending of all", func(t *testing.T) {
		a := newAdmission(1000)
		for i := range maxPending {
			if err := a.open(at, v4(i)); err != nil {
				t.Fatal(err)
			}
		}
		if err := a.open(at, v4(maxPending)); !errors.Is(err, errBusy) {
			t.Errorf("one more = %v, want errBusy", err)
		}
	})
	t.Run("enrolments", func(t *testing.T) {
		a := newAdmission(2)
		for range enrolDepth {
			if !a.mayEnrol(at, v4(1)) {
				t.Fatal("refused too early")
			}
			a.enrolFailed(at, v4(1))
		}
		if a.mayEnrol(at, v4(1)) || !a.mayEnrol(at, v4(2)) {
			t.Error("the limit does not hold, or holds for another")
		}
		if a.mayEnrol(at.Add(2*time.Minute), v4(1)) || !a.mayEnrol(at.Add(3*time.Minute+time.Second), v4(1)) {
			t.Error("the next is not after three minutes")
		}
	})
	t.Run("memory", func(t *testing.T) {
		a := newAdmission(1000)
		if err := a.open(at, v4(65535)); err != nil {
			t.Fatal(err)
		}
		a.failed(at, v4(65534))
		for i := range 3 * maxHosts {
			a.failed(at.Add(time.Duration(i)*time.Microsecond), v4(i))
		}
		if len(a.hosts) > maxHosts {
			t.Errorf("%d addresses are remembered, want at most %d", len(a.hosts), maxHosts)
		}
		a.release(at, v4(65535)) // what is open is never forgotten
		if h := a.hosts[v4(65535)]; h == nil || h.open != 0 || a.pending != 0 {
			t.Errorf("the open one was forgotten: %+v, %d pending", h, a.pending)
		}
	})
}

// TestTooManyStrangers: real sockets of one address that never say who they are; who is known does not count.
func TestTooManyStrangers(t *testing.T) {
	n := newNetwork(t)
	p := listen(t, n.node(t, identity.Relay, "relay-1"), nil)
	var known []*Conn
	for i := range 3 {
		known = append(known, must(Dial(t.Context(), p.url, n.node(t, identity.Client, fmt.Sprint("client-", i))))(t))
		next(t, "a connection", p.conns)
	}
	for range maxOpen {
		c := must(net.Dial("tcp", p.Addr().String()))(t)
		defer c.Close()
	}
	eventually(t, "all strangers", func() bool { p.mu.Lock(); defer p.mu.Unlock(); return p.admission.pending == maxOpen })
	began := time.Now()
	c, err := net.Dial("tcp", p.Addr().String()) // the reset may come before it returns
	if err == nil {
		defer c.Close()
		_, err = c.Read(make([]byte, 1))
	}
	if err == nil || time.Since(began) > handshakeWithin/2 {
		t.Errorf("one more gets %v after %s, want a reset at once", err, time.Since(began))
	}
	if _, err := Dial(t.Context(), p.url, n.node(t, identity.Client, "client-9")); !errors.Is(err, ErrUnreachable) {
		t.Errorf("Dial() = %v, want ErrUnreachable", err)
	}
	if got := p.count("control_refused_total", "admission"); got != 2 {
		t.Errorf("control_refused_total{admission} = %v, want 2", got)
	}
	for _, c := range known {
		if err := c.Send(Message{Resync: &Resync{}}); err != nil {
			t.Error(err)
		}
		c.Close(nil)
	}
}
