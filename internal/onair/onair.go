// Package onair knows what is on air at a node: the transmissions whose certificates it verified, whether they came by
// control or in beacons, which media packets belong to them, and which were stopped. Relays, loudspeakers and the
// swarm share it; what a loudspeaker does with several transmissions at once is its own affair.
//
// It is pure: the time is an argument, nothing runs by itself, and what the owner must do comes back as Events. Control
// code and media code may call it from different goroutines: a media packet meets no lock that control code holds.
package onair

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"

	"dongthanh/internal/identity"
	"dongthanh/internal/mediaclock"
	"dongthanh/internal/packet"
	"dongthanh/internal/seq"
	"dongthanh/internal/signed"
)

// Bounds and times.
const (
	// BeaconAge is the age of the newest beacon beyond which a transmission is silent: five were lost in a row, or
	// somebody holds them back (DESIGN §4).
	BeaconAge = 5 * time.Second
	// DormantAge is the silence after which a node no longer counts a transmission as on air; a beacon revives it.
	DormantAge = 30 * time.Second
	// MaxSkew is how far a packet's media time may lie from network time (DESIGN §8), on nodes that have it.
	MaxSkew = 15 * time.Second
	// MaxTransmissions bounds the table. Of one that is full the oldest that is over makes room; where all are on air,
	// a further certificate is refused.
	MaxTransmissions = 256
	// maxGone bounds the memory of those that made room: more than one a second for as long as a certificate can last.
	maxGone = 16384
	// maxFences bounds the classes of issuers whose fences are remembered.
	maxFences = 256
	// tail is what a transmission stays open for after its last sample is due, for repairs still under way.
	tail = 500 * time.Millisecond
)

// Now is a moment as the node knows it.
type Now struct {
	Local   mediaclock.Local
	Network mediaclock.Instant // meaningless unless Synced
	Synced  bool
}

// Kind tells what happened.
type Kind uint8

// The events.
const (
	Opened  Kind = iota // a transmission's certificate was verified
	Ended               // its last sample is over
	Stopped             // an order ended it; for good
	Silent              // its newest beacon is older than BeaconAge: mute it
	Revived             // a beacon came after Silent or Dormant
	Dormant             // silent for DormantAge: it no longer counts as on air
	Expired             // its certificate is over; the table forgets it
)

// Event is what changed; the owner acts on it.
type Event struct {
	Kind Kind
	On   *Transmission
	Held []Datagram // Opened: media that came before the certificate, to be handed to Media now
	Stop []byte     // Stopped: the order as received, to be passed on
	By   []byte     // Stopped: DER of the issuer who signed it
}

// Datagram is a media packet that waited for its certificate.
type Datagram struct {
	Raw  []byte
	From int
}

// ErrRefused is wrapped by the errors of objects that are authentic but not accepted.
var ErrRefused = errors.New("refused")

// Transmission is one streamer's incarnation of a session, verified. Exported fields never change.
type Transmission struct {
	Cert   signed.SessionCert
	Raw    []byte           // the certificate as received
	Issuer *identity.Issuer // who signed it

	opened mediaclock.Local

	mu       sync.Mutex // guards all below; held for instructions, never while a signature is checked
	window   seq.Window
	sums     []uint64 // hash of the packet accepted at index modulo WindowSize; nil once closed
	last     seq.Index
	hasLast  bool
	closed   bool // ended, stopped or expired: media is refused
	lastAt   mediaclock.Local
	heard    mediaclock.Local // when the newest fresh packet came
	beaconAt mediaclock.Instant
	beaconed mediaclock.Local
	sent     seq.Index // Highest of the newest beacon
	hasSent  bool

	state   Kind      // Opened, Silent, Dormant, Ended or Stopped; guarded by table.mu
	stopped stopOrder // guarded by table.mu
}

// ID returns the transmission's id.
func (x *Transmission) ID() packet.TransmissionID { return x.Cert.Transmission }

// Highest returns the highest index accepted; ok is false while nothing was.
func (x *Transmission) Highest() (i seq.Index, ok bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.window.Highest()
}

// Complete reports whether every packet that was to come has come: the last one has, and none before it within the
// window is missing.
func (x *Transmission) Complete() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.hasLast {
		return false
	}
	from := seq.Index(x.Cert.Index0)
	if x.last >= seq.WindowSize {
		from = max(from, x.last-seq.WindowSize+1)
	}
	for i := from; i <= x.last; i++ {
		if x.window.Fresh(i) {
			return false
		}
	}
	return true
}

// Closed reports whether the transmission refuses media: it ended, was stopped, or its certificate is over.
func (x *Transmission) Closed() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.closed
}

