package udp

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"dongthanh/internal/mediaclock"
	"dongthanh/internal/seq"
	"dongthanh/internal/wire"
)

var (
	testID  = wire.FlowID{1, 2, 3}
	testKey = [wire.KeyLen]byte{9}
	home    = Path{netip.MustParseAddrPort("192.0.2.1:1000"), netip.MustParseAddr("198.51.100.1")}
	away    = Path{netip.MustParseAddrPort("192.0.2.1:2000"), netip.MustParseAddr("198.51.100.1")}
	victim  = Path{netip.MustParseAddrPort("203.0.113.9:53"), netip.MustParseAddr("198.51.100.1")}
)

// table is a Flows with one flow, and the node at its other end.
type table struct {
	*Flows[string]
	flow    *Flow[string]
	up      *wire.Key
	counter wire.Counter
	now     mediaclock.Local
}

func newTable(t testing.TB) *table {
	t.Helper()
	n := uint64(0)
	x := &table{
		Flows: NewFlows[string](func() (c wire.Cookie) { n++; binary.BigEndian.PutUint64(c[:], n); return c }),
		up:    wire.NewKey(testKey, wire.Up), counter: wire.MakeCounter(7, 0), now: 1_000_000_000,
	}
	var err error
	if x.flow, err = x.Add(x.now, testID, testKey, true, "speaker"); err != nil {
		t.Fatal(err)
	}
	return x
}

// say makes the node's next datagram.
func (x *table) say(kind wire.Type, body []byte) []byte {
	x.counter++
	return x.up.Append(nil, wire.Header{Type: kind, Flow: testID, Counter: x.counter}, body)
}

func (x *table) ping(active bool) []byte {
	return x.say(wire.Ping, wire.PingBody{T1: 5, Active: active}.Append(nil))
}

// sent is how many bytes the event sends back.
func sent[T any](e Event[T]) (n int) {
	if e.Challenge {
		n += challengeLen
	}
	if e.Pong {
		n += wire.Overhead + len(wire.PongBody{}.Append(nil))
	}
	return n
}

// bind takes the flow through the three ways to p.
func (x *table) bind(t testing.TB, p Path) {
	t.Helper()
	e, drop := x.Receive(x.now, p, x.ping(true))
	if drop != "" || !e.Challenge {
		t.Fatalf("ping from a new address: %+v, %q, want a challenge", e, drop)
	}
	e, drop = x.Receive(x.now, p, x.say(wire.Challenge, e.Cookie[:]))
	if drop != "" || !e.Bound {
		t.Fatalf("echo from %v: %+v, %q, want it bound", p, e, drop)
	}
}

func (x *table) at(t testing.TB, want Path, bound bool) {
	t.Helper()
	if got, ok := x.flow.Path(); ok != bound || got != want {
		t.Errorf("Path() = %v, %v, want %v, %v", got, ok, want, bound)
	}
}

func TestThreeWayBinding(t *testing.T) {
	x := newTable(t)
	x.at(t, Path{}, false)
	ping := x.ping(true)
	e, drop := x.Receive(x.now, home, ping)
	if drop != "" || !e.Challenge || !e.Pong || e.Bound {
		t.Fatalf("first ping: %+v, %q, want a pong and a challenge", e, drop)
	}
	x.at(t, Path{}, false)
	if n := sent(e); n > len(ping) {
		t.Errorf("%d bytes out for %d bytes in", n, len(ping))
	}
	wrong := e.Cookie
	wrong[3] ^= 1
	if _, drop := x.Receive(x.now, home, x.say(wire.Challenge, wrong[:])); drop != DropUnbound {
		t.Errorf("wrong echo: %q, want %q", drop, DropUnbound)
	}
	if _, drop := x.Receive(x.now, away, x.say(wire.Challenge, e.Cookie[:])); drop != DropUnbound {
		t.Errorf("echo from another address: %q, want %q", drop, DropUnbound)
	}
	x.at(t, Path{}, false)
	echo := x.say(wire.Challenge, e.Cookie[:])
	if e, drop := x.Receive(x.now, home, echo); drop != "" || !e.Bound || sent(e) != 0 {
		t.Fatalf("echo: %+v, %q, want it bound and nothing sent", e, drop)
	}
	x.at(t, home, true)
	if e, drop := x.Receive(x.now, home, x.ping(true)); drop != "" || !e.Pong || e.Challenge {
		t.Errorf("ping from home: %+v, %q, want a pong alone", e, drop)
	}
}

