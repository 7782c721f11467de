package main

import (
	"container/heap"
	"math/rand/v2"
	"time"
)

// model is what a line does to packets. Shares are 0 to 1.
type model struct {
	loss               float64
	burst              time.Duration // mean bad period; 0 loses each packet by itself
	delay, jitter      time.Duration // jitter is the mean of an exponential
	reorder            bool
	rate               float64       // bits/s; 0 is no limit
	queue              time.Duration // what waits for the rate at most, in time of the line
	duplicate, corrupt float64
	holes              []hole
}

// hole is a time in which nothing passes.
type hole struct{ at, length, every time.Duration } // every 0: once

// dark reports whether now lies in the hole.
func (h hole) dark(now time.Duration) bool {
	since := now - h.at
	if since >= 0 && h.every > 0 {
		since %= h.every
	}
	return since >= 0 && since < h.length
}

const (
	// headers are those of IPv4 and UDP, which take room on a line too.
	headers = 28
	// bucket is the depth of the token bucket, in time of the line: a common shaper lets a few
	// packets pass at once (taste).
	bucket = 10 * time.Millisecond
	// maxHeld bounds the bytes on a line; the newest packet is refused. That is 64 Mbit/s for 8 s.
	maxHeld = 64 << 20
	// overhead is about what a held packet takes besides its bytes.
	overhead = 128
)

// packet is one datagram on its way.
type packet struct {
	data   []byte
	client *client // whose it is, to or from

	came   time.Duration // at the line
	jitter time.Duration
	due    time.Duration // at the other end
	number uint64        // in the order of departure
}

// counts are of one direction, since the start. in + duplicated = out + lost + blackholed + dropped
// + failed + held.
type counts struct {
	In         uint64 `json:"in"`
	Out        uint64 `json:"out"`
	Lost       uint64 `json:"lost"`       // by --loss
	Blackholed uint64 `json:"blackholed"` // by --blackhole
	Dropped    uint64 `json:"dropped"`    // the oldest beyond --queue, or the newest beyond 64 MiB
	Failed     uint64 `json:"failed"`     // refused by the system: nobody listens
	Refused    uint64 `json:"refused"`    // never came in: a client too many, or longer than 4 KiB
	Late       uint64 `json:"late"`       // of out, sent more than 1 ms after their time
	Duplicated uint64 `json:"duplicated"`
	Corrupted  uint64 `json:"corrupted"`
	Held       int    `json:"held"` // now on the line
}

// line is one direction. It is pure: times are handed in, since the start, and never go back. The
// fate of a packet depends on the seed, on the times and on how many came before, on nothing else.
type line struct {
	model
	losses                       *rand.Rand
	bursts                       *bursts // nil without --burst
	jitters, copies, corruptions *rand.Rand

	waiting      []*packet // for the rate, in order
	waitingBytes int       // with headers
	full         time.Duration
	travelling   travelling // departed
	lastDue      time.Duration
	departed     uint64
	held         int // bytes with overhead, waiting and travelling
	counts       counts
}

// newLine returns the line called name ("up", "down") of a seed.
func newLine(m model, seed uint64, name string) *line {
	l := &line{
		model: m, losses: stream(seed, name+" loss"), jitters: stream(seed, name+" jitter"),
		copies: stream(seed, name+" dup"), corruptions: stream(seed, name+" corrupt"),
	}
	if m.burst > 0 {
		l.bursts = newBursts(stream(seed, name+" burst"), m.loss, m.burst)
	}
	return l
}

// add takes a packet that comes at now, and owns it.
func (l *line) add(now time.Duration, p *packet) {
	l.depart(now)
	l.counts.In++
	// All is drawn for each packet, so that its fate does not hang on that of earlier ones.
	lost := l.losses.Float64() < l.loss
	if l.bursts != nil {
		lost = l.bursts.at(now)
	}
	p.came, p.jitter = now, exponential(l.jitters, float64(l.jitter))
	twice := l.copies.Float64() < l.duplicate
	flip, bit := l.corruptions.Float64() < l.corrupt, l.corruptions.Uint64()
	for _, h := range l.holes {
		if h.dark(now) {
			l.counts.Blackholed++
			return
		}
	}
	if lost {
		l.counts.Lost++
		return
	}
	if flip && len(p.data) > 0 {
		bit %= uint64(len(p.data)) * 8
		p.data[bit/8] ^= 1 << (bit % 8)
		l.counts.Corrupted++
	}
	l.enter(p)
	if twice {
		again := *p // the bytes are shared: none changes from here on
		l.counts.Duplicated++
		l.enter(&again)
	}
}

