// Package repair decides which packets of a transmission are missing and when to ask for them again
// (facts: in a public address the time budget is the strongest code, so a packet is asked for as long as it can
// still arrive in time). It is pure: no clock, no socket, no goroutine; the owner passes in the time and sends what
// comes out. One Tracker serves one transmission and is used by one goroutine.
package repair

import (
	"math"
	"time"

	"dongthanh/internal/mediaclock"
	"dongthanh/internal/seq"
	"dongthanh/internal/wire"
)

const (
	// settle is how long after its turn a packet may still be merely out of order: the next packet's turn and this.
	settle = 10 * time.Millisecond
	// again is added to the round trip before a packet is asked for once more: the relay answers a packet at most
	// every half round trip, and its answer may wait behind others.
	again = 20 * time.Millisecond
	// lastCall is how shortly before the last chance a packet is asked for once more, if the relay will answer: owners
	// look every 10 ms.
	lastCall = 15 * time.Millisecond
	// bothAfter is the age of a gap from which the standby upstream is asked too: by then two requests to the
	// active one have failed, so it may be dead.
	bothAfter = 220 * time.Millisecond
	// guessRTT stands for a round trip nobody has measured yet.
	guessRTT = 60 * time.Millisecond
	// stall is added to three packets: nothing came for so long, so the upstream may be gone (DESIGN §5).
	stall = 30 * time.Millisecond
	// stallAgain is how often an upstream answers a RESUME at most.
	stallAgain = 500 * time.Millisecond
	// tail is how many packets beyond the newest known one are believed in: a burst at the end of what came shows
	// by time only. The upstream ignores requests for what does not exist.
	tail = 8
	// smooth is the weight of a new arrival in the schedule of arrivals.
	smooth = 1.0 / 8
	// spread and maxSpread: where nothing newer has come the gap may be mere lateness of the whole flow, so it must
	// stand out from the lateness seen so far by three times its mean, 80 ms at most.
	spread    = 3
	maxSpread = 80 * time.Millisecond

	window  = seq.WindowSize
	askBits = 64
	maxAsks = 4
)

// Ask is one request: bit n of Bitmap is the packet with index Base + n.
type Ask struct {
	Base   seq.Index
	Bitmap uint64
	Reason wire.Reason
	Both   bool // the gap is old, or the copy was bad: ask every upstream
}

// Tracker knows what came and what was asked for. Make one with New.
type Tracker struct {
	packet time.Duration

	low     seq.Index // everything below has come, or is too late
	highest seq.Index // newest index that came or is known to exist; valid if any
	any     bool
	last    seq.Index // the transmission's last packet; valid if ended
	ended   bool

	ref   seq.Index        // the schedule of arrivals: ref came, or should have come, at refAt
	refAt mediaclock.Local // and every other packet as much later as its index is higher

	late float64 // ns, mean deviation from the schedule

	dueOf seq.Index        // the deadlines: dueOf must have come by dueAt
	dueAt mediaclock.Local // and every other packet as much later as its index is higher
	due   bool

	came    mediaclock.Local // the newest arrival
	newest  seq.Index        // the highest index that came; 0 before the first
	resumed mediaclock.Local // the newest RESUME; valid if stalled
	stalled bool

	cells [window]cell
}

// cell is what is known of one index.
type cell struct {
	index seq.Index
	used  bool
	here  bool
	bad   bool // an upstream's copy has a tag that does not hold
	asked bool
	at    mediaclock.Local // of the last request
	tries uint8            // requests
	more  uint8            // copies beyond the first
}

// New returns a Tracker of a transmission whose packets hold packet of sound each. Packets below first are nobody's
// concern: they were sent before this node listened.
func New(first seq.Index, packet time.Duration) *Tracker {
	return &Tracker{packet: packet, low: first}
}

// From moves the first packet of concern back to first, if it lies above.
func (t *Tracker) From(first seq.Index) { t.low = min(t.low, first) }

// Arrived records that the packet i came and passed every check. It reports whether it had been asked for: then it
// counts as repaired.
func (t *Tracker) Arrived(i seq.Index, now mediaclock.Local) (asked bool) {
	c := t.cell(i)
	if c == nil {
		c = &t.cells[i%window] // given up already, but it may have been asked for
		return c.used && c.index == i && c.asked
	}
	if c.here {
		return c.asked
	}
	c.here = true
	t.came, t.newest = max(t.came, now), max(t.newest, i)
	if !c.asked {
		t.schedule(i, now)
	}
	t.exists(i)
	t.settle()
	return c.asked
}

// Again records one more copy of i. It reports whether the first now turns out to have come by itself: where more
// copies came than were asked for, the streamer's own was among them, and it had the start.
func (t *Tracker) Again(i seq.Index) (original bool) {
	c := &t.cells[i%window]
	if !c.used || c.index != i || !c.here || c.more == 255 {
		return false
	}
	c.more++
	return c.asked && c.more == c.tries
}

// Exists records a beacon's word that all packets up to i were sent.
func (t *Tracker) Exists(i seq.Index, now mediaclock.Local) {
	if i < t.low || i-t.low >= window {
		return
	}
	if !t.any {
		t.ref, t.refAt, t.came = i, now, now
	}
	t.exists(i)
}

// Ends records the last index of the transmission: nothing above is ever asked for.
func (t *Tracker) Ends(i seq.Index) { t.last, t.ended = i, true }

