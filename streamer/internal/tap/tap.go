// Package tap hands the Opus packets of a session on air to those in the streamer that take a copy: the recording, and
// officials who listen in the page. It is the whole difference between them and the loudspeakers that whoever is slow here
// loses packets, and never holds up the sound.
//
// The transmission's goroutine pushes; each reader has one goroutine and one queue. It knows nothing of networks, files or
// rights.
package tap

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"

	"dongthanh/codec"
)

// Packet is one Opus packet (RFC 6716). Its samples are counted per channel at 48 kHz.
type Packet struct {
	Sample  int64  // of the encoder, at which it begins; 0 is the first of the session
	Samples int    // that it lasts
	Data    []byte // the reader's own until its next call of Next
}

// Tap is the fan-out of one session. Make it with New.
type Tap struct {
	readers atomic.Pointer[[]*Queue] // a published list never changes

	mu    sync.Mutex // guards the making of lists, and ended
	ended bool
}

// New returns a tap that nobody reads.
func New() *Tap {
	t := &Tap{}
	t.readers.Store(&[]*Queue{})
	return t
}

// Push hands a packet to every reader; p.Data stays the caller's. It is for one goroutine, never blocks, never allocates
// and takes no lock. A reader whose queue is full loses this packet, the newest, and keeps its place.
func (t *Tap) Push(p Packet) {
	for _, q := range *t.readers.Load() {
		q.push(p)
	}
}

// Join adds a reader whose queue holds so many packets. After End its queue is empty and ended.
func (t *Tap) Join(packets int) *Queue {
	q := &Queue{tap: t, ring: make([]slot, packets), wake: make(chan struct{}, 1), end: make(chan struct{})}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ended {
		close(q.end)
		return q
	}
	list := append(slices.Clone(*t.readers.Load()), q)
	t.readers.Store(&list)
	return q
}

// End tells every reader that no packet follows; it comes after the last Push. It may be called twice.
func (t *Tap) End() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ended {
		return
	}
	t.ended = true
	for _, q := range *t.readers.Load() {
		close(q.end)
	}
	t.readers.Store(&[]*Queue{})
}

// Queue is one reader's: a ring between the goroutine that pushes and the one that reads.
type Queue struct {
	tap  *Tap
	ring []slot
	// put counts packets that were put in, got those that were taken out: each is moved by one side only, after the slot
	// that it stands for was written or read.
	put, got atomic.Uint64
	lost     atomic.Uint64
	wake     chan struct{} // holds one
	end      chan struct{} // closed with the last packet
}

type slot struct {
	sample  int64
	samples int
	size    int
	data    [codec.MaxPacketBytes]byte
}

func (q *Queue) push(p Packet) {
	put := q.put.Load()
	if put-q.got.Load() == uint64(len(q.ring)) || len(p.Data) > codec.MaxPacketBytes {
		q.lost.Add(1)
		return
	}
	s := &q.ring[put%uint64(len(q.ring))]
	s.sample, s.samples, s.size = p.Sample, p.Samples, copy(s.data[:], p.Data)
	q.put.Store(put + 1)
	select {
	case q.wake <- struct{}{}:
	default: // it has not looked since the last one
	}
}

// Next waits for the next packet and copies it into p, whose Data it uses again. false: no packet follows, or ctx has
// ended.
func (q *Queue) Next(ctx context.Context, p *Packet) bool {
	for !q.Try(p) {
		select {
		case <-q.wake:
		case <-ctx.Done():
			return false
		case <-q.end:
			return q.Try(p) // it may have come just before the end
		}
	}
	return true
}

// Try is Next without the waiting; false: nothing is there now.
func (q *Queue) Try(p *Packet) bool {
	got := q.got.Load()
	if got == q.put.Load() {
		return false
	}
	s := &q.ring[got%uint64(len(q.ring))]
	p.Sample, p.Samples, p.Data = s.sample, s.samples, append(p.Data[:0], s.data[:s.size]...)
	q.got.Store(got + 1)
	return true
}

// Waiting is how many packets are in the queue.
func (q *Queue) Waiting() int { return int(q.put.Load() - q.got.Load()) } // #nosec G115 -- at most len(ring)

// Lost is how many packets found the queue full.
func (q *Queue) Lost() uint64 { return q.lost.Load() }

// Ended is closed once no packet follows those that wait.
func (q *Queue) Ended() <-chan struct{} { return q.end }

// Leave takes the reader off the tap; its goroutine is the one to call it, once.
func (q *Queue) Leave() {
	t := q.tap
	t.mu.Lock()
	defer t.mu.Unlock()
	list := slices.DeleteFunc(slices.Clone(*t.readers.Load()), func(x *Queue) bool { return x == q })
	t.readers.Store(&list)
}
