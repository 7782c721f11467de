package cluster

import (
	"context"
	"time"

	"dongthanh/internal/fanout"
	"dongthanh/internal/seq"
	"dongthanh/internal/wire"
)

// publishGap is the least time between two rebuilds of the lists. A fleet that comes back at once would otherwise have
// them built anew for each of its loudspeakers.
const publishGap = 5 * time.Millisecond

// errand is something to be sent to one subscriber after it has entered the lists, so that nothing is missed between
// what is sent now and what comes by itself.
type errand struct {
	to     *downstream
	stream *stream
	resume bool      // replay the ring; otherwise the kept beacons
	from   seq.Index // the first packet wanted
}

// errand queues e; the newest is lost when there are too many. The caller holds mu.
func (h *Hub) errand(e errand) {
	if len(h.news) >= maxErrands {
		h.m.drop(dropBusy)
		return
	}
	h.news = append(h.news, e)
	h.poke()
}

// publisher builds the lists that have changed and then does the errands.
func (h *Hub) publisher(ctx context.Context) error {
	gap := time.NewTimer(0)
	defer gap.Stop()
	var buf [wire.MaxLen]byte
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-h.wake:
		}
		select {
		case <-ctx.Done():
			return nil
		case <-gap.C:
		}
		h.publish(buf[:])
		gap.Reset(publishGap)
	}
}

// lists are whom one stream goes to, as of now.
type lists struct {
	s      *stream
	active []fanout.Destination
	all    []target
}

// lists reads a stream's subscribers. The caller holds mu.
func (s *stream) lists() lists {
	s.dirty = false
	l := lists{s: s, all: make([]target, 0, len(s.subs)), active: make([]fanout.Destination, 0, len(s.subs))}
	for d := range s.subs {
		p, ok := d.flow.Path()
		if !ok {
			continue
		}
		l.all = append(l.all, target{flow: d.flow, path: p})
		if d.flow.Wants(s.ssrc) && !s.stopped.Load() {
			l.active = append(l.active, fanout.Destination{Remote: p.Remote, Local: p.Local})
		}
	}
	return l
}

// publish puts the lists in place of those before.
func (l lists) publish(engine fanout.Engine) {
	prepared := engine.Prepare(l.active)
	l.s.active.Store(&prepared)
	l.s.all.Store(&l.all)
}

// publish builds every list that is not that of its subscribers, and does the errands. Only the publisher calls it.
func (h *Hub) publish(buf []byte) {
	var changed []lists
	h.mu.Lock()
	for _, s := range h.open {
		if s.dirty {
			changed = append(changed, s.lists())
		}
	}
	errands := h.news
	h.news = nil
	h.mu.Unlock()

	engine := *h.engine.Load()
	for _, l := range changed {
		l.publish(engine)
	}
	for _, e := range errands {
		if e.resume {
			h.replay(e, buf)
		} else {
			h.greet(e, buf)
		}
	}
}

// greet sends the kept beacons of a stream to one subscriber, the oldest first, as their times must rise.
func (h *Hub) greet(e errand, buf []byte) {
	h.mu.Lock()
	kept := e.stream.beacons.inOrder()
	h.mu.Unlock()
	for _, k := range kept {
		h.tell(e.to, wire.Beacon, k.body, buf)
	}
}

// replay answers a RESUME: at most the delay's worth of what the ring holds, the newest.
func (h *Hub) replay(e errand, buf []byte) {
	h.mu.Lock()
	sub := e.stream.subs[e.to]
	path, ok := e.to.flow.Path()
	h.mu.Unlock()
	newest, any := e.stream.ring.Newest()
	if sub == nil || !ok || !any || e.from > newest || e.stream.stopped.Load() {
		return
	}
	first := e.from
	if worth := e.stream.worth(); newest-first >= worth {
		first = newest - worth + 1
	}
	now := h.clock.Now()
	for i := first; i <= newest; i++ {
		b, held := e.stream.ring.Append(buf[:0], i)
		if held && !h.again(sub, e.stream, path, b, now) {
			return
		}
	}
}