func TestCookieEnds(t *testing.T) {
	x := newTable(t)
	e, _ := x.Receive(x.now, home, x.ping(true))
	same, _ := x.Receive(x.now.Add(time.Second), home, x.ping(true))
	if same.Cookie != e.Cookie {
		t.Error("a second ping while the challenge is under way has another cookie: a late echo would be lost")
	}
	x.now = x.now.Add(cookieLife)
	if _, drop := x.Receive(x.now, home, x.say(wire.Challenge, e.Cookie[:])); drop != DropUnbound {
		t.Errorf("echo after %s: %q, want %q", cookieLife, drop, DropUnbound)
	}
	x.bind(t, home)
}

func TestRebinding(t *testing.T) {
	x := newTable(t)
	x.bind(t, home)
	x.now = x.now.Add(5 * time.Second)

	e, drop := x.Receive(x.now, away, x.ping(true))
	if drop != "" || !e.Challenge {
		t.Fatalf("ping from a new address: %+v, %q, want a challenge there", e, drop)
	}
	x.at(t, home, true) // the old one until it is answered
	if e, drop := x.Receive(x.now, home, x.ping(true)); drop != "" || !e.Pong {
		t.Errorf("ping from the old address meanwhile: %+v, %q, want a pong", e, drop)
	}
	if e, drop := x.Receive(x.now, away, x.say(wire.Challenge, e.Cookie[:])); drop != "" || !e.Bound {
		t.Fatalf("echo: %+v, %q, want it bound", e, drop)
	}
	x.at(t, away, true)
}

func TestMovesAreBounded(t *testing.T) {
	x := newTable(t)
	x.bind(t, home)
	x.now = x.now.Add(moveGap / 2)
	paths := []Path{away, home}
	try := func(p Path) Drop {
		e, drop := x.Receive(x.now, p, x.ping(true))
		if drop == "" && e.Challenge {
			_, drop = x.Receive(x.now, p, x.say(wire.Challenge, e.Cookie[:]))
		}
		return drop
	}
	if drop := try(away); drop != DropMoves {
		t.Errorf("move within a second: %q, want %q", drop, DropMoves)
	}
	x.at(t, home, true)
	x.now = x.now.Add(moveGap)
	moved := 0
	for i := range 2 * maxMoves {
		before := x.flow.path
		try(paths[i%2])
		if x.flow.path != before {
			moved++
		}
		x.now = x.now.Add(moveGap + 100*time.Millisecond)
	}
	if moved != maxMoves {
		t.Errorf("%d moves in %d s, want %d", moved, 2*maxMoves, maxMoves)
	}
	x.now = x.now.Add(movesWindow)
	other := Path{netip.MustParseAddrPort("192.0.2.1:3000"), home.Local}
	if drop := try(other); drop != "" {
		t.Errorf("move in the next minute: %q, want it allowed", drop)
	}
}

// TestNothingUnproved tries everything that a replay or a forged sender could, and adds up what a victim would get.
func TestNothingUnproved(t *testing.T) {
	bodies := map[string][]byte{
		"ping":      nil,
		"nack":      wire.NackBody{SSRC: 1, Base: 5, Bitmap: ^uint64(0)}.Append(nil),
		"resume":    wire.ResumeBody{SSRC: 1}.Append(nil),
		"mute":      wire.MuteBody{On: true}.Append(nil),
		"report":    make([]byte, 400),
		"challenge": make([]byte, 16),
		"unknown":   make([]byte, 40),
	}
	kinds := map[string]wire.Type{"nack": wire.Nack, "resume": wire.Resume, "mute": wire.Mute, "report": wire.Report, "challenge": wire.Challenge, "unknown": 15}
	for _, bound := range []bool{false, true} {
		for name, body := range bodies {
			t.Run(name, func(t *testing.T) {
				x := newTable(t)
				if bound {
					x.bind(t, home)
				}
				in, out := 0, 0
				for range 50 {
					x.now = x.now.Add(30 * time.Millisecond)
					b := x.ping(false)
					if name != "ping" {
						b = x.say(kinds[name], body)
					}
					for range 3 { // and again, as a replay
						e, drop := x.Receive(x.now, victim, b)
						in += len(b)
						out += sent(e)
						if out > in {
							t.Fatalf("%d bytes out for %d bytes in", out, in)
						}
						if drop != "" && (e.Challenge || e.Pong || e.Bound || e.Switched) {
							t.Fatalf("dropped as %q, and yet %+v", drop, e)
						}
						if e.Type == wire.Nack || e.Type == wire.Resume || e.Type == wire.Report {
							t.Fatalf("a %s from an address that is not proved would be obeyed", name)
						}
					}
				}
				want := Path{}
				if bound {
					want = home
				}
				x.at(t, want, bound)
				if bound && !x.flow.Active() {
					t.Error("a ping from an address that is not proved made the flow stand by")
				}
			})
		}
	}
}

