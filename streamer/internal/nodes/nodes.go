// Package nodes is the streamer's picture of every relay and loudspeaker: enrolled or not, connected where, hearing
// what. The fan-out feeds it what it sees, loudspeakers' own signed reports what they hear. All of it but the
// enrolment is soft: it is rebuilt within seconds from what nodes say again.
package nodes

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"dongthanh/internal/control"
	"dongthanh/internal/mediaclock"
	"dongthanh/internal/signed"
	"dongthanh/internal/wire"
	"dongthanh/internal/zone"
	"dongthanh/streamer/internal/store"
)

// State of a node as people see it: mất kết nối, trực tuyến, đang phát.
type State string

// The states of a node.
const (
	Offline State = "offline"
	Online  State = "online"
	Playing State = "playing"
)

// Node is an enrolled node with what is known of it now.
type Node struct {
	store.Node
	State      State
	Upstream   string    // the node it listens to; empty: none
	Standby    []string  // nodes that stand by for it
	Since      time.Time // connected since; offline: not connected since, zero if it never was
	Address    string
	Version    string
	Session    string // the session it is hearing
	Report     signed.Report
	ReportedAt time.Time // zero: it has not reported
	Applied    *int32    // the volume that it says it plays at, in hundredths of a decibel; nil: it has not said
}

// Listeners of a session: ids of loudspeakers. Expected counts Hearing and Missing.
type Listeners struct {
	Expected         int
	Hearing, Missing []string
	Silent           map[string]time.Time // of Missing: since when it hears nothing of it; none: since the beginning
}

// Enroller issues certificates, and the envelopes with the zone secrets a node may hold.
type Enroller interface {
	Enrol(ctx context.Context, r control.EnrolRequest) (*control.EnrolResponse, error)
	ZoneKeys(ctx context.Context, node string) (envelopes [][]byte, issuer []byte, err error)
	Order(o signed.Order, z zone.Zone) (raw, issuer []byte, err error)
	Certificate(ctx context.Context, node string) (chain [][]byte, err error)
}

// Options are what a Picture needs; all are required.
type Options struct {
	Enrolled  func(context.Context) ([]store.Node, error) // every node on record
	SetVolume func(ctx context.Context, node string, volume int32) error
	NoteSeen  func(context.Context, map[string]time.Time) error
	Enroller  Enroller
	Deliver   func(control.Keys) bool        // to the fan-out
	Order     func(control.Order) bool       // to the fan-out
	Certify   func(control.Certificate) bool // to the fan-out
	Now       func() mediaclock.Instant
	Log       *slog.Logger
}

// Picture is the picture. It is cluster.Upward to the streamer's own fan-out and session.Audience to the sessions.
type Picture struct {
	Options
	wake  chan struct{} // holds one: nodes are to be handed something
	stale chan struct{} // holds one: the record has changed

	mu      sync.Mutex // guards what follows
	table   *table
	waiting map[string]due       // enrolled and connected, and to be handed something
	ordered map[string]ordered   // the last order to each loudspeaker
	dirty   map[string]time.Time // when nodes were seen last, not on record yet
	changed chan struct{}        // closed and replaced at each change
}

// New reads the nodes on record.
func New(ctx context.Context, o Options) (*Picture, error) {
	p := &Picture{
		Options: o, table: newTable(), changed: make(chan struct{}),
		waiting: map[string]due{}, ordered: map[string]ordered{}, dirty: map[string]time.Time{},
		wake: make(chan struct{}, 1), stale: make(chan struct{}, 1),
	}
	return p, p.reload(ctx)
}

// Reload has the nodes on record read again soon, after one was enrolled, moved or revoked: once for many at a time.
func (p *Picture) Reload() { poke(p.stale) }

// Refresh reads the nodes on record now.
func (p *Picture) Refresh(ctx context.Context) error { return p.reload(ctx) }

// poke puts a sign into a channel that holds one, unless there is one.
func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func (p *Picture) reload(ctx context.Context) error {
	list, err := p.Enrolled(ctx)
	if err != nil {
		return fmt.Errorf("read nodes: %w", err)
	}
	p.update(func(t *table) bool {
		appeared, turned := t.enrol(list)
		p.queue(appeared, dueKeys|dueVolume|dueCertificate)
		p.queue(turned, dueVolume)
		return true
	})
	return nil
}

