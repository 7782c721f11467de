package ingest

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

// lookEvery is how often a Switch looks whether sound comes.
const lookEvery = 250 * time.Millisecond

// Presence tells whether a Switch has its microphone.
type Presence struct {
	LostAt time.Time // since when nothing comes; zero: sound comes, or never did yet
	Until  time.Time // when it is given up, if it is lost
}

// Lost reports whether the microphone is missing.
func (p Presence) Lost() bool { return !p.LostAt.IsZero() }

// Switch is a Source of successive microphones: when one breaks off, it is silent until another takes its place, so that
// whoever pulls from it goes on. What seat.go decides is done here.
//
// It ends with io.EOF once the speaking microphone has (which its owner has closed), and with an error that wraps
// ErrLost once none has come for too long, or if the first one fails before it has sound.
type Switch struct {
	changed func()
	begun   chan struct{}
	done    chan struct{}
	closing chan struct{}
	broke   chan struct{} // Read has met an end; holds one
	running sync.WaitGroup
	current atomic.Pointer[entry] // who is heard; nil: nobody
	over    atomic.Pointer[error] // what Read returns for good

	mu      sync.Mutex // guards what follows; Read never takes it
	seat    seat
	entries map[int]*entry
	speaker *entry // who is heard, or was last
	last    int
	closed  bool

	// The reading goroutine's own.
	reading *entry
	before  [frameSamples]float32
}

// entry is one microphone of a Switch.
type entry struct {
	Source
	id     int
	taken  chan struct{} // closed when another one has taken its place
	told   bool          // of that; under the Switch's lock
	leave  chan struct{} // closed when it is of no use any more
	broken atomic.Bool   // Read met its end
}

// quiet is how long nothing came of a microphone; 0 for a source that cannot tell.
func (e *entry) quiet() time.Duration {
	if s, ok := e.Source.(interface{ Quiet() time.Duration }); ok {
		return s.Quiet()
	}
	return 0
}

// tell lets whoever brought it know that another one has taken its place. The Switch's lock is held.
func (e *entry) tell() {
	if !e.told {
		e.told = true
		close(e.taken)
	}
}

// NewSwitch returns a Switch without a microphone. changed is called, from any goroutine and without a lock held, when
// its Presence has changed.
func NewSwitch(gaps Gaps, changed func()) *Switch {
	s := &Switch{
		changed: changed, seat: seat{gaps: gaps}, entries: map[int]*entry{},
		begun: make(chan struct{}), done: make(chan struct{}), closing: make(chan struct{}), broke: make(chan struct{}, 1),
	}
	s.running.Go(s.run)
	return s
}

// Attach adds a microphone, which takes the place of the one before once it has sound. The Switch owns src from then on,
// but not if Attach fails: with ErrTaken, if yield is set and another microphone is alive, or ErrClosed. taken is closed
// when yet another one takes its place.
func (s *Switch) Attach(src Source, yield bool) (taken <-chan struct{}, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.seat.over {
		return nil, fmt.Errorf("attach microphone: %w", ErrClosed)
	}
	useless, err := s.seat.come(time.Now(), s.last+1, yield, s.quiet())
	if err != nil {
		return nil, fmt.Errorf("attach microphone: %w", err)
	}
	s.last++
	e := &entry{Source: src, id: s.last, taken: make(chan struct{}), leave: make(chan struct{})}
	s.entries[e.id] = e
	if other := s.entries[useless]; other != nil {
		other.tell()
	}
	s.drop(useless)
	s.running.Go(func() { s.follow(e) })
	return e.taken, nil
}

// Leave says that whoever brought src has gone without ending anything.
func (s *Switch) Leave(src Source) {
	s.act(func(now time.Time) {
		if e := s.speaker; e != nil && e.Source == src { // also if its connection ended just before
			s.drop(s.seat.leave(now, e.id))
			return
		}
		for _, e := range s.entries {
			if e.Source == src {
				s.drop(s.seat.leave(now, e.id))
			}
		}
	})
}

// End says that whoever brought the speaking microphone has ended it: what it still holds is read, and that is all.
func (s *Switch) End() {
	if e := s.current.Load(); e != nil {
		_ = e.Close()
		return
	}
	s.finish(io.EOF)
}

// Hold says that whoever left is back and about to speak again.
func (s *Switch) Hold() { s.act(func(time.Time) { s.seat.hold() }) }

// Presence tells whether the microphone is there.
func (s *Switch) Presence() Presence {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.presence()
}

func (s *Switch) presence() Presence { return Presence{LostAt: s.seat.lostAt, Until: s.seat.until} }

