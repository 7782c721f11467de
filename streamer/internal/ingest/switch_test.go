package ingest

import (
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// steady is a Source of one value. It starts, falls silent and breaks when it is told to.
type steady struct {
	value         float32
	started, done chan struct{}
	closed        chan struct{}
	closing       sync.Once
	quiet         atomic.Int64 // time.Duration
	fault         atomic.Pointer[error]
	held          atomic.Int64 // frames that it still gives after Close
}

func newSteady(value float32) *steady {
	return &steady{value: value, started: make(chan struct{}), done: make(chan struct{}), closed: make(chan struct{})}
}

func (s *steady) Read(frame []float32) error {
	if err := s.fault.Load(); err != nil && (*err != io.EOF || s.held.Add(-1) < 0) {
		clear(frame)
		return *err
	}
	for i := range frame {
		frame[i] = s.value
	}
	return nil
}

func (s *steady) fail(err error)           { s.fault.Store(&err) }
func (s *steady) Quiet() time.Duration     { return time.Duration(s.quiet.Load()) }
func (s *steady) Started() <-chan struct{} { return s.started }
func (s *steady) Done() <-chan struct{}    { return s.done }
func (s *steady) Close() error {
	s.closing.Do(func() {
		if s.fault.Load() == nil {
			s.held.Store(2) // as of a Microphone
			s.fail(io.EOF)
		}
		close(s.closed)
	})
	return nil
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// bench is a Switch in fake time, and what it has told.
type bench struct {
	*Switch
	t       *testing.T
	changes atomic.Int64
	frame   [frameSamples]float32
}

func inSwitch(t *testing.T, f func(t *testing.T, b *bench)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := &bench{t: t}
		b.Switch = NewSwitch(Gaps{Lost: 30 * time.Second, Left: 8 * time.Second}, func() { b.changes.Add(1) })
		defer b.Close()
		f(t, b)
	})
}

// bring attaches a source that has sound.
func (b *bench) bring(s *steady) (taken <-chan struct{}) {
	b.t.Helper()
	taken, err := b.Attach(s, false)
	if err != nil {
		b.t.Fatal(err)
	}
	close(s.started)
	synctest.Wait()
	return taken
}

// read pulls frames for so long and returns the first and the last sample of it.
func (b *bench) read(length time.Duration) (first, last float32) {
	b.t.Helper()
	for n := range int(length / (20 * time.Millisecond)) {
		if err := b.Read(b.frame[:]); err != nil {
			b.t.Fatalf("Read: %v", err)
		}
		if n == 0 {
			first = b.frame[0]
		}
		time.Sleep(20 * time.Millisecond)
	}
	synctest.Wait()
	return first, b.frame[frameSamples-1]
}

// TestSwitch: microphones follow one another without a jump in the sound, and without an end.
func TestSwitch(t *testing.T) {
	inSwitch(t, func(t *testing.T, b *bench) {
		one, two, three := newSteady(0.5), newSteady(-0.5), newSteady(0.25)
		takenOne := b.bring(one)
		if !isClosed(b.Started()) {
			t.Error("not started with the first one")
		}
		if first, last := b.read(time.Second); first > 0.01 || last != 0.5 {
			t.Errorf("the first one sounds from %v to %v, want 0 to 0.5", first, last)
		}
		one.quiet.Store(int64(2 * time.Second))
		b.read(500 * time.Millisecond)
		if p := b.Presence(); !p.Lost() || p.Until.Sub(p.LostAt) != 30*time.Second || b.changes.Load() != 1 {
			t.Errorf("when nothing comes: %+v, told %d times", p, b.changes.Load())
		}
		one.fail(errors.Join(ErrLost))
		if _, last := b.read(10 * time.Second); last != 0 || !isClosed(one.closed) || isClosed(takenOne) || isClosed(b.Done()) {
			t.Errorf("in the gap: sample %v, closed %v, taken %v, done %v", last, isClosed(one.closed), isClosed(takenOne), isClosed(b.Done()))
		}
		takenTwo := b.bring(two)
		if b.Presence().Lost() || !isClosed(takenOne) || b.changes.Load() != 2 {
			t.Errorf("with the second: %+v, the first told %v", b.Presence(), isClosed(takenOne))
		}
		if first, last := b.read(time.Second); first < -0.01 || last != -0.5 {
			t.Errorf("the second one sounds from %v to %v, want 0 to −0.5", first, last)
		}
		b.bring(three) // in the place of one that speaks
		if !isClosed(takenTwo) || !isClosed(two.closed) {
			t.Error("the second one was not told or not closed")
		}
		if _, last := b.read(time.Second); last != 0.25 {
			t.Errorf("the third one sounds as %v", last)
		}
		three.fail(io.EOF)
		if err := b.Read(b.frame[:]); err != io.EOF || !isClosed(b.Done()) {
			t.Errorf("at its end: %v, want io.EOF and Done", err)
		}
		late := newSteady(1)
		if _, err := b.Attach(late, false); !errors.Is(err, ErrClosed) && err != nil {
			t.Errorf("after the end: %v", err)
		}
	})
}

