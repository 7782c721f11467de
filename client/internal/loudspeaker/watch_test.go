package loudspeaker

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"dongthanh/client/internal/device"
	"dongthanh/client/internal/playout"
)

// TestChangesAreToldTwice: each change is reported at once and again 300 ms later, for the first may be lost; what is
// heard is reported every two seconds, and nothing while nothing is.
func TestChangesAreToldTwice(t *testing.T) {
	d := newDesk(t, true)
	d.listen(d.transmit(chord, nil, "31/11296"))
	var e *entry
	for _, e = range d.listening() {
		break
	}
	start := time.Now()
	d.filled.Store(int64(d.clock.Now())) // the device asks for sound
	hearing := func(from time.Duration, on bool, want ...int) {
		t.Helper()
		for step, n := range want {
			d.picture.n, d.picture.entries[0], d.picture.status[0] = 1, e, playout.Status{State: playout.Sounding, Hearing: on}
			before := d.still.reports
			d.look(start.Add(from + time.Duration(step)*100*ms))
			if got := d.still.reports - before; got != n {
				t.Errorf("hearing %v since %v, after %v: %d reports, want %d", on, from, time.Duration(step)*100*ms, got, n)
			}
		}
	}
	hearing(0, false, 0, 0, 0)
	hearing(time.Second, true, 1, 0, 0, 1, 0, 0)
	hearing(3*time.Second+300*ms, true, 1, 0, 0, 0, 0)
	hearing(4*time.Second, false, 1, 0, 0, 1, 0, 0)
	hearing(8*time.Second, false, 0, 0)
}

// TestDeviceThatHangs: a loudspeaker whose device no longer asks for sound does not report that it hears, whatever it
// showed last, and is not ready; nor is one whose device says that nothing can sound.
func TestDeviceThatHangs(t *testing.T) {
	d := newDesk(t, true)
	broken := &mute{}
	d.options.Device = broken
	x := d.transmit(chord, nil, "31/11296")
	d.listen(x)
	for k := range 20 {
		d.media(x.make(k, false), d.clock.Now(), 0)
	}
	for k := range int64(20) {
		d.block(k*480, x.cert.PlayAt(x.cert.Index0).Add(time.Duration(k)*10*ms))
	}
	hearing := func() bool {
		all, _ := d.streams()
		return len(all) == 1 && all[0].Hearing
	}
	d.filled.Store(int64(d.clock.Now()))
	if !hearing() {
		t.Fatal("not heard to begin with")
	}
	broken.err = errors.New("the card is gone")
	if err := d.Ready(t.Context()); !errors.Is(err, broken.err) {
		t.Errorf("Ready = %v, want the device's reason", err)
	}
	broken.err = nil
	d.filled.Store(int64(d.clock.Now().Add(-1100 * ms)))
	if hearing() {
		t.Error("hearing, though the device has not asked for sound for 1.1 s")
	}
	if err := d.Ready(t.Context()); err == nil || !strings.Contains(err.Error(), "does not ask") {
		t.Errorf("Ready = %v", err)
	}
	before := d.filled.Load()
	d.fill(device.Block{First: 1 << 30, Now: d.clock.Now(), Played: 1 << 30})
	if d.filled.Load() != before {
		t.Error("a block without sound counts as asking for it")
	}
}

// TestBeat: the watchdog is fed while a card that has played is away, and not while the device hangs.
func TestBeat(t *testing.T) {
	d := newDesk(t, true)
	beats := 0
	d.options.Beat = func() { beats++ }
	beat := func() int { before := beats; d.beat(); return beats - before }
	now := d.clock.Now()
	if beat() != 1 {
		t.Error("no beat before the device has asked at all")
	}
	d.fill(device.Block{PCM: make([]int16, 480), Now: now.Add(-20 * time.Second)})
	if beat() != 0 {
		t.Error("a device that has not asked for 20 s feeds the watchdog")
	}
	d.fill(device.Block{First: 480, Now: now}) // its card was pulled out, and it lets time pass
	if beat() != 1 {
		t.Error("a card that is away has the program started anew")
	}
}

// mute is a device that plays nothing.
type mute struct{ err error }

func (*mute) Run(context.Context, func(device.Block)) error { return nil }
func (m *mute) Ready() error                                { return m.err }