// enter puts p at the end of what waits, or on its way if nothing limits the rate.
func (l *line) enter(p *packet) {
	if l.held+p.size() > maxHeld {
		l.counts.Dropped++
		return
	}
	l.held += p.size()
	if l.rate == 0 {
		l.travel(p, p.came)
		return
	}
	l.waiting = append(l.waiting, p)
	l.waitingBytes += len(p.data) + headers
	l.depart(p.came)
	limit := int(l.rate * l.queue.Seconds() / 8)
	for len(l.waiting) > 1 && l.waitingBytes > limit {
		l.held -= l.pull().size() // the oldest: the nearest to being of no use
		l.counts.Dropped++
	}
}

// pull removes the oldest that waits.
func (l *line) pull() *packet {
	p := l.waiting[0]
	l.waiting[0] = nil
	l.waiting = l.waiting[1:]
	l.waitingBytes -= len(p.data) + headers
	return p
}

// departure returns when the first that waits departs: when the bucket holds a token.
func (l *line) departure() time.Duration {
	if len(l.waiting) == 0 {
		return never
	}
	return max(l.waiting[0].came, l.full-bucket)
}

// depart sends on their way all that depart until now. full is when the bucket would be full again.
func (l *line) depart(now time.Duration) {
	for {
		at := l.departure()
		if at > now {
			return
		}
		p := l.pull()
		cost := float64((len(p.data)+headers)*8) / l.rate
		l.full = max(l.full, at) + time.Duration(cost*float64(time.Second))
		l.travel(p, at)
	}
}

// travel sends p on its way at a time.
func (l *line) travel(p *packet, at time.Duration) {
	p.due = at + l.delay + p.jitter
	if !l.reorder {
		p.due = max(p.due, l.lastDue)
		l.lastDue = p.due
	}
	p.number = l.departed
	l.departed++
	heap.Push(&l.travelling, p)
}

// next returns when take has something to do; never if nothing is on the line.
func (l *line) next() time.Duration {
	next := l.departure()
	if len(l.travelling) > 0 {
		next = min(next, l.travelling[0].due)
	}
	return next
}

// take appends to list what arrives until now, at most limit packets, in order of arrival. They are
// the caller's, who counts them; their bytes are to be read only.
func (l *line) take(now time.Duration, list []*packet, limit int) []*packet {
	l.depart(now)
	for ; limit > 0 && len(l.travelling) > 0 && l.travelling[0].due <= now; limit-- {
		p := heap.Pop(&l.travelling).(*packet)
		l.held -= p.size()
		list = append(list, p)
	}
	return list
}

// count returns the counts.
func (l *line) count() counts {
	c := l.counts
	c.Held = len(l.waiting) + len(l.travelling)
	return c
}

// size returns about what p takes in memory.
func (p *packet) size() int { return len(p.data) + overhead }

// travelling is a heap by due time, then by departure.
type travelling []*packet

func (t travelling) Len() int { return len(t) }
func (t travelling) Less(i, j int) bool {
	if t[i].due != t[j].due {
		return t[i].due < t[j].due
	}
	return t[i].number < t[j].number
}
func (t travelling) Swap(i, j int) { t[i], t[j] = t[j], t[i] }

// Push is for package heap.
func (t *travelling) Push(x any) { *t = append(*t, x.(*packet)) }

// Pop is for package heap.
func (t *travelling) Pop() any {
	last := len(*t) - 1
	p := (*t)[last]
	(*t)[last] = nil
	*t = (*t)[:last]
	return p
}
