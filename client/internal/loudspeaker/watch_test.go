package loudspeaker

import (
	"testing"
	"time"

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
