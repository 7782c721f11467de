package logging

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// window is how often a Dumper speaks at most (STYLE rule 8: once a second).
const window = time.Second

// Dumper takes errors that may come once a packet and logs at most one line a second, with how
// many came and the last one, so that a flood of bad datagrams cannot become a flood of log lines.
//
// The first error is logged at once; those that follow within a second are counted and reported
// when the second is over. The line is written on a timer's goroutine, never on the caller's: a
// log that blocks cannot hold up a packet. Between errors nothing runs.
type Dumper struct {
	log  *slog.Logger
	what string
	now  func() time.Time

	writing sync.Mutex // held while a line is written; taken before mu

	mu    sync.Mutex // guards all below; never held while writing
	timer *time.Timer
	armed bool      // the timer runs and will report what is counted
	next  time.Time // before this no line may be written
	count uint64    // errors since the last line
	last  error
	total uint64
	ended bool
}

// NewDumper returns a Dumper that logs to log, at level warn, with what as the message (such as
// "datagrams refused") and the attributes count and last. now is the clock, time.Now outside tests.
// The owner calls Stop when no more errors can come.
func NewDumper(log *slog.Logger, what string, now func() time.Time) *Dumper {
	return &Dumper{log: log, what: what, now: now}
}

// Add counts err and keeps it until the next line; err must not change meanwhile. It costs a lock
// that is held for a few instructions, never waits for the log, and allocates only at its first
// call. Any goroutine may call it. A nil err is ignored; after Stop an error is only counted.
func (d *Dumper) Add(err error) {
	if err == nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.total++
	if d.ended {
		return
	}
	d.count++
	d.last = err
	if d.armed {
		return
	}
	d.armed = true
	wait := max(0, d.next.Sub(d.now()))
	if d.timer == nil {
		d.timer = time.AfterFunc(wait, d.tick)
	} else {
		d.timer.Reset(wait)
	}
}

// Total returns how many errors were added since the start.
func (d *Dumper) Total() uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.total
}

// Stop reports what the last window held, if anything, and waits for a line being written. Nothing
// is logged after it returns. It may be called twice.
func (d *Dumper) Stop() {
	d.writing.Lock()
	defer d.writing.Unlock()
	d.mu.Lock()
	if d.timer != nil {
		d.timer.Stop() // a tick that is already under way finds nothing to report
	}
	d.ended = true
	count, last := d.take()
	d.mu.Unlock()
	d.write(count, last)
}

// tick ends a window.
func (d *Dumper) tick() {
	d.writing.Lock()
	defer d.writing.Unlock()
	d.mu.Lock()
	d.armed = false
	d.next = d.now().Add(window)
	count, last := d.take()
	d.mu.Unlock()
	d.write(count, last)
}

// take returns what was counted and begins anew. The caller holds mu.
func (d *Dumper) take() (count uint64, last error) {
	count, last = d.count, d.last
	d.count, d.last = 0, nil
	return count, last
}

// write logs one line. The caller holds writing, and not mu.
func (d *Dumper) write(count uint64, last error) {
	if count == 0 {
		return
	}
	d.log.LogAttrs(context.Background(), slog.LevelWarn, d.what,
		slog.Uint64("count", count), slog.String("last", last.Error()))
}
