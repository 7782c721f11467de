// Package nodes is the streamer's picture of every relay and loudspeaker: enrolled or not, connected where, hearing
// what. The fan-out feeds it what it sees, loudspeakers' own signed reports what they hear. All of it but the
// enrolment is soft: it is rebuilt within seconds from what nodes say again.
package nodes

import (
	"context"
	"crypto/ed25519"
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
	ZoneKeys(ctx context.Context, node string) ([][]byte, error)
	DER() []byte
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
	keys  chan string   // nodes that need their zone keys; read by Run
	stale chan struct{} // holds one: the record has changed

	mu      sync.Mutex // guards what follows
	table   *table
	changed chan struct{} // closed and replaced at each change
}

// New reads the nodes on record.
func New(ctx context.Context, o Options) (*Picture, error) {
	p := &Picture{Options: o, table: newTable(), changed: make(chan struct{}), keys: make(chan string, 4096), stale: make(chan struct{}, 1)}
	return p, p.reload(ctx)
}

// Reload has the nodes on record read again soon, after one was enrolled or revoked: once for many at a time.
func (p *Picture) Reload() {
	select {
	case p.stale <- struct{}{}:
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

// queueKeys has zone keys handed to nodes that have just appeared.
func (p *Picture) queueKeys(ids []string) {
	for _, id := range ids {
		select {
		case p.keys <- id:
		default: // it asks again by reconnecting; 4096 at once means a storm
			p.Log.Warn("zone keys delayed: too many nodes at once", "node", id)
		}
	}
}

// Run hands out zone keys and ends leases until ctx ends.
func (p *Picture) Run(ctx context.Context) error {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-tick.C:
			select {
			case <-p.stale:
				if err := p.reload(ctx); err != nil {
					p.Log.Error("nodes", "error", err)
					p.Reload()
				}
			default:
			}
			p.update(func(t *table) bool { return t.expire(now) })
		case id := <-p.keys:
			if err := p.handKeys(ctx, id); err != nil {
				p.Log.Error("hand out zone keys", "node", id, "error", err)
			}
		}
	}
}

// handKeys seals to a node that has just connected the secrets of its zone and of each zone above.
func (p *Picture) handKeys(ctx context.Context, id string) error {
	p.mu.Lock()
	n, ok := p.table.enrolled[id]
	p.mu.Unlock()
	if !ok || n.Kind != store.NodeClient {
		return nil // relays carry envelopes and hold no key
	}
	envelopes, err := p.Enroller.ZoneKeys(ctx, id)
	if err != nil {
		return err
	}
	p.Deliver(control.Keys{Node: id, Envelopes: envelopes, Issuer: p.Enroller.DER()})
	return nil
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
