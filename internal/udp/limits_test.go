package udp

import (
	"net/netip"
	"testing"
	"time"

	"dongthanh/internal/wire"
)

func TestCounterWindow(t *testing.T) {
	tests := []struct {
		c    wire.Counter
		want bool
	}{
		{100, true}, {100, false}, {98, true}, {98, false}, {37, true}, {36, false}, {0, false},
		{200, true}, {136, false}, {137, true}, {101, false}, {wire.MakeCounter(1, 0), true}, {201, false},
		{wire.MakeCounter(0xffffff, 1<<40-1), true}, {wire.MakeCounter(0xffffff, 1<<40-1), false}, {0, false},
	}
	var w window
	for _, tt := range tests {
		if got := w.take(tt.c); got != tt.want {
			t.Errorf("take(%d) = %v, want %v", tt.c, got, tt.want)
		}
	}
}

func TestRateOfOneNode(t *testing.T) {
	x := newTable(t)
	x.bind(t, home)
	taken := 0
	for range 2000 {
		if _, drop := x.Receive(x.now, home, x.say(15, nil)); drop == "" {
			taken++
		} else if drop != DropRate {
			t.Fatal(drop)
		}
	}
	if taken != rateBurst-2 { // two were spent on the binding
		t.Errorf("%d datagrams at once, want %d", taken, rateBurst-2)
	}
	x.now = x.now.Add(time.Second)
	if _, drop := x.Receive(x.now, home, x.ping(true)); drop != "" {
		t.Errorf("a second later: %q", drop)
	}
}

func TestFloodOfBadTags(t *testing.T) {
	x := newTable(t)
	x.bind(t, home)
	bad := x.ping(true)
	bad[len(bad)-1] ^= 1
	neighbour := Path{netip.MustParseAddrPort("192.0.2.77:4000"), home.Local}
	drops := map[Drop]int{}
	for range 3000 {
		_, drop := x.Receive(x.now, neighbour, bad)
		drops[drop]++
	}
	if drops[DropTag] != failureBurst || drops[DropFlood] != 2000 {
		t.Errorf("drops %v, want %d tags and the rest unread", drops, failureBurst)
	}
	if _, drop := x.Receive(x.now, home, x.ping(true)); drop != "" {
		t.Errorf("the proved neighbour in the same network: %q, want it served", drop)
	}
	elsewhere := Path{netip.MustParseAddrPort("198.51.100.7:1"), home.Local}
	if e, drop := x.Receive(x.now, elsewhere, x.ping(true)); drop != "" || !e.Challenge {
		t.Errorf("another network: %+v, %q, want a challenge", e, drop)
	}
	x.now = x.now.Add(time.Second)
	if _, drop := x.Receive(x.now, neighbour, x.ping(true)); drop != "" {
		t.Errorf("a second later: %q, want it heard", drop)
	}
}
