package main

import (
	"fmt"
	"sync"
	"time"
)

const (
	// tolerance is how much after its time a packet may be sent and not count as late.
	tolerance = time.Millisecond
	// batch is how many packets are sent between two looks at the line.
	batch = 64
	// awake is the time until which a sender sleeps that does not sleep: no packet comes before it.
	awake = time.Duration(-1)
)

// direction moves the packets of a line: put may be called by many, run by one.
type direction struct {
	name  string
	now   func() time.Duration
	send  func(*packet) error // to the other end
	fault func(error)         // tell of an error that can come with each packet
	alarm *alarm

	mu    sync.Mutex // guards the rest
	line  *line
	until time.Duration // for which run sleeps
	ended bool
}

// put takes a packet that has come just now.
func (d *direction) put(p *packet) {
	d.mu.Lock()
	d.line.add(d.now(), p) // within the lock, so that the line's time never goes back
	wake := d.line.next() < d.until
	if wake {
		d.until = awake // one call is enough
	}
	d.mu.Unlock()
	if wake {
		d.alarm.ring()
	}
}

// refuse counts a packet that is not taken.
func (d *direction) refuse() {
	d.mu.Lock()
	d.line.counts.Refused++
	d.mu.Unlock()
}

// count returns the counts.
func (d *direction) count() counts {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.line.count()
}

// end makes run return.
func (d *direction) end() {
	d.mu.Lock()
	d.ended = true
	d.mu.Unlock()
	d.alarm.ring()
}

// run sends what is due until end is called.
func (d *direction) run() {
	release := d.alarm.hold()
	defer release()
	list := make([]*packet, 0, batch)
	for {
		d.mu.Lock()
		if d.ended { // before any is taken: what stays is counted as held
			d.mu.Unlock()
			return
		}
		now := d.now()
		clear(list)
		list = d.line.take(now, list[:0], batch)
		d.until = awake
		if len(list) == 0 {
			d.until = d.line.next()
		}
		until := d.until
		d.mu.Unlock()
		if len(list) == 0 {
			d.alarm.sleep(until, now)
			continue
		}
		var out, late, failed uint64
		for _, p := range list {
			switch err := d.send(p); {
			case err != nil:
				failed++
				d.fault(fmt.Errorf("send %s for %v: %w", d.name, p.client.addr, err))
			case d.now()-p.due > tolerance:
				late++
				fallthrough
			default:
				out++
			}
		}
		d.mu.Lock()
		d.line.counts.Out += out
		d.line.counts.Late += late
		d.line.counts.Failed += failed
		d.mu.Unlock()
	}
}
