package udp

import (
	"testing"

	"dongthanh/internal/mediaclock"
	"dongthanh/internal/wire"
)

// FuzzDatagram feeds whatever bytes to a table with a bound flow. Only what carries the right tag and a counter not
// seen before may have an effect, and no address that is not proved gets more bytes than it sent.
func FuzzDatagram(f *testing.F) {
	x := newTable(f)
	x.bind(f, home)
	f.Add(x.ping(true), uint8(0))
	f.Add(x.say(wire.Nack, wire.NackBody{Bitmap: 1}.Append(nil)), uint8(1))
	f.Add(x.say(wire.Resume, wire.ResumeBody{}.Append(nil)), uint8(1))
	f.Add(x.say(wire.Mute, wire.MuteBody{}.Append(nil)), uint8(0))
	f.Add(x.say(wire.Challenge, make([]byte, 16)), uint8(2))
	f.Add(x.say(wire.Report, make([]byte, 300)), uint8(0))
	f.Add([]byte{wire.Magic, 0x11}, uint8(2))
	f.Add(make([]byte, 600), uint8(0))
	f.Fuzz(func(t *testing.T, b []byte, from uint8) {
		x := newTable(t)
		x.bind(t, home)
		before := stateOf(x.flow)
		path := []Path{home, away, victim}[from%3]
		d, parsed := wire.Parse(b)
		authentic := parsed == nil && d.Flow == testID && d.Verify(wire.NewKey(testKey, wire.Up)) == nil
		for range 2 {
			e, drop := x.Receive(x.now, path, b)
			if drop != "" && !isZero(e) {
				t.Fatalf("dropped as %q with the event %+v", drop, e)
			}
			if !authentic && drop == "" {
				t.Fatalf("%x was taken", b)
			}
			if path != home && sent(e) > len(b) {
				t.Fatalf("%d bytes out for %d", sent(e), len(b))
			}
		}
		if after := stateOf(x.flow); !authentic && after != before {
			t.Fatal("a datagram that is not authentic changed the flow")
		}
	})
}

// state is what of a flow decides who is fed with what.
type state struct {
	path, asked   Path
	bound, active bool
	heard         mediaclock.Local
	window        window
}

func stateOf(f *Flow[string]) state {
	return state{f.path, f.asked, f.bound, f.active, f.heard, f.window}
}

func isZero(e Event[string]) bool {
	return e.Flow == nil && !e.Challenge && !e.Pong && !e.Bound && !e.Switched && e.Body == nil
}