// TestSwitchCrossFades: one that takes the place of another leaves no click.
func TestSwitchCrossFades(t *testing.T) {
	inSwitch(t, func(t *testing.T, b *bench) {
		one, two := newSteady(0.5), newSteady(0.4)
		b.bring(one)
		b.read(time.Second)
		if _, err := b.Attach(two, false); err != nil {
			t.Fatal(err)
		}
		b.read(time.Second) // it connects
		last := b.frame[frameSamples-1]
		close(two.started)
		for range 3 {
			synctest.Wait()
			if err := b.Read(b.frame[:]); err != nil {
				t.Fatal(err)
			}
			for i, v := range b.frame {
				if d := v - last; d > 0.01 || d < -0.01 {
					t.Fatalf("sample %d jumps from %v to %v", i, last, v)
				}
				last = v
			}
		}
	})
}

func TestSwitchGivesUp(t *testing.T) {
	for _, c := range []struct {
		name  string
		lose  func(b *bench, s *steady)
		after time.Duration
	}{
		{"a connection that broke", func(_ *bench, s *steady) { s.fail(ErrLost) }, 30 * time.Second},
		{"a page that was closed", func(b *bench, s *steady) { b.Leave(s) }, 8 * time.Second},
		{"a page that was closed after its connection broke", func(b *bench, s *steady) {
			s.fail(ErrLost)
			b.read(time.Second)
			b.Leave(s)
		}, 9 * time.Second},
		{"a page that came back and said no word", func(b *bench, s *steady) {
			b.Leave(s)
			b.Hold()
		}, 30 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			inSwitch(t, func(t *testing.T, b *bench) {
				s := newSteady(0.5)
				b.bring(s)
				b.read(time.Second)
				began := time.Now()
				c.lose(b, s)
				var err error
				for err == nil && time.Since(began) < time.Hour {
					err = b.Read(b.frame[:])
					time.Sleep(20 * time.Millisecond)
				}
				if took := time.Since(began); !errors.Is(err, ErrLost) || took < c.after-time.Second/2 || took > c.after+time.Second/2 {
					t.Errorf("%v after %v, want ErrLost after %v", err, took, c.after)
				}
				if !isClosed(b.Done()) || !isClosed(s.closed) {
					t.Error("it is not done, or the source not closed")
				}
			})
		})
	}
}

// TestSwitchEnd: whoever ends the microphone ends all, also in the gap.
func TestSwitchEnd(t *testing.T) {
	for _, gap := range []bool{false, true} {
		inSwitch(t, func(t *testing.T, b *bench) {
			s := newSteady(0.5)
			b.bring(s)
			if gap {
				s.fail(ErrLost)
			}
			b.read(2 * time.Second)
			b.End()
			frames, err := 0, b.Read(b.frame[:])
			for ; err == nil && frames < 100; err = b.Read(b.frame[:]) {
				frames++
			}
			if err != io.EOF || !isClosed(b.Done()) || (frames > 0) == gap || frames > 2 {
				t.Errorf("gap %v: %v after %d frames, want io.EOF after those held, and Done", gap, err, frames)
			}
		})
	}
}

// TestSwitchClose: whatever is attached is closed, and nothing is left running (TestMain looks).
func TestSwitchClose(t *testing.T) {
	inSwitch(t, func(t *testing.T, b *bench) {
		speaking, connecting := newSteady(0.5), newSteady(0.5)
		b.bring(speaking)
		if _, err := b.Attach(connecting, false); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := b.Close(); err != nil {
				t.Error(err)
			}
		}
		if !isClosed(speaking.closed) || !isClosed(connecting.closed) {
			t.Error("a source was not closed")
		}
		if err := b.Read(b.frame[:]); err != io.EOF {
			t.Errorf("Read = %v, want io.EOF", err)
		}
		if _, err := b.Attach(newSteady(1), false); !errors.Is(err, ErrClosed) {
			t.Errorf("Attach = %v, want ErrClosed", err)
		}
	})
}

// TestSwitchReadAllocates: a frame's path makes no garbage.
func TestSwitchReadAllocates(t *testing.T) {
	b := &bench{t: t}
	b.Switch = NewSwitch(Gaps{Lost: time.Minute}, func() {})
	defer b.Close()
	s := newSteady(0.5)
	if _, err := b.Attach(s, false); err != nil {
		t.Fatal(err)
	}
	close(s.started)
	await(t, b.Started(), "the start")
	for range 2 { // with sound, then in the gap
		if n := testing.AllocsPerRun(100, func() { _ = b.Read(b.frame[:]) }); n != 0 {
			t.Errorf("Read allocates %v times", n)
		}
		s.fail(ErrLost)
	}
}