func TestDrops(t *testing.T) {
	x := newTable(t)
	x.bind(t, home)
	good := x.ping(true)
	tampered := append([]byte(nil), good...)
	tampered[30] ^= 1
	other := wire.NewKey([wire.KeyLen]byte{1}, wire.Up).Append(nil, wire.Header{Type: wire.Ping, Flow: wire.FlowID{8}, Counter: x.counter}, make([]byte, 9))
	reflected := x.flow.Append(nil, wire.Nack, wire.NackBody{Bitmap: 1}.Append(nil))
	if _, drop := x.Receive(x.now, home, good); drop != "" {
		t.Fatal(drop)
	}
	tests := []struct {
		name string
		b    []byte
		want Drop
	}{
		{"empty", nil, DropMalformed},
		{"RTP", make([]byte, 100), DropMalformed},
		{"larger than any", make([]byte, 1000), DropMalformed},
		{"short ping", x.up.Append(nil, wire.Header{Type: wire.Ping, Flow: testID, Counter: x.counter + 9}, nil)[:100], DropMalformed},
		{"another flow", other, DropStranger},
		{"altered", tampered, DropTag},
		{"our own, reflected", reflected, DropTag},
		{"replayed", good, DropOld},
		{"nonsense in a RESUME", x.say(wire.Resume, []byte{1}), DropMalformed},
		{"nonsense in a MUTE", x.say(wire.Mute, nil), DropMalformed},
		{"unknown type", x.say(14, []byte("later version")), ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e, drop := x.Receive(x.now, home, tt.b)
			if drop != tt.want {
				t.Errorf("Receive() = %q, want %q", drop, tt.want)
			}
			if e.Challenge || e.Pong || e.Bound || e.Switched {
				t.Errorf("it had an effect: %+v", e)
			}
		})
	}
}

func TestSwitching(t *testing.T) {
	type step struct {
		kind   wire.Type
		body   []byte
		active bool
		muted  uint32 // of 1 and 2, the one not wanted though active; 0: none
	}
	ping := func(on bool) []byte { return wire.PingBody{Active: on}.Append(nil) }
	mute := func(ssrc uint32, on bool) []byte { return wire.MuteBody{SSRC: ssrc, On: on}.Append(nil) }
	resume := func(ssrc uint32) []byte { return wire.ResumeBody{SSRC: ssrc, From: seq.Index(3)}.Append(nil) }
	steps := []step{
		{wire.Ping, ping(false), false, 0},
		{wire.Resume, resume(1), true, 0},
		{wire.Mute, mute(2, true), true, 2},
		{wire.Ping, ping(true), true, 2},
		{wire.Ping, ping(false), false, 0},
		{wire.Resume, resume(1), true, 2},
		{wire.Resume, resume(2), true, 0},
		{wire.Mute, mute(0, true), false, 0},
		{wire.Mute, mute(0, false), true, 0},
		{wire.Mute, mute(1, true), true, 1},
		{wire.Mute, mute(1, false), true, 0},
	}
	x := newTable(t)
	x.bind(t, home)
	for i, s := range steps {
		if _, drop := x.Receive(x.now, home, x.say(s.kind, s.body)); drop != "" {
			t.Fatalf("step %d: dropped as %q", i, drop)
		}
		for ssrc := uint32(1); ssrc <= 2; ssrc++ {
			if got, want := x.flow.Wants(ssrc), s.active && ssrc != s.muted; got != want {
				t.Errorf("step %d: Wants(%d) = %v, want %v", i, ssrc, got, want)
			}
		}
	}
}