// due is what a node is to be handed, one bit each.
type due uint8

const (
	dueKeys        due = 1 << iota // zone keys
	dueVolume                      // an order with the volume that is wished
	dueCertificate                 // the one on record, if it shows another
)

// queue has nodes handed what is due; mu is held. Relays carry envelopes and orders, and have none of their own.
func (p *Picture) queue(ids []string, d due) {
	for _, id := range ids {
		d, n := d, p.table.enrolled[id]
		if n.Kind != store.NodeClient {
			d &= dueCertificate
		}
		if p.table.shows(id) == n.Serial {
			d &^= dueCertificate
		}
		if d != 0 {
			p.waiting[id] |= d
			poke(p.wake)
		}
	}
}

// handAgain is the pause after something could not be handed out: the database is at fault, and asking faster heals
// nothing.
const handAgain = 5 * time.Second

// Run hands out zone keys and volumes and ends leases until ctx ends. The two are apart, since a database that hangs must
// not make the count of who hears lie.
func (p *Picture) Run(ctx context.Context) error {
	var records sync.WaitGroup
	defer records.Wait()
	records.Go(func() { p.keepRecords(ctx) })
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-tick.C:
			p.update(func(t *table) bool { return t.expire(now) })
		}
	}
}

// keepRecords does what needs the database: it reads the nodes anew, hands out what is due and notes who was seen, until
// ctx ends.
func (p *Picture) keepRecords(ctx context.Context) {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	defer p.lastSeen(ctx)
	var pause time.Time // until then nothing is handed out
	noted, all := time.Now(), time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			select {
			case <-p.stale:
				if err := p.reload(ctx); err != nil {
					p.Log.Error("nodes", "error", err)
					p.Reload()
				}
			default:
			}
			if now.After(pause) {
				poke(p.wake)
			}
			if now.Sub(noted) >= noteEvery {
				whole := now.Sub(all) >= noteAllEvery
				p.note(ctx, now, whole)
				if noted = now; whole {
					all = now
				}
			}
		case <-p.wake: // one at a time, so that ticks are not late
			switch more, err := p.hand(ctx); {
			case ctx.Err() != nil:
			case err != nil:
				p.Log.Error("hand out zone keys and volumes", "error", err)
				pause = time.Now().Add(handAgain)
			case more && time.Now().After(pause):
				poke(p.wake)
			}
		}
	}
}

// hand gives one node what is due to it. It reports whether another one may be waiting.
func (p *Picture) hand(ctx context.Context) (more bool, err error) {
	id, d := p.takeWaiting()
	if id == "" {
		return false, nil
	}
	if d&dueVolume != 0 {
		if err := p.orderVolume(id); err != nil {
			p.Log.Error("order volume", "node", id, "error", err) // the issuer refuses, and would again
		}
	}
	d &^= dueVolume
	for _, x := range []struct {
		due  due
		hand func(context.Context, string) error
	}{{dueCertificate, p.handCertificate}, {dueKeys, p.handKeys}} { // in this order: keys of a new zone need its certificate
		if d&x.due == 0 {
			continue
		}
		err := x.hand(ctx, id)
		if errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrRevoked) {
			return true, nil // it was enrolled a moment ago, and no longer is
		}
		if err != nil {
			p.update(func(*table) bool { p.waiting[id] |= d; return false })
			return true, fmt.Errorf("node %s: %w", id, err)
		}
		d &^= x.due
	}
	return true, nil
}

// handCertificate sends a node the certificate on record. The node comes anew with it; one that has it already, or is of
// an earlier version, does nothing.
func (p *Picture) handCertificate(ctx context.Context, id string) error {
	chain, err := p.Enroller.Certificate(ctx, id)
	if err == nil {
		p.Certify(control.Certificate{Node: id, Chain: chain})
	}
	return err
}

// handKeys seals to a node the secrets of its zone and of each zone above.
func (p *Picture) handKeys(ctx context.Context, id string) error {
	envelopes, issuer, err := p.Enroller.ZoneKeys(ctx, id)
	if err != nil {
		return err
	}
	p.Deliver(control.Keys{Node: id, Envelopes: envelopes, Issuer: issuer}) // false: it has gone, and will come anew
	return nil
}

