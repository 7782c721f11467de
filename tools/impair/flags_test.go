package main

import (
	"bytes"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestParse(t *testing.T) {
	s, err := parse(strings.Fields("--listen a:1 --to b:2 --loss 0.2 --burst 80ms --delay 30ms --jitter 10ms --rate 1.5M --queue 1s --seed 9 --dup 0.1 --corrupt 0.01 --reorder --clients 3 --blackhole 3s+1.5s/6s --blackhole 1s+2s"))
	if err != nil {
		t.Fatal(err)
	}
	m := s.model
	want := []hole{{3 * time.Second, 1500 * time.Millisecond, 6 * time.Second}, {time.Second, 2 * time.Second, 0}}
	if !slices.Equal(m.holes, want) {
		t.Errorf("holes %v, want %v", m.holes, want)
	}
	if s.listen != "a:1" || s.to != "b:2" || s.seed != 9 || s.clients != 3 || m.loss != 0.2 || m.burst != 80*time.Millisecond || m.delay != 30*time.Millisecond ||
		m.jitter != 10*time.Millisecond || m.rate != 1.5e6 || m.queue != time.Second || m.duplicate != 0.1 || m.corrupt != 0.01 || !m.reorder {
		t.Errorf("parsed %+v", s)
	}
}

func TestBadFlags(t *testing.T) {
	for _, flags := range []string{
		"--loss 1.1", "--loss -0.1", "--loss NaN", "--loss x", "--dup 2", "--corrupt -1", "--burst 1us", "--burst -1s", "--delay -1s", "--jitter 2m", "--queue -1s",
		"--rate 0", "--rate NaN", "--rate inf", "--rate 5", "--rate 1G", "--clients 0", "--seed -1", "--nonsense", "more",
		"--blackhole 1s", "--blackhole 1s+0s", "--blackhole 1s+2s/1s", "--blackhole -1s+1s", "--blackhole 1s+1s/0s", "--blackhole 1s+1s/",
		"--listen=", "--to=",
	} {
		var out, errs bytes.Buffer
		code := run(t.Context(), append([]string{"--listen", "127.0.0.1:0", "--to", "127.0.0.1:9"}, strings.Fields(flags)...), &out, &errs)
		if code != 2 || out.Len() > 0 || strings.Count(errs.String(), "\n") != 1 {
			t.Errorf("%s: code %d, printed %q and %q, want 2 and one line", flags, code, &out, &errs)
		}
	}
	for args, want := range map[string]int{"--help": 0, "--listen 127.0.0.1:0 --to nothing": 1, "--listen 192.0.2.1:1 --to 127.0.0.1:9": 1} {
		var out, errs bytes.Buffer
		if code := run(t.Context(), strings.Fields(args), &out, &errs); code != want {
			t.Errorf("%s: code %d, want %d (%s)", args, code, want, &errs)
		}
	}
}

func TestClients(t *testing.T) {
	c := clients{limit: 2, byAddr: map[netip.AddrPort]*client{}}
	addr := func(port uint16) netip.AddrPort { return netip.AddrPortFrom(netip.IPv4Unspecified(), port) }
	c.add(&client{addr: addr(1)}, 0)
	c.add(&client{addr: addr(2)}, 10*time.Second)
	if !c.full() || c.find(addr(3), 0) != nil {
		t.Error("two of two and not full, or a stranger is known")
	}
	if gone := c.expire(idle - 1); len(gone) > 0 {
		t.Errorf("%d forgotten too early", len(gone))
	}
	c.find(addr(2), 50*time.Second) // seen again
	gone := c.expire(80 * time.Second)
	if len(gone) != 1 || gone[0].addr != addr(1) || c.full() {
		t.Errorf("forgot %v, want the first alone", gone)
	}
	if gone = c.expire(110 * time.Second); len(gone) != 1 || gone[0].addr != addr(2) {
		t.Errorf("forgot %v, want the second", gone)
	}
}