// Sent returns the highest index that the streamer says it has sent, from the newest beacon.
func (x *Transmission) Sent() (i seq.Index, ok bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.sent, x.hasSent
}

// Last returns the index of the last packet; ok is false before it came.
func (x *Transmission) Last() (i seq.Index, ok bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.last, x.hasLast
}

// Table is what is on air at a node. Safe for concurrent use.
type Table struct {
	trust   *identity.Trust
	clear   bool
	opening func(*Transmission)
	seed    maphash.Seed

	bySSRC     atomic.Pointer[map[uint32]*Transmission] // published whole; a published map never changes
	rate       atomic.Int64                             // packets a second of all on air
	counts     [verdicts]atomic.Uint64
	hold       hold
	budgets    []budget // one an upstream
	badBeacons atomic.Uint64
	signed     atomic.Int64 // mediaclock.Instant: the latest time in a verified beacon

	mu      sync.Mutex // guards all below and the fields of Transmission that say so
	byID    map[packet.TransmissionID]*Transmission
	objects []objects                     // one an upstream, so that none can push out another's
	done    map[[16]byte]mediaclock.Local // objects dealt with, by the hash in beacons
	orders  []stopOrder                   // stops of transmissions not known yet, oldest first
	waiting map[[32]byte]waitingObject    // by SHA-256: objects whose issuer is not known yet
	// gone are transmissions that are over and left the table, with when they were opened: they never open again. It is
	// kept by the node's own clock for as long as a certificate can last, since network time comes from an upstream.
	gone   map[packet.TransmissionID]mediaclock.Local
	fences map[fenceKey]uint64 // the highest that was opened
}

// fenceKey is what fences are drawn for.
type fenceKey struct {
	issuer signed.ID
	class  signed.Class
}

// Options are what a Table needs.
type Options struct {
	Trust     *identity.Trust
	Upstreams int  // how many there are: `from` arguments lie below it
	Clear     bool // accept the clear profile (packets signed but not encrypted)
	// Opening is called for each transmission before any packet of it is accepted, so that whoever is to get its
	// packets is ready. It runs under the table's lock: it must not call the table. nil: nobody cares.
	Opening func(*Transmission)
}

// New returns an empty table.
func New(o Options) *Table {
	n := max(1, o.Upstreams)
	t := &Table{
		trust: o.Trust, clear: o.Clear, opening: o.Opening, seed: maphash.MakeSeed(),
		budgets: make([]budget, n),
		objects: make([]objects, n), done: map[[16]byte]mediaclock.Local{},
		byID:    map[packet.TransmissionID]*Transmission{},
		waiting: map[[32]byte]waitingObject{},
		gone:    map[packet.TransmissionID]mediaclock.Local{},
		fences:  map[fenceKey]uint64{},
	}
	t.bySSRC.Store(&map[uint32]*Transmission{})
	return t
}

// OnAir returns the transmissions that are on air: open, and not silent for long.
func (t *Table) OnAir() []*Transmission {
	t.mu.Lock()
	defer t.mu.Unlock()
	var on []*Transmission
	for _, x := range t.byID {
		if x.state == Opened || x.state == Silent {
			on = append(on, x)
		}
	}
	return on
}

// Get returns a transmission that the table knows, whatever its state; nil if there is none.
func (t *Table) Get(id packet.TransmissionID) *Transmission {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.byID[id]
}

// BySSRC returns the open transmission that carries ssrc, nil if there is none.
func (t *Table) BySSRC(ssrc uint32) *Transmission {
	x := (*t.bySSRC.Load())[ssrc]
	if x == nil || x.Closed() {
		return nil
	}
	return x
}

// Session takes a certificate and its issuer's, as a control message carries them (issuer may be empty). One that is
// known already changes nothing. Errors wrap identity's, or ErrRefused.
func (t *Table) Session(now Now, cert, issuer []byte) ([]Event, error) {
	t.mu.Lock()
	known := t.holds(cert)
	t.mu.Unlock()
	if known {
		return nil, nil
	}
	if len(issuer) > 0 {
		if err := t.trust.AddIssuer(issuer); err != nil {
			return nil, fmt.Errorf("session: %w", err)
		}
	}
	return t.session(now, cert)
}

