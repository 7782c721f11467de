package cluster

import (
	"bytes"
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	"dongthanh/internal/control"
	"dongthanh/internal/mediaclock"
	"dongthanh/internal/packet"
	"dongthanh/internal/seq"
	"dongthanh/internal/signed"
	"dongthanh/internal/wire"
)

const (
	stopTimes = 10                     // datagrams of a stop to each subscriber …
	stopGap   = 100 * time.Millisecond // … within a second
	// stopLinger is how long a stopped transmission's beacons are still passed on: they carry the stop too.
	stopLinger = 10 * time.Second
	// stopMemory is how long a stop is remembered, so that its transmissions stay closed: as long as any of their
	// certificates can last.
	stopMemory = signed.MaxValidity

	maxBeacons = 64              // kept of one transmission: two or three fragments each of a handful of objects
	beaconAge  = 2 * time.Minute // older than the newest by this: the streamer sends that object no longer
)

// letter is a beacon to pass on; without a body it only makes the courier look at the stops.
type letter struct {
	transmission packet.TransmissionID
	key          beaconKey
	at           mediaclock.Instant
	highest      seq.Index
	body         []byte
}

// Beacon keeps a verified beacon for newcomers and passes its body on, under each flow's own tag, to active and
// standby subscribers. It keeps nothing of b or body and never waits.
func (h *Hub) Beacon(b wire.BeaconBody, body []byte) {
	h.post(letter{
		transmission: b.Transmission, key: beaconKey{b.Kind, b.Hash, b.Fragment},
		at: b.At, highest: b.Highest, body: bytes.Clone(body),
	})
}

// post queues a letter; the newest is lost when there are too many, and a beacon comes again.
func (h *Hub) post(l letter) {
	select {
	case h.letters <- l:
	default:
		h.m.drop(dropBusy)
	}
}

// courier passes beacons on and repeats stops. It is not the media's goroutine, since a tag for each of ten thousand
// subscribers takes longer than a packet may wait.
func (h *Hub) courier(ctx context.Context) error {
	again := time.NewTimer(time.Hour)
	defer again.Stop()
	var buf [wire.MaxLen]byte
	for {
		select {
		case <-ctx.Done():
			return nil
		case l := <-h.letters:
			if l.body != nil {
				h.carry(l, buf[:])
			}
		case <-again.C:
		}
		again.Reset(h.repeatStops(buf[:]))
	}
}

// carry keeps a beacon and passes it on.
func (h *Hub) carry(l letter, buf []byte) {
	if l.highest == seq.MaxIndex { // one below index 0: nothing was sent yet
		l.highest = 0
	}
	h.mu.Lock()
	s := h.open[l.transmission]
	fresh := s != nil && s.beacons.keep(l)
	h.mu.Unlock()
	if !fresh {
		return
	}
	h.broadcast(*s.all.Load(), wire.Beacon, l.body, buf)
}

// broadcast sends one body to many, each under its own flow's tag.
func (h *Hub) broadcast(to []target, t wire.Type, body, buf []byte) {
	for _, x := range to {
		h.write(x.flow.Append(buf[:0], t, body), x.path)
	}
}

// beacons are the newest beacons of one transmission, by object and fragment.
type beacons struct {
	kept    map[beaconKey]letter
	newest  mediaclock.Instant
	highest seq.Index // newest media packet that the streamer has sent, as far as it has said
}

type beaconKey struct {
	kind     wire.ObjectKind
	hash     [16]byte
	fragment uint8
}

// keep takes a beacon in and reports whether it is newer than what is held of the same fragment.
func (k *beacons) keep(l letter) bool {
	if old, held := k.kept[l.key]; held && l.at <= old.at {
		return false
	}
	if k.kept == nil {
		k.kept = map[beaconKey]letter{}
	}
	k.newest, k.highest = max(k.newest, l.at), max(k.highest, l.highest)
	k.kept[l.key] = l
	maps.DeleteFunc(k.kept, func(_ beaconKey, x letter) bool { return k.newest.Sub(x.at) > beaconAge })
	for len(k.kept) > maxBeacons {
		delete(k.kept, k.oldest())
	}
	return true
}

func (k *beacons) oldest() (key beaconKey) {
	var at mediaclock.Instant
	for x, l := range k.kept {
		if at == 0 || l.at < at {
			key, at = x, l.at
		}
	}
	return key
}