// takeWaiting returns a node that is to be handed something and is still there, "" if there is none.
func (p *Picture) takeWaiting() (string, due) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for id, d := range p.waiting {
		delete(p.waiting, id)
		if _, trusted := p.table.enrolled[id]; trusted && len(p.table.links[id]) > 0 {
			return id, d
		}
	}
	return "", 0
}

// update runs change on the table and wakes the watchers if it says that something changed.
func (p *Picture) update(change func(*table) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if change(p.table) {
		close(p.changed)
		p.changed = make(chan struct{})
	}
}

// Changed returns a channel that is closed at the next change of the picture.
func (p *Picture) Changed() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.changed
}

// Changes takes what the fan-out saw (cluster.Upward).
func (p *Picture) Changes(c control.Changes) {
	now := time.Now()
	p.update(func(t *table) bool {
		appeared, left := t.change(c, now)
		p.queue(appeared, dueKeys|dueVolume|dueCertificate)
		for _, id := range left {
			p.dirty[id] = now
		}
		return true
	})
}

// Digest is of no use here: the fan-out and its picture are one process (cluster.Upward).
func (p *Picture) Digest(control.Digest) {}

// Nack finds nothing more to ask: the streamer made the packets (cluster.Upward).
func (p *Picture) Nack(wire.NackBody) {}

// Reports takes loudspeakers' reports and believes those that their own keys have signed (cluster.Upward).
func (p *Picture) Reports(raw [][]byte) {
	now := time.Now()
	for _, b := range raw {
		o, err := signed.Parse[signed.Report](b)
		if err != nil {
			p.Log.Debug("report", "error", err)
			continue
		}
		id := string(o.Signer())
		p.mu.Lock()
		n, ok := p.table.enrolled[id]
		p.mu.Unlock()
		if !ok || n.Kind != store.NodeClient {
			continue
		}
		r, err := o.Verify(ed25519.PublicKey(n.Signing[:]))
		if err != nil || r.Node != id {
			p.Log.Warn("report is not signed by the loudspeaker it speaks of", "node", id)
			continue
		}
		p.update(func(t *table) bool {
			changed := t.report(r, now)
			p.compare(r, now)
			return changed
		})
	}
}

// Enrol issues a certificate and takes the new node into the picture (cluster.Upward).
func (p *Picture) Enrol(ctx context.Context, r control.EnrolRequest) (*control.EnrolResponse, error) {
	response, err := p.Enroller.Enrol(ctx, r)
	if err == nil {
		p.Reload()
	}
	return response, err
}

// Open takes a session into the picture (session.Audience).
func (p *Picture) Open(x store.Session) { p.update(func(t *table) bool { t.open(x); return true }) }

// Update brings the record of a session up to date (session.Audience).
func (p *Picture) Update(x store.Session) { p.Open(x) }

// Close forgets a session that is over (session.Audience).
func (p *Picture) Close(x store.Session) { p.update(func(t *table) bool { t.close(x); return true }) }

// Count returns how many loudspeakers a session is meant for and how many hear it now (session.Audience).
func (p *Picture) Count(session string) (expected, hearing int) {
	l := p.Listeners(session)
	return l.Expected, len(l.Hearing)
}

// Listeners tells who should hear a session on air and who does; the zero value for any other.
func (p *Picture) Listeners(session string) Listeners {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.table.listeners(session)
}

// List returns every trusted node, ordered by zone and name.
func (p *Picture) List() []Node {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := make([]Node, 0, len(p.table.enrolled))
	for _, n := range p.table.enrolled {
		list = append(list, p.table.node(n))
	}
	slices.SortFunc(list, func(a, b Node) int {
		return cmpStrings(string(a.Zone), string(b.Zone), a.Name, b.Name, a.ID, b.ID)
	})
	return list
}

// Get returns a trusted node; ok is false for an unknown one.
func (p *Picture) Get(id string) (Node, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n, ok := p.table.enrolled[id]
	if !ok {
		return Node{}, false
	}
	return p.table.node(n), true
}
