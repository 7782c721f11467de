package onair

import (
	"crypto/sha256"
	"slices"
	"time"

	"dongthanh/internal/mediaclock"
	"dongthanh/internal/packet"
	"dongthanh/internal/wire"
)

// Bounds of objects that are being put together from fragments.
const (
	maxObjects = 32 // the oldest makes room
	objectAge  = 30 * time.Second
)

// object is one signed object whose fragments come in beacons.
type object struct {
	transmission packet.TransmissionID
	kind         wire.ObjectKind
	hash         [16]byte
	fragments    uint8
	length       uint16
	have         uint8 // bit n: fragment n came
	data         []byte
	since        mediaclock.Local
}

// objects are those under way. Guarded by Table.mu.
type objects struct{ list []*object }

// add puts a fragment in and returns the whole object once its hash holds; nil before.
func (o *objects) add(now mediaclock.Local, b wire.BeaconBody) []byte {
	at := slices.IndexFunc(o.list, func(x *object) bool {
		return x.transmission == b.Transmission && x.kind == b.Kind && x.hash == b.Hash && x.fragments == b.Fragments && x.length == b.Length
	})
	if at < 0 {
		if len(o.list) >= maxObjects {
			o.list = slices.Delete(o.list, 0, 1)
		}
		at = len(o.list)
		o.list = append(o.list, &object{
			transmission: b.Transmission, kind: b.Kind, hash: b.Hash, fragments: b.Fragments, length: b.Length,
			data: make([]byte, b.Length), since: now,
		})
	}
	x := o.list[at]
	copy(x.data[int(b.Fragment)*wire.MaxFragment:], b.Part)
	x.have |= 1 << b.Fragment
	if x.have != uint8(1<<x.fragments-1) {
		return nil
	}
	o.list = slices.Delete(o.list, at, at+1)
	if sum := sha256.Sum256(x.data); [16]byte(sum[:16]) != x.hash {
		return nil // one fragment was forged: start again
	}
	return x.data
}

// forget drops objects that never became whole.
func (o *objects) forget(now mediaclock.Local) {
	o.list = slices.DeleteFunc(o.list, func(x *object) bool { return now.Sub(x.since) > objectAge })
}

// maxDone bounds the memory of objects that were dealt with and come again every few seconds.
const maxDone = 128

// Beacon takes a beacon that came from upstream number from. x is its transmission if the beacon is signed by its key
// and newer than all before: then it may be passed on and its time believed. Otherwise x is nil. Beacons of a stopped
// transmission count too: they carry the stop to whoever has not heard of it.
//
// Beacons of transmissions not known yet are searched for the certificate, which stands on its own signature.
func (t *Table) Beacon(now Now, b wire.BeaconBody, from int) (x *Transmission, events []Event) {
	from = min(from, len(t.budgets)-1)
	t.mu.Lock()
	x = t.byID[b.Transmission]
	t.mu.Unlock()
	if x == nil {
		events = t.gather(now, b, from)
		t.mu.Lock()
		x = t.byID[b.Transmission] // this very beacon may have completed the certificate
		t.mu.Unlock()
		if x == nil {
			return nil, events
		}
	}
	if !t.newer(now, x, b, from) {
		return nil, events
	}
	events = append(events, t.revive(x)...)
	if !t.needless(x, b) {
		events = append(events, t.gather(now, b, from)...)
	}
	return x, events
}

// newer verifies a beacon of x and enters it; false for copies, older ones and forgeries.
func (t *Table) newer(now Now, x *Transmission, b wire.BeaconBody, from int) bool {
	x.mu.Lock()
	old := b.At <= x.beaconAt
	x.mu.Unlock()
	if old || !t.budgets[from].take(now.Local, t.rate.Load()) {
		return false
	}
	if !b.Verify(x.Cert.Key()) {
		t.badBeacons.Add(1)
		return false
	}
	t.budgets[from].giveBack()
	x.mu.Lock()
	defer x.mu.Unlock()
	if b.At <= x.beaconAt { // the other upstream's copy was first
		return false
	}
	x.beaconAt, x.beaconed = b.At, now.Local
	for old := t.signed.Load(); int64(b.At) > old && !t.signed.CompareAndSwap(old, int64(b.At)); old = t.signed.Load() {
	}
	if uint64(b.Highest) >= x.Cert.Index0 && (!x.hasSent || b.Highest > x.sent) {
		x.sent, x.hasSent = b.Highest, true
	}
	return true
}

// revive ends the silence of x.
func (t *Table) revive(x *Transmission) []Event {
	t.mu.Lock()
	defer t.mu.Unlock()
	if x.state != Silent && x.state != Dormant {
		return nil
	}
	x.state = Opened
	return []Event{{Kind: Revived, On: x}}
}

// needless reports whether the object in a verified beacon is known: most carry the certificate or its issuer again.
func (t *Table) needless(x *Transmission, b wire.BeaconBody) bool {
	switch b.Kind {
	case wire.ObjectSession:
		return true
	case wire.ObjectIssuer:
		return b.Hash == [16]byte(x.Issuer.ID[:16])
	}
	return false
}

// gather puts the beacon's fragment to the others of its object and acts on the object once it is whole.
func (t *Table) gather(now Now, b wire.BeaconBody, from int) []Event {
	if b.Kind != wire.ObjectSession && b.Kind != wire.ObjectIssuer && b.Kind != wire.ObjectStop {
		return nil // assertions have no use yet
	}
	t.mu.Lock()
	if _, done := t.done[b.Hash]; done {
		t.mu.Unlock()
		return nil
	}
	whole := t.objects[from].add(now.Local, b)
	t.mu.Unlock()
	if whole == nil {
		return nil
	}
	switch b.Kind {
	case wire.ObjectIssuer:
		if t.trust.AddIssuer(whole) != nil {
			return nil // not one of ours, or our clock is not set yet: it is looked at again when it comes again
		}
		t.finish(now.Local, b.Hash)
		return t.retry(now)
	case wire.ObjectStop:
		events, err := t.Stop(now, whole, nil)
		if err == nil { // one whose issuer is unknown waits, and is taken up when it comes again after that
			t.finish(now.Local, b.Hash)
		}
		return events
	}
	events, _ := t.session(now, whole)
	return events
}

// finish remembers the hash of an object that was accepted.
func (t *Table) finish(now mediaclock.Local, hash [16]byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.done) >= maxDone {
		for h, at := range t.done {
			if now.Sub(at) > objectAge || len(t.done) >= 2*maxDone {
				delete(t.done, h)
			}
		}
	}
	t.done[hash] = now
}

// BadBeacons returns how many beacons were not signed by their transmission's key.
func (t *Table) BadBeacons() uint64 { return t.badBeacons.Load() }