// inOrder returns what is kept, the oldest first.
func (k *beacons) inOrder() []letter {
	return slices.SortedFunc(maps.Values(k.kept), func(a, b letter) int { return cmp.Compare(a.at, b.at) })
}

// order is a stop that is remembered, and repeated at first.
type order struct {
	transmissions [][16]byte
	raw           []byte
	say           *control.Frame
	at            mediaclock.Local
	left          int // datagrams still to be sent
	next          mediaclock.Local
	to            map[*downstream]bool // subscribers when it came; nil once all datagrams are sent
	everyone      bool                 // a transmission is not known here: whoever may hear it
}

// Stop passes a verified stop on: by control to all, and ten times in a second as a datagram to the subscribers of
// its transmissions, whose media ends at once. Their beacons, which may carry the stop too, end ten seconds later.
// A stop of which everything is known already changes nothing.
func (h *Hub) Stop(raw []byte, s signed.Stop, issuer []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !slices.ContainsFunc(s.Transmissions, func(id [16]byte) bool { return !h.wasStopped(id) }) {
		return
	}
	now := h.clock.Now()
	o := &order{
		transmissions: slices.Clone(s.Transmissions),
		raw:           bytes.Clone(raw),
		say:           h.frame(control.Message{Stop: &control.Stop{Order: raw, Issuer: issuer}}),
		at:            now, left: stopTimes, next: now, to: map[*downstream]bool{},
	}
	for _, id := range s.Transmissions {
		x := h.open[id]
		if x == nil {
			o.everyone = true
			continue
		}
		x.stopped.Store(true)
		h.touch(x)
		for d := range x.subs {
			o.to[d] = true
		}
	}
	if len(o.raw) > wire.MaxBody {
		o.left = 0 // too long for a datagram; control and beacons have it
	}
	if len(h.stops) >= maxStops {
		h.stops = h.stops[1:] // the oldest: its transmissions are the likeliest to be over
	}
	h.stops = append(h.stops, o)
	for _, d := range h.live {
		h.send(d, o.say)
	}
	h.post(letter{}) // if the queue is full, the courier comes to the stops by itself
}

// wasStopped reports whether id was stopped. The caller holds mu.
func (h *Hub) wasStopped(id packet.TransmissionID) bool {
	return slices.ContainsFunc(h.stops, func(o *order) bool { return slices.Contains(o.transmissions, [16]byte(id)) })
}

// sendStops tells a node that joins what was stopped while it was away. The caller holds mu.
func (h *Hub) sendStops(d *downstream, now mediaclock.Local) {
	recent := h.stops[max(0, len(h.stops)-stopsOnJoin):]
	for _, o := range recent {
		if now.Sub(o.at) < stopAgeOnce {
			h.send(d, o.say)
		}
	}
}

// repeatStops sends the stops that are due and returns when to look again.
func (h *Hub) repeatStops(buf []byte) time.Duration {
	type due struct {
		body []byte
		to   []target
	}
	var all []due
	var over []packet.TransmissionID
	wait := time.Hour
	h.mu.Lock()
	now := h.clock.Now()
	h.stops = slices.DeleteFunc(h.stops, func(o *order) bool { return now.Sub(o.at) > stopMemory })
	for _, o := range h.stops {
		if o.left > 0 && o.next <= now {
			all = append(all, due{o.raw, h.hearers(o)})
			o.left--
			o.next = o.next.Add(stopGap)
		}
		if o.left > 0 {
			wait = min(wait, o.next.Sub(now))
			continue
		}
		o.to = nil
		if end := o.at.Add(stopLinger); end > now {
			wait = min(wait, end.Sub(now))
		} else {
			for _, id := range o.transmissions {
				if h.open[id] != nil {
					over = append(over, id)
				}
			}
		}
	}
	h.mu.Unlock()
	for _, d := range all {
		h.broadcast(d.to, wire.Stop, d.body, buf)
	}
	for _, id := range over {
		h.Close(id)
	}
	return wait
}

// hearers returns where a stop goes now: to the subscribers that its transmissions had when it came, or to everyone.
// Who joins later hears of it by control. The caller holds mu.
func (h *Hub) hearers(o *order) (to []target) {
	add := func(d *downstream) {
		if path, ok := d.flow.Path(); ok {
			to = append(to, target{d.flow, path})
		}
	}
	for d := range h.downstreams() {
		if o.everyone || o.to[d] {
			add(d)
		}
	}
	return to
}