// session verifies a certificate outside the lock and opens its transmission.
func (t *Table) session(now Now, cert []byte) ([]Event, error) {
	c, by, err := t.trust.Session(cert)
	if err != nil {
		if errors.Is(err, identity.ErrUnknownIssuer) {
			t.wait(now, waitingSession, cert)
		}
		return nil, err // it says what was verified
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.open(now, c, by, cert)
}

// holds reports whether cert is that of a transmission in the table. The caller holds mu.
func (t *Table) holds(cert []byte) bool {
	o, err := signed.Parse[signed.SessionCert](cert)
	if err != nil {
		return false
	}
	x := t.byID[o.Unverified().Transmission]
	return x != nil && string(x.Raw) == string(cert)
}

// open enters a verified certificate. The caller holds mu.
func (t *Table) open(now Now, c signed.SessionCert, by *identity.Issuer, raw []byte) ([]Event, error) {
	if x := t.byID[c.Transmission]; x != nil {
		if string(x.Raw) == string(raw) {
			return nil, nil
		}
		return nil, fmt.Errorf("%w: another certificate of transmission %x", ErrRefused, c.Transmission)
	}
	if x := t.BySSRC(c.SSRC); x != nil {
		return nil, fmt.Errorf("%w: transmission %x has the SSRC of %x", ErrRefused, c.Transmission, x.Cert.Transmission)
	}
	if _, gone := t.gone[c.Transmission]; gone {
		return nil, fmt.Errorf("%w: transmission %x is over", ErrRefused, c.Transmission)
	}
	fence := fenceKey{by.ID, c.Class}
	if mediaclock.Instant(t.signed.Load()).Time().Unix() > c.NotAfter && c.Fence <= t.fences[fence] {
		// Only somebody who turns our clock back could make this one valid. A streamer whose own clock was set back
		// draws higher fences.
		return nil, fmt.Errorf("%w: transmission %x was over before", ErrRefused, c.Transmission)
	}
	if now.Synced && now.Network.Time().Unix() > c.NotAfter {
		return nil, fmt.Errorf("%w: certificate of transmission %x is over", ErrRefused, c.Transmission)
	}
	events, ok := t.makeRoom()
	if !ok {
		return nil, fmt.Errorf("%w: %d transmissions already", ErrRefused, len(t.byID))
	}
	x := &Transmission{
		Cert: c, Raw: append([]byte(nil), raw...), Issuer: by, opened: now.Local,
		sums: make([]uint64, seq.WindowSize), beaconed: now.Local, heard: now.Local, state: Opened,
	}
	t.byID[c.Transmission] = x
	if len(t.fences) < maxFences || t.fences[fence] > 0 {
		t.fences[fence] = max(t.fences[fence], c.Fence)
	}
	if s, ok := t.ordered(x); ok {
		return append(events, t.stop(x, s)...), nil
	}
	if t.opening != nil {
		t.opening(x)
	}
	t.publish()
	return append(events, Event{Kind: Opened, On: x, Held: t.hold.take(c.SSRC)}), nil
}

// makeRoom drops from a full table the oldest transmission that was stopped or has ended, of which only the id is kept
// so that nothing revives it, or else the oldest that is dormant. A certificate outlasts a short bulletin by hours, so
// without this the bulletins of one morning would fill the table and silence the next. ok is false where all are on air.
// The caller holds mu.
func (t *Table) makeRoom() (events []Event, ok bool) {
	if len(t.byID) < MaxTransmissions {
		return nil, true
	}
	var oldest *Transmission
	finished := func(x *Transmission) bool { return x.state == Stopped || x.state == Ended }
	for _, x := range t.byID {
		if !finished(x) && x.state != Dormant || finished(x) && len(t.gone) >= maxGone {
			continue
		}
		if oldest == nil || finished(x) && !finished(oldest) || finished(x) == finished(oldest) && x.opened < oldest.opened {
			oldest = x
		}
	}
	if oldest == nil {
		return nil, false
	}
	if finished(oldest) {
		t.gone[oldest.ID()] = oldest.opened
	}
	delete(t.byID, oldest.ID())
	t.shut(oldest, Expired)
	return []Event{{Kind: Expired, On: oldest}}, true
}

// publish builds the map that media packets are looked up in, and the rate that budgets go by. The caller holds mu.
func (t *Table) publish() {
	m := make(map[uint32]*Transmission, len(t.byID))
	var rate int64
	for _, x := range t.byID {
		open := x.state == Opened || x.state == Silent || x.state == Dormant
		if open || m[x.Cert.SSRC] == nil { // what still comes of a closed one is then known for what it is
			m[x.Cert.SSRC] = x
		}
		if open {
			rate += mediaclock.Rate / int64(x.Cert.Packet)
		}
	}
	t.bySSRC.Store(&m)
	t.rate.Store(rate)
}

// shut makes x refuse media. The caller holds mu.
func (t *Table) shut(x *Transmission, state Kind) {
	x.state = state
	x.mu.Lock()
	x.closed, x.sums = true, nil
	x.mu.Unlock()
	t.publish()
}

func hashOf(b []byte) [32]byte { return sha256.Sum256(b) }
