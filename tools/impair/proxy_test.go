package main

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// echo answers every datagram with itself until the test ends.
func echo(t *testing.T) *net.UDPConn {
	t.Helper()
	conn := bind(t)
	var wg sync.WaitGroup
	wg.Go(func() {
		buffer := make([]byte, 65536)
		for {
			n, from, err := conn.ReadFromUDPAddrPort(buffer)
			if err != nil {
				return
			}
			_, _ = conn.WriteToUDPAddrPort(buffer[:n], from)
		}
	})
	t.Cleanup(func() { conn.Close(); wg.Wait() })
	return conn
}

func bind(t *testing.T) *net.UDPConn {
	t.Helper()
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// printed is a line of counts.
type printed struct {
	Up, Down counts
	Clients  int
}

// lines reads what the proxy prints.
func lines(t *testing.T, out io.Reader) (all []printed) {
	t.Helper()
	d := json.NewDecoder(out)
	for {
		var p printed
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

// begin runs a proxy to the upstream; end stops it and returns its last line.
func begin(t *testing.T, to net.Addr, flags string) (p *proxy, end func() printed) {
	t.Helper()
	s, err := parse(append([]string{"--listen", "127.0.0.1:0", "--to", to.String()}, strings.Fields(flags)...))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	if p, err = open(ctx, s); err != nil {
		t.Fatal(err)
	}
	var out, errs strings.Builder
	var wg sync.WaitGroup
	wg.Go(func() { err = p.run(ctx, &out, &errs) })
	end = sync.OnceValue(func() printed {
		cancel()
		wg.Wait()
		if err != nil {
			t.Errorf("run: %v", err)
		}
		all := lines(t, strings.NewReader(out.String()))
		last := all[len(all)-1]
		balanced(t, last.Up)
		balanced(t, last.Down)
		return last
	})
	t.Cleanup(func() { end() })
	return p, end
}

// dial connects to the proxy as a client.
func dial(t *testing.T, p *proxy) *net.UDPConn {
	t.Helper()
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(p.addr()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return conn
}

// TestThrough sends packets of many clients to an echo and back, and measures how long that took.
func TestThrough(t *testing.T) {
	const clients, count, oneWay = 8, 40, 20 * time.Millisecond
	p, end := begin(t, echo(t).LocalAddr(), "--delay 20ms")
	var mu sync.Mutex
	var extra []time.Duration // beyond twice the delay
	var wg sync.WaitGroup
	for c := range clients {
		conn := dial(t, p)
		wg.Go(func() {
			buffer := make([]byte, 2000)
			for i := range count {
				sent := time.Now()
				binary.BigEndian.PutUint64(buffer, uint64(c*count+i))
				if _, err := conn.Write(buffer[:8+i*40]); err != nil {
					t.Error(err)
					return
				}
				n, err := conn.Read(buffer)
				took := time.Since(sent) - 2*oneWay
				if err != nil || n != 8+i*40 || binary.BigEndian.Uint64(buffer) != uint64(c*count+i) {
					t.Errorf("client %d packet %d: %d bytes of %d, %v", c, i, n, binary.BigEndian.Uint64(buffer), err)
					return
				}
				mu.Lock()
				extra = append(extra, took)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if len(extra) != clients*count {
		t.Fatalf("%d came back, want %d", len(extra), clients*count)
	}
	slices.Sort(extra)
	t.Logf("both ways and the echo: least %v, median %v, p99 %v, most %v beyond the delay", extra[0], extra[len(extra)/2], extra[len(extra)*99/100], extra[len(extra)-1])
	// A busy machine delays the test itself; a quarter must be good in spite of it.
	if extra[0] < 0 || extra[len(extra)/4] > 5*time.Millisecond {
		t.Errorf("delays are off: least %v, a quarter within %v", extra[0], extra[len(extra)/4])
	}
	last := end()
	want := uint64(clients * count)
	if last.Clients != clients || last.Up.In != want || last.Up.Out != want || last.Down.In != want || last.Down.Out != want {
		t.Errorf("counted %+v, want %d everywhere", last, want)
	}
}

// TestFateThrough holds that the sockets lose just what the lines of the same seed lose in thought.
func TestFateThrough(t *testing.T) {
	p, end := begin(t, echo(t).LocalAddr(), "--loss 0.2 --seed 4")
	conn := dial(t, p)
	up, down := newLine(model{loss: 0.2}, 4, "up"), newLine(model{loss: 0.2}, 4, "down")
	passes := func(l *line) bool {
		l.add(0, &packet{})
		return len(l.take(0, nil, 1)) == 1
	}
	buffer := make([]byte, 8)
	for i, passed := uint64(0), false; i < 2000 || !passed; i++ { // the last passes, so that all are in
		binary.BigEndian.PutUint64(buffer, i)
		if _, err := conn.Write(buffer); err != nil {
			t.Fatal(err)
		}
		if passed = passes(up) && passes(down); !passed {
			continue
		}
		if _, err := conn.Read(buffer); err != nil || binary.BigEndian.Uint64(buffer) != i {
			t.Fatalf("packet %d: came back %d, %v", i, binary.BigEndian.Uint64(buffer), err)
		}
	}
	last := end()
	for name, c := range map[string][2]counts{"up": {last.Up, up.count()}, "down": {last.Down, down.count()}} {
		if c[0].In != c[1].In || c[0].Lost != c[1].Lost {
			t.Errorf("%s: in and lost %d and %d, want %d and %d", name, c[0].In, c[0].Lost, c[1].In, c[1].Lost)
		}
	}
}

// TestForgotten holds that a silent client loses its socket and gets a new one, and that a client
// too many is refused.
func TestForgotten(t *testing.T) {
	upstream := bind(t)
	p, end := begin(t, upstream.LocalAddr(), "--clients 1")
	first, second := dial(t, p), dial(t, p)
	buffer := make([]byte, 10)
	if err := upstream.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	send := func(conn *net.UDPConn, text string) string {
		if _, err := conn.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
		n, from, err := upstream.ReadFromUDPAddrPort(buffer)
		if err != nil || string(buffer[:n]) != text {
			t.Fatalf("read %q, %v, want %q", buffer[:n], err, text)
		}
		return from.String()
	}
	was := send(first, "a")
	if _, err := second.Write([]byte("refused")); err != nil {
		t.Fatal(err)
	}
	if again := send(first, "b"); again != was {
		t.Errorf("a client's packets came from %s and %s", was, again)
	}
	p.sweep(p.now() + idle/2)
	if again := send(first, "c"); again != was {
		t.Errorf("a client was forgotten after half the time")
	}
	p.sweep(p.now() + idle)
	send(second, "d") // its place is free now
	if last := end(); last.Up.Refused != 1 || last.Up.Out != 4 {
		t.Errorf("counted %+v, want one refused and four out", last.Up)
	}
}

// TestUpstreamReturns holds that an upstream that is not there costs nothing once it is.
func TestUpstreamReturns(t *testing.T) {
	gone := bind(t)
	addr := gone.LocalAddr().(*net.UDPAddr)
	gone.Close()
	p, end := begin(t, addr, "")
	conn := dial(t, p)
	for i := range uint64(20) {
		if _, err := conn.Write([]byte("lost")); err != nil {
			t.Fatal(err)
		}
		for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(50 * time.Microsecond) {
			if c := p.up.count(); c.Out+c.Failed > i {
				break
			}
			if time.Now().After(deadline) {
				t.Fatal("a packet was never sent")
			}
		}
	}
	back, err := net.ListenUDP("udp", addr)
	if err != nil {
		t.Skipf("the port was taken meanwhile: %v", err)
	}
	defer back.Close()
	if _, err := conn.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	if err := back.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	buffer := make([]byte, 10)
	if n, err := back.Read(buffer); err != nil || string(buffer[:n]) != "hello" {
		t.Errorf("read %q, %v, want hello", buffer[:n], err)
	}
	end()
}

// TestTooLong holds that a datagram that does not fit is refused, not cut.
func TestTooLong(t *testing.T) {
	p, end := begin(t, echo(t).LocalAddr(), "")
	conn := dial(t, p)
	buffer := make([]byte, maxDatagram+1)
	for _, n := range []int{maxDatagram + 1, maxDatagram, 0} {
		if _, err := conn.Write(buffer[:n]); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []int{maxDatagram, 0} {
		if n, err := conn.Read(buffer); err != nil || n != want {
			t.Errorf("read %d bytes, %v, want %d", n, err, want)
		}
	}
	if last := end(); last.Up.Refused != 1 || last.Up.In != 2 {
		t.Errorf("counted %+v, want one refused and two in", last.Up)
	}
}

// TestNobodyReads holds that the program ends when its output goes nowhere.
func TestNobodyReads(t *testing.T) {
	r, w := io.Pipe()
	r.Close()
	var errs strings.Builder
	if code := run(t.Context(), []string{"--listen", "127.0.0.1:0", "--to", "127.0.0.1:9"}, w, &errs); code != 1 || !strings.Contains(errs.String(), "print counts") {
		t.Errorf("code %d, %q", code, errs.String())
	}
}

// TestAlarm holds that a sleep ends by a call, also by one that came before it, and not early.
func TestAlarm(t *testing.T) {
	a, err := newAlarm()
	if err != nil {
		t.Fatal(err)
	}
	defer a.close()
	defer a.hold()()
	a.ring()
	a.ring()
	a.sleep(never, 0) // returns at once, or the test hangs
	var errs []time.Duration
	for range 50 {
		start := time.Now()
		a.sleep(3*time.Millisecond, 0)
		errs = append(errs, time.Since(start)-3*time.Millisecond)
	}
	slices.Sort(errs)
	t.Logf("beyond 3 ms: least %v, median %v, most %v", errs[0], errs[25], errs[49])
	if errs[0] < 0 || errs[12] > time.Millisecond { // a quarter, on a busy machine too
		t.Errorf("sleeps are off by %v to %v, a quarter within %v", errs[0], errs[49], errs[12])
	}
	var wg sync.WaitGroup
	wg.Go(a.ring)
	a.sleep(never, 0)
	wg.Wait()
}