func TestOvertakenOrderUndoesNothing(t *testing.T) {
	x := newTable(t)
	x.bind(t, home)
	late := x.ping(false) // sent before the RESUME, comes after it
	if e, _ := x.Receive(x.now, home, x.say(wire.Mute, wire.MuteBody{On: true}.Append(nil))); !e.Switched {
		t.Fatal("MUTE switched nothing")
	}
	if e, _ := x.Receive(x.now, home, x.say(wire.Resume, wire.ResumeBody{SSRC: 1}.Append(nil))); !e.Switched {
		t.Fatal("RESUME switched nothing")
	}
	e, drop := x.Receive(x.now, home, late)
	if drop != "" || !e.Pong || e.Switched || !x.flow.Active() {
		t.Errorf("a late ping: %+v, %q, active %v, want a pong and no change", e, drop, x.flow.Active())
	}
}

func TestLapsed(t *testing.T) {
	lease := DefaultLease()
	tests := []struct {
		name   string
		bound  bool
		silent time.Duration
		onAir  bool
		since  time.Duration // how long it has been on air
		want   bool
	}{
		{"idle, one ping missed", true, 31 * time.Second, false, 0, false},
		{"idle, three pings missed", true, 46 * time.Second, false, 0, true},
		{"on air, seven pings missed", true, 7 * time.Second, true, time.Hour, false},
		{"on air, nine pings missed", true, 9 * time.Second, true, time.Hour, true},
		{"went on air while idle", true, 16 * time.Second, true, time.Second, false},
		{"went on air while idle and never woke", true, 23 * time.Second, true, 9 * time.Second, true},
		{"joined, no datagram yet", false, 20 * time.Second, true, 20 * time.Second, false},
		{"joined, and none ever", false, 46 * time.Second, true, 46 * time.Second, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			x := newTable(t)
			if tt.bound {
				x.bind(t, home)
			}
			x.now = x.now.Add(tt.silent)
			if got := x.flow.Lapsed(x.now, lease, tt.onAir, x.now.Add(-tt.since)); got != tt.want {
				t.Errorf("Lapsed() = %v, want %v", got, tt.want)
			}
		})
	}
}

func TestRemovedIsAStranger(t *testing.T) {
	x := newTable(t)
	x.bind(t, home)
	if _, err := x.Add(x.now, testID, testKey, true, "other"); err == nil {
		t.Error("a flow id was given out twice")
	}
	x.Remove(x.flow)
	x.Remove(x.flow)
	if _, drop := x.Receive(x.now, home, x.ping(true)); drop != DropStranger {
		t.Errorf("after Remove: %q, want %q", drop, DropStranger)
	}
}

// TestReceiveAllocates allows one allocation, the 32 bytes of the tag in package wire, and none for what comes from
// strangers.
func TestReceiveAllocates(t *testing.T) {
	x := newTable(t)
	x.bind(t, home)
	var datagrams [200][]byte
	for i := range datagrams {
		datagrams[i] = x.say(wire.Nack, wire.NackBody{Bitmap: 1}.Append(nil))
	}
	i := 0
	if n := testing.AllocsPerRun(100, func() {
		x.now = x.now.Add(10 * time.Millisecond)
		if _, drop := x.Receive(x.now, home, datagrams[i]); drop != "" {
			t.Fatal(drop)
		}
		i++
	}); n > 1 {
		t.Errorf("%v allocations a datagram, want 1 at most", n)
	}
	stranger := wire.NewKey(testKey, wire.Up).Append(nil, wire.Header{Type: wire.Nack, Flow: wire.FlowID{4}}, make([]byte, 19))
	if n := testing.AllocsPerRun(100, func() { x.Receive(x.now, victim, stranger) }); n != 0 {
		t.Errorf("%v allocations for a stranger, want none", n)
	}
}
