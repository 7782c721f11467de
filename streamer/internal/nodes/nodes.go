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
	"dongthanh/internal/signed"
	"dongthanh/internal/wire"
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
	Upstream   string   // the node it listens to; empty: none
	Standby    []string // nodes that stand by for it
	Since      time.Time
	Address    string
	Version    string
	Session    string // the session it is hearing
	Report     signed.Report
	ReportedAt time.Time // zero: it has not reported
}

// Listeners of a session: ids of loudspeakers. Expected counts Hearing and Missing.
type Listeners struct {
	Expected         int
	Hearing, Missing []string
}

// Enroller issues certificates, and the envelopes with the zone secrets a node may hold.
type Enroller interface {
	Enrol(ctx context.Context, r control.EnrolRequest) (*control.EnrolResponse, error)
	ZoneKeys(ctx context.Context, node string) (envelopes [][]byte, issuer []byte, err error)
}

// Options are what a Picture needs; all are required.
type Options struct {
	Enrolled func(context.Context) ([]store.Node, error) // every node on record
	Enroller Enroller
	Deliver  func(control.Keys) bool // to the fan-out
	Log      *slog.Logger
}

// Picture is the picture. It is cluster.Upward to the streamer's own fan-out and session.Audience to the sessions.
type Picture struct {
	Options
	wake  chan struct{} // holds one: nodes need their zone keys
	stale chan struct{} // holds one: the record has changed

	mu      sync.Mutex // guards what follows
	table   *table
	keyless map[string]bool // enrolled and connected, and not handed their zone keys yet
	changed chan struct{}   // closed and replaced at each change
}

// New reads the nodes on record.
func New(ctx context.Context, o Options) (*Picture, error) {
	p := &Picture{
		Options: o, table: newTable(), keyless: map[string]bool{}, changed: make(chan struct{}),
		wake: make(chan struct{}, 1), stale: make(chan struct{}, 1),
	}
	return p, p.reload(ctx)
}

// Reload has the nodes on record read again soon, after one was enrolled or revoked: once for many at a time.
func (p *Picture) Reload() { poke(p.stale) }

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
	p.update(func(t *table) bool { p.queueKeys(t.enrol(list)); return true })
	return nil
}

// queueKeys has zone keys handed to nodes that have just appeared; mu is held. Relays carry envelopes and hold no key.
func (p *Picture) queueKeys(ids []string) {
	for _, id := range ids {
		if p.table.enrolled[id].Kind == store.NodeClient {
			p.keyless[id] = true
			poke(p.wake)
		}
	}
}

// keysAgain is the pause after zone keys could not be made: the database is at fault, and asking faster heals nothing.
const keysAgain = 5 * time.Second

// Run hands out zone keys and ends leases until ctx ends. The two are apart, since a database that hangs must not make
// the count of who hears lie.
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

// keepRecords does what needs the database: it reads the nodes anew and hands out zone keys, until ctx ends.
func (p *Picture) keepRecords(ctx context.Context) {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	var pause time.Time // until then no keys
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
		case <-p.wake: // one at a time, so that ticks are not late
			switch more, err := p.handKeys(ctx); {
			case ctx.Err() != nil:
			case err != nil:
				p.Log.Error("hand out zone keys", "error", err)
				pause = time.Now().Add(keysAgain)
			case more && time.Now().After(pause):
				poke(p.wake)
			}
		}
	}
}

// handKeys seals to one node that has connected the secrets of its zone and of each zone above. It reports whether
// another one may be waiting.
func (p *Picture) handKeys(ctx context.Context) (more bool, err error) {
	id := p.takeKeyless()
	if id == "" {
		return false, nil
	}
	envelopes, issuer, err := p.Enroller.ZoneKeys(ctx, id)
	if errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrRevoked) {
		return true, nil // it was enrolled a moment ago, and no longer is
	}
	if err != nil {
		p.update(func(*table) bool { p.keyless[id] = true; return false })
		return true, fmt.Errorf("node %s: %w", id, err)
	}
	p.Deliver(control.Keys{Node: id, Envelopes: envelopes, Issuer: issuer}) // false: it has gone, and will come anew
	return true, nil
}

// takeKeyless returns a node that needs keys and is still there, "" if there is none.
func (p *Picture) takeKeyless() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	for id := range p.keyless {
		delete(p.keyless, id)
		if _, trusted := p.table.enrolled[id]; trusted && len(p.table.links[id]) > 0 {
			return id
		}
	}
	return ""
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
	p.update(func(t *table) bool { p.queueKeys(t.change(c)); return true })
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
		p.update(func(t *table) bool { return t.report(r, now) })
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