// BadTag records that i came with a signature that holds and a tag that does not: some relay's copy is altered. The
// packet is asked for at the next chance, with that reason, from every upstream.
func (t *Tracker) BadTag(i seq.Index) {
	if c := t.cell(i); c != nil && !c.here && !c.bad {
		c.bad, c.asked, c.at = true, true, 0
		c.tries++ // the bad copy is no copy
		t.exists(i)
	}
}

// Stalled reports whether the flow has dried up: nothing came for three packets and 30 ms although there is more to
// come. Then any upstream should send all from index on. It says so at most every 500 ms. What is sent again counts as
// repaired.
func (t *Tracker) Stalled(now mediaclock.Local) (from seq.Index, yes bool) {
	if !t.any || t.ended && t.highest >= t.last || now.Sub(t.came) < 3*t.packet+stall ||
		t.stalled && now.Sub(t.resumed) < stallAgain {
		return 0, false
	}
	t.resumed, t.stalled = now, true
	for i := t.low; i <= t.upper() && t.turn(i) <= now; i++ {
		if c := t.cell(i); c != nil && !c.here && !c.asked {
			c.asked, c.at, c.tries = true, now, 1
		}
	}
	return max(t.low, t.newest+1), true
}

// Due tells the deadlines: the packet i must have come by at, and each other one as much later as its index is
// higher.
func (t *Tracker) Due(i seq.Index, at mediaclock.Local) { t.dueOf, t.dueAt, t.due = i, at, true }

// Asks appends to dst what is to be asked for now; rtt is the round trip to the upstream, 0 if unknown. A packet is
// asked for when its gap is one packet and 10 ms old, then every round trip + 20 ms, as long as the answer can still
// come in time. It allocates nothing if dst has room for four.
func (t *Tracker) Asks(now mediaclock.Local, rtt time.Duration, dst []Ask) []Ask {
	if !t.any || !t.due {
		return dst
	}
	if rtt <= 0 {
		rtt = guessRTT
	}
	t.expire(now)
	room := len(dst) + maxAsks
	for i := t.low; i <= t.upper(); i++ {
		c := t.cell(i)
		if c == nil {
			break
		}
		if c.here || !t.wanted(c, i, now, rtt) {
			continue
		}
		a := Ask{Base: i, Bitmap: 1, Both: c.bad || now.Sub(t.turn(i)) >= bothAfter}
		if c.bad {
			a.Reason = wire.BadTag
		}
		n := len(dst) - 1
		if n >= 0 && dst[n].Reason == a.Reason && dst[n].Both == a.Both && i-dst[n].Base < askBits && i > dst[n].Base {
			dst[n].Bitmap |= 1 << (i - dst[n].Base)
		} else if len(dst) == room {
			break // the rest next time, some milliseconds later
		} else {
			dst = append(dst, a)
		}
		c.asked, c.at = true, now
		c.tries += min(1, 255-c.tries)
	}
	return dst
}

// wanted reports whether i, which has not come, is to be asked for now.
func (t *Tracker) wanted(c *cell, i seq.Index, now mediaclock.Local, rtt time.Duration) bool {
	if !c.asked {
		wait := t.packet + settle
		if i > t.newest {
			wait += min(maxSpread, time.Duration(spread*t.late))
		}
		return now.Sub(t.turn(i)) >= wait
	}
	if now.Add(rtt) > t.deadline(i) {
		return false
	}
	since := now.Sub(c.at)
	return c.at == 0 || since >= rtt+again || now.Add(rtt+lastCall) > t.deadline(i) && since >= rtt/2+settle
}

// upper is the highest index that may be asked for.
func (t *Tracker) upper() seq.Index {
	u := t.highest + tail
	if t.ended {
		u = min(u, t.last)
	}
	return min(u, t.low+window-1)
}

func (t *Tracker) exists(i seq.Index) {
	if !t.any || i > t.highest {
		t.highest, t.any = i, true
	}
}

// turn is when i should have come, if nothing were lost or late.
func (t *Tracker) turn(i seq.Index) mediaclock.Local { return t.refAt.Add(t.span(t.ref, i)) }

func (t *Tracker) deadline(i seq.Index) mediaclock.Local { return t.dueAt.Add(t.span(t.dueOf, i)) }

func (t *Tracker) span(from, to seq.Index) time.Duration {
	return time.Duration(int64(to)-int64(from)) * t.packet
}

// schedule moves the schedule of arrivals towards what i's arrival says.
func (t *Tracker) schedule(i seq.Index, now mediaclock.Local) {
	if !t.any {
		t.ref, t.refAt = i, now
		return
	}
	turn := t.turn(i)
	off := float64(now.Sub(turn))
	t.ref, t.refAt = i, turn.Add(time.Duration(off*smooth))
	t.late += (math.Abs(off) - t.late) * smooth
}

// expire gives up what can no longer come in time.
func (t *Tracker) expire(now mediaclock.Local) {
	for t.low <= t.highest && t.deadline(t.low) < now {
		t.low++
	}
	t.settle()
}

// settle moves low over what has come.
func (t *Tracker) settle() {
	for t.low <= t.highest && t.any {
		c := &t.cells[t.low%window]
		if !c.used || c.index != t.low || !c.here {
			return
		}
		t.low++
	}
}

// cell returns the place of i, nil if it lies outside the window.
func (t *Tracker) cell(i seq.Index) *cell {
	if i < t.low || i-t.low >= window {
		return nil
	}
	c := &t.cells[i%window]
	if !c.used || c.index != i {
		*c = cell{index: i, used: true}
	}
	return c
}