// act lets the seat decide, does what follows for the whole, and tells of a change.
func (s *Switch) act(decide func(now time.Time)) {
	s.mu.Lock()
	before := s.presence()
	decide(time.Now())
	now, over := s.presence(), s.seat.over
	s.mu.Unlock()
	if over {
		s.finish(fmt.Errorf("read microphone: %w", ErrLost))
	}
	if now != before {
		s.changed()
	}
}

// follow is a microphone's life here.
func (s *Switch) follow(e *entry) {
	select {
	case <-e.Started():
		s.act(func(time.Time) { s.start(e) })
		<-e.leave
	case <-e.Done():
		s.act(func(time.Time) { s.drop(s.seat.fail(e.id)) })
		<-e.leave
	case <-e.leave:
	}
	_ = e.Close() // nothing is lost by a failure to let go of it
}

func (s *Switch) start(e *entry) {
	if s.entries[e.id] == nil {
		return // dropped meanwhile
	}
	useless := s.seat.start(e.id)
	if useless == e.id {
		s.drop(useless)
		return
	}
	if s.speaker != nil {
		s.speaker.tell()
	}
	s.speaker = e
	s.current.Store(e)
	s.drop(useless)
	select {
	case <-s.begun:
	default:
		close(s.begun)
	}
}

// drop lets go of a microphone; 0: of none. Read must not take its end for that of all, so that it is out of sight
// first. s.mu is held.
func (s *Switch) drop(id int) {
	e := s.entries[id]
	if e == nil {
		return
	}
	s.current.CompareAndSwap(e, nil)
	delete(s.entries, id)
	close(e.leave)
}

// quiet is how long nothing came of the speaker. s.mu is held.
func (s *Switch) quiet() time.Duration {
	if e := s.entries[s.seat.speaker]; e != nil {
		return e.quiet()
	}
	return 0
}

// run looks whether sound comes until all is over.
func (s *Switch) run() {
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	for {
		select {
		case <-s.closing:
			return
		case <-s.done:
			return
		case <-s.broke:
		case <-look.C:
		}
		s.act(func(now time.Time) {
			if e := s.current.Load(); e != nil {
				if e.broken.Load() {
					s.drop(s.seat.broken(now, e.id, e.quiet()))
				} else {
					s.seat.hear(now, e.quiet())
				}
			}
			s.seat.expire(now)
		})
	}
}

// finish ends all; the first reason counts.
func (s *Switch) finish(err error) {
	if s.over.CompareAndSwap(nil, &err) {
		close(s.done)
	}
}

// Read gives the next 20 ms of the speaking microphone, and silence while there is none. A microphone that takes the
// place of another fades in as the other fades out.
func (s *Switch) Read(frame []float32) error {
	if len(frame) != frameSamples {
		return errFrame(len(frame))
	}
	if over := s.over.Load(); over != nil {
		clear(frame)
		return *over
	}
	e := s.current.Load()
	if err := s.pull(e, frame); err != nil {
		return err
	}
	if e == s.reading {
		return nil
	}
	old := s.before[:]
	if s.reading == nil || s.reading.Read(old) != nil {
		clear(old)
	}
	for i := range frame {
		w := (float32(i) + 0.5) / frameSamples
		frame[i] = frame[i]*w + old[i]*(1-w)
	}
	s.reading = e
	return nil
}

// pull reads a frame of e, silence if it has none; an error is the end of all.
func (s *Switch) pull(e *entry, frame []float32) error {
	if e == nil {
		clear(frame)
		return nil
	}
	err := e.Read(frame)
	ended := errors.Is(err, io.EOF)
	switch {
	case err == nil:
		return nil
	case ended && s.current.Load() == e: // else it was closed because another one took its place
		s.finish(io.EOF)
		return io.EOF
	case !ended && !e.broken.Swap(true):
		select {
		case s.broke <- struct{}{}:
		default:
		}
	}
	clear(frame)
	return nil
}

// Started is closed when the first microphone has sound.
func (s *Switch) Started() <-chan struct{} { return s.begun }

// Done is closed when all is over.
func (s *Switch) Done() <-chan struct{} { return s.done }

// Close closes every microphone and waits for them. Read then returns io.EOF.
func (s *Switch) Close() error {
	s.mu.Lock()
	if !s.closed {
		s.closed = true
		close(s.closing)
		s.finish(io.EOF)
		for id := range s.entries {
			s.drop(id)
		}
	}
	s.mu.Unlock()
	s.running.Wait()
	return nil
}
