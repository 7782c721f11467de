package onair

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"dongthanh/internal/identity"
	"dongthanh/internal/mediaclock"
	"dongthanh/internal/packet"
	"dongthanh/internal/signed"
)

const (
	// maxOrders bounds the stops kept for transmissions not seen yet; the oldest goes first.
	maxOrders = 256
	// maxWaiting bounds the objects that wait for an issuer; a newer one takes the oldest's place.
	maxWaiting = 32
	// waitAge is how long an object waits for its issuer: beacons bring one within seconds.
	waitAge = time.Minute
)

// stopOrder is a verified stop of one transmission.
type stopOrder struct {
	id   packet.TransmissionID
	raw  []byte
	by   *identity.Issuer
	till mediaclock.Local
}

type waitingKind uint8

const (
	waitingSession waitingKind = iota
	waitingStop
)

// waitingObject is an object that may be authentic once its issuer is known.
type waitingObject struct {
	kind  waitingKind
	raw   []byte
	since mediaclock.Local
}

// Stop takes a signed stop and its issuer's certificate (which may be empty), by whichever way they came. It is final:
// a transmission it names never opens again. Errors wrap identity's, or ErrRefused.
func (t *Table) Stop(now Now, order, issuer []byte) ([]Event, error) {
	if len(issuer) > 0 {
		if err := t.trust.AddIssuer(issuer); err != nil {
			return nil, fmt.Errorf("stop: %w", err)
		}
	}
	s, by, err := t.trust.Stop(order)
	if err != nil {
		if errors.Is(err, identity.ErrUnknownIssuer) {
			t.wait(now, waitingStop, order)
		}
		return nil, err // it says what was verified
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.obey(now, s, by, order)
}

// obey applies a verified stop. The caller holds mu.
func (t *Table) obey(now Now, s signed.Stop, by *identity.Issuer, raw []byte) ([]Event, error) {
	var events []Event
	var faults []error
	raw = slices.Clone(raw)
	for _, id := range s.Transmissions {
		o := stopOrder{id: id, raw: raw, by: by, till: now.Local.Add(signed.MaxValidity)}
		x := t.byID[id]
		switch {
		case x == nil:
			if _, gone := t.gone[id]; !gone {
				t.remember(o)
			}
		case x.state == Stopped:
		case !by.MayStop(x.Cert):
			faults = append(faults, fmt.Errorf("%w: the stop's issuer has no say in transmission %x", ErrRefused, id))
		default:
			events = append(events, t.stop(x, o)...)
		}
	}
	return events, errors.Join(faults...)
}

// stop ends x for good. The caller holds mu.
func (t *Table) stop(x *Transmission, o stopOrder) []Event {
	x.stopped = o
	t.shut(x, Stopped)
	return []Event{{Kind: Stopped, On: x, Stop: o.raw, By: o.by.DER}}
}

// remember keeps a stop for a transmission that is not known yet. The caller holds mu.
func (t *Table) remember(o stopOrder) {
	if slices.ContainsFunc(t.orders, func(p stopOrder) bool { return p.id == o.id && p.by.ID == o.by.ID }) {
		return
	}
	if len(t.orders) >= maxOrders {
		t.orders = slices.Delete(t.orders, 0, 1)
	}
	t.orders = append(t.orders, o)
}

// ordered finds a remembered stop that counts for x. The caller holds mu.
func (t *Table) ordered(x *Transmission) (stopOrder, bool) {
	for _, o := range t.orders {
		if o.id == x.Cert.Transmission && o.by.MayStop(x.Cert) {
			return o, true
		}
	}
	return stopOrder{}, false
}

// wait keeps an object until its issuer is known.
func (t *Table) wait(now Now, kind waitingKind, raw []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	h := hashOf(raw)
	if _, ok := t.waiting[h]; ok {
		return
	}
	if len(t.waiting) >= maxWaiting {
		oldest := h
		since := now.Local
		for k, w := range t.waiting {
			if w.since <= since {
				oldest, since = k, w.since
			}
		}
		delete(t.waiting, oldest)
	}
	t.waiting[h] = waitingObject{kind, slices.Clone(raw), now.Local}
}

// retry takes up the objects that waited, after a new issuer became known.
func (t *Table) retry(now Now) []Event {
	t.mu.Lock()
	waiting := t.waiting
	t.waiting = map[[32]byte]waitingObject{}
	t.mu.Unlock()
	var events []Event
	for _, w := range waiting {
		var more []Event
		switch w.kind {
		case waitingSession:
			more, _ = t.session(now, w.raw) // a fault is that of an object nobody vouches for: it is dropped
		case waitingStop:
			more, _ = t.Stop(now, w.raw, nil)
		}
		events = append(events, more...)
	}
	return events
}

// Tick finds what time alone changes: what ended, fell silent, or expired. Call it a few times a second.
func (t *Table) Tick(now Now) []Event {
	t.counts[NoCertificate].Add(uint64(t.hold.expire(now.Local)))
	t.mu.Lock()
	defer t.mu.Unlock()
	t.orders = slices.DeleteFunc(t.orders, func(o stopOrder) bool { return now.Local > o.till })
	for h, w := range t.waiting {
		if now.Local.Sub(w.since) > waitAge {
			delete(t.waiting, h)
		}
	}
	for i := range t.objects {
		t.objects[i].forget(now.Local)
	}
	maps.DeleteFunc(t.gone, func(_ packet.TransmissionID, opened mediaclock.Local) bool {
		return now.Local.Sub(opened) > signed.MaxValidity
	})
	var events []Event
	for id, x := range t.byID {
		if over(now, x) {
			if len(t.gone) < maxGone {
				t.gone[id] = x.opened
			}
			delete(t.byID, id)
			t.shut(x, Expired)
			events = append(events, Event{Kind: Expired, On: x})
			continue
		}
		if k, ok := t.next(now, x); ok {
			events = append(events, Event{Kind: k, On: x})
		}
	}
	return events
}

// over reports whether x's certificate is over: by network time, or without it by the longest validity there is.
func over(now Now, x *Transmission) bool {
	if now.Synced {
		return now.Network.Time().Unix() > x.Cert.NotAfter
	}
	return now.Local.Sub(x.opened) > signed.MaxValidity
}

// next moves x to the state that its age asks for. The caller holds mu.
func (t *Table) next(now Now, x *Transmission) (Kind, bool) {
	if x.state == Stopped || x.state == Ended {
		return 0, false
	}
	x.mu.Lock()
	quiet, hasLast, lastAt := now.Local.Sub(x.beaconed), x.hasLast, x.lastAt
	x.mu.Unlock()
	if hasLast && now.Local.Sub(lastAt) > x.Cert.Delay()+tail {
		t.shut(x, Ended)
		return Ended, true
	}
	switch {
	case x.state == Opened && quiet > BeaconAge:
		x.state = Silent
	case x.state == Silent && quiet > DormantAge:
		x.state = Dormant
		t.publish()
	default:
		return 0, false
	}
	return x.state, true
}
