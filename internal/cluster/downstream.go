package cluster

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"slices"
	"time"

	"dongthanh/internal/control"
	"dongthanh/internal/identity"
	"dongthanh/internal/mediaclock"
	"dongthanh/internal/topology"
	"dongthanh/internal/udp"
	"dongthanh/internal/zone"
)

const (
	// inheritFor is how long a relay that came back is fed for the loudspeakers that it had before, until it has
	// said which it has now.
	inheritFor = 5 * time.Second
	// resyncGap is the least time between two Resyncs to one downstream.
	resyncGap = 5 * time.Second
	// maxEnrols are forwarded at a time for one downstream.
	maxEnrols = 16
	// stopsOnJoin is how many stops, and how old ones, a node hears of when it joins: what was stopped earlier has
	// no beacon any more and is muted by that.
	stopsOnJoin  = 16
	stopAgeOnce  = 5 * time.Minute
	versionBytes = 64
	// sessionsOnJoin are announced by control to a node that joins, the highest first, so that together with the stops
	// they fit into a queue of control.QueueLen. The beacons announce the rest within a second.
	sessionsOnJoin = 40
	unlimited      = -1
)

// downstream is one node that is fed: from its join until its datagrams cease. Guarded by Hub.mu, but for flow.Append
// and what never changes.
type downstream struct {
	node identity.Node
	conn *control.Conn // nil: the control connection has ended, and its datagrams alone keep it
	flow *udp.Flow[*downstream]

	zones      []zone.Zone // of the loudspeakers beneath it, itself included
	version    uint64      // of zones, in the picture
	inherited  []zone.Zone // of the connection before this one
	inheritEnd mediaclock.Local

	streams    map[*stream]bool
	onAirSince mediaclock.Local // while a stream is on air for it
	resynced   mediaclock.Local
	enrols     int
	quota      int  // of sessions that may still be announced; bounded only while it joins
	counted    bool // in Hub.bound
}

const loopReason = "this node is fed through the one that asks, or its path is too long"

var errReplaced = errors.New("the node has connected anew")

// accept serves one control connection until it ends. control.Server calls it on a goroutine of its own.
func (h *Hub) accept(c *control.Conn) {
	var d *downstream
	refused := false
	err := c.Run(h.running, func(m control.Message) {
		switch {
		case d != nil:
			h.message(d, m)
		case refused:
		case m.Join == nil:
			refused = true
			c.Close(control.ErrMalformed)
		default:
			d = h.join(c, *m.Join)
			refused = d == nil
		}
	})
	if d != nil {
		h.parted(d, err)
	}
}

// join takes a node in, or refuses it and returns nil. A node is not refused for its zone: a loudspeaker may stand by
// at a neighbouring commune's relay.
func (h *Hub) join(c *control.Conn, j control.Join) *downstream {
	node := c.Peer()
	path := h.o.Path()
	refuse := func(code, reason string) *downstream {
		h.o.Log.Warn("downstream refused", slog.String("node", node.ID), slog.String("name", node.Name),
			slog.String("address", c.RemoteAddr().String()), slog.String("code", code))
		_ = c.Refuse(control.Refuse{Code: code, Reason: reason})
		return nil
	}
	switch {
	case node.Kind != identity.Relay && node.Kind != identity.Client:
		return refuse(control.CodeKind, "a streamer stands below nobody")
	case node.ID == h.self.ID || topology.Loop(path, node.ID):
		return refuse(control.CodeLoop, loopReason)
	}

	h.mu.Lock()
	if h.live[node.ID] == nil && len(h.live) >= maxDownstreams {
		h.mu.Unlock()
		return refuse(control.CodeBusy, "too many nodes are connected")
	}
	d := h.enter(c, node, j)
	h.mu.Unlock()
	if now := h.o.Path(); !slices.Equal(now, path) {
		h.PathChanged() // it changed between the two looks, when this node was not listed yet
	}
	h.o.Log.Info("downstream joined", slog.String("node", node.ID), slog.String("name", node.Name),
		slog.String("kind", string(node.Kind)), slog.String("zone", string(node.Zone)),
		slog.String("address", c.RemoteAddr().String()), slog.Bool("standby", j.Standby))
	return d
}

// enter makes the downstream, hands it its flow and says what it has to know. The caller holds mu.
func (h *Hub) enter(c *control.Conn, node identity.Node, j control.Join) *downstream {
	now := h.clock.Now()
	d := &downstream{node: node, conn: c, streams: map[*stream]bool{}, quota: sessionsOnJoin}
	for d.flow == nil { // a name that is taken is drawn again: once in 2^64
		id := newFlowID()
		d.flow, _ = h.flows.Add(now, id, c.FlowKey(id), !j.Standby, d)
	}
	if old := h.live[node.ID]; old != nil {
		old.conn.Close(errReplaced)
		h.orphan(old)
	}
	for old := range h.orphans {
		if old.node.ID == node.ID && node.Kind == identity.Relay { // a loudspeaker's own zone is known, and may be another
			d.inherited, d.inheritEnd = append(d.inherited, old.zones...), now.Add(inheritFor)
		}
	}
	h.live[node.ID] = d
	h.picture.Join(now, topology.Member{
		Node: node.ID, Via: h.self.ID, Kind: string(node.Kind), Zone: node.Zone, Version: printable(j.Version),
		Address: c.RemoteAddr().String(), Standby: j.Standby, Since: h.wall(),
		Serial: identity.Serial(c.Certificate()),
	})
	h.send(d, h.frame(control.Message{Welcome: &control.Welcome{
		Flow: d.flow.ID[:], Media: h.o.Config.advertised(h.MediaAddr().Port()), Path: h.o.Path(),
	}}))
	h.sendRevoked(d)
	h.sendStops(d, now)
	d.zones, d.version = h.picture.Zones(node.ID)
	h.match(d)
	d.quota = unlimited
	return d
}

// message takes one message of a node that has joined.
func (h *Hub) message(d *downstream, m control.Message) {
	switch {
	case m.Changes != nil && d.node.Kind == identity.Relay:
		h.changes(d, *m.Changes)
	case m.Digest != nil && d.node.Kind == identity.Relay:
		h.digest(d, *m.Digest)
	case m.Reports != nil:
		h.mu.Lock()
		for _, r := range m.Reports.Reports {
			h.report(r)
		}
		h.mu.Unlock()
	case m.Enrol != nil:
		h.enrol(d, *m.Enrol)
	default: // what a later version may say
	}
}

// enrol forwards a request upwards and its answer down, on a goroutine of its own.
func (h *Hub) enrol(d *downstream, e control.Enrol) {
	h.mu.Lock()
	full := d.enrols >= maxEnrols
	if !full {
		d.enrols++
	}
	h.mu.Unlock()
	if full {
		h.reply(d, control.EnrolReply{Ref: e.Ref, Code: control.CodeBusy, Error: "too many enrolments at once"})
		return
	}
	h.tasks.Go(func() {
		ctx, cancel := context.WithTimeout(h.running, time.Minute)
		defer cancel()
		reply := control.EnrolReply{Ref: e.Ref}
		response, err := h.o.Up.Enrol(ctx, e.Request)
		var refused *control.Refused
		switch {
		case err == nil:
			reply.Reply = response
		case errors.As(err, &refused):
			reply.Code, reply.Error = refused.Code, refused.Reason
		default:
			h.o.Log.Warn("enrolment not forwarded", slog.String("via", d.node.ID), slog.Any("error", err))
			reply.Code, reply.Error = control.CodeBusy, "the issuer cannot be reached"
		}
		h.mu.Lock()
		d.enrols--
		h.mu.Unlock()
		h.reply(d, reply)
	})
}

func (h *Hub) reply(d *downstream, r control.EnrolReply) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if d.conn != nil {
		h.send(d, h.frame(control.Message{EnrolReply: &r}))
	}
}

// frame encodes a message once for all who get it; nil, and a line in the log, if it is larger than the channel takes.
func (h *Hub) frame(m control.Message) *control.Frame {
	f, err := control.Encode(m)
	if err != nil {
		h.o.Log.Error("message to downstreams not sent", slog.Any("error", err))
		return nil
	}
	return &f
}

// send queues a message to d, which has a connection. A full queue ends the connection by itself. The caller holds mu.
func (h *Hub) send(d *downstream, f *control.Frame) {
	if f != nil {
		_ = d.conn.SendFrame(*f)
	}
}

// parted handles the end of a control connection: the node is reported gone at once, but as long as its datagrams come
// it is fed, for the sound does not depend on control.
func (h *Hub) parted(d *downstream, err error) {
	h.mu.Lock()
	if h.live[d.node.ID] == d {
		h.orphan(d)
		h.picture.Leave(d.node.ID)
	}
	h.mu.Unlock()
	h.o.Log.Info("downstream left", slog.String("node", d.node.ID), slog.String("name", d.node.Name), slog.Any("reason", err))
}

// orphan takes d's connection away. The caller holds mu.
func (h *Hub) orphan(d *downstream) {
	delete(h.live, d.node.ID)
	d.conn = nil
	if _, ok := d.flow.Path(); ok {
		h.orphans[d] = struct{}{}
	} else {
		h.remove(d)
	}
}

// remove ends d's flow. The caller holds mu; d has no connection any more.
func (h *Hub) remove(d *downstream) {
	delete(h.orphans, d)
	if d.counted {
		d.counted = false
		h.bound--
		h.m.subscribers.Set(float64(h.bound))
	}
	h.flows.Remove(d.flow)
	for s := range d.streams {
		h.unsubscribe(d, s)
	}
}

// moved handles a flow that was bound to an address, for the first time or anew. The caller holds mu.
func (h *Hub) moved(d *downstream) {
	if !d.counted {
		d.counted = true
		h.bound++
		h.m.subscribers.Set(float64(h.bound))
	}
	for s := range d.streams {
		h.touch(s)
		h.errand(errand{to: d, stream: s})
	}
	for old := range h.orphans {
		if old != d && old.node.ID == d.node.ID {
			h.remove(old)
		}
	}
}

// switched handles a flow that became active, stands by or mutes other transmissions. The caller holds mu.
func (h *Hub) switched(d *downstream) {
	for s := range d.streams {
		h.touch(s)
	}
	if h.live[d.node.ID] == d {
		h.picture.Stand(d.node.ID, !d.flow.Active())
	}
}

// downstreams yields everyone who is fed. The caller holds mu and does not change who is.
func (h *Hub) downstreams() iter.Seq[*downstream] {
	return func(yield func(*downstream) bool) {
		for _, d := range h.live {
			if !yield(d) {
				return
			}
		}
		for d := range h.orphans {
			if !yield(d) {
				return
			}
		}
	}
}

// PathChanged tells the downstreams that Options.Path answers anew. One that is in the path itself has made a loop and
// is refused.
func (h *Hub) PathChanged() {
	path := h.o.Path()
	say := h.frame(control.Message{Path: &control.Path{Nodes: path}})
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, d := range h.live {
		if topology.Loop(path, d.node.ID) {
			h.o.Log.Warn("downstream refused", slog.String("node", d.node.ID), slog.String("code", control.CodeLoop))
			_ = d.conn.Refuse(control.Refuse{Code: control.CodeLoop, Reason: loopReason})
			continue
		}
		h.send(d, say)
	}
}

// Deliver passes key envelopes down to the downstream that has their node beneath it. It reports whether there is
// one; otherwise they are dropped, and whoever sent them sends them again when the node appears.
func (h *Hub) Deliver(k control.Keys) bool { return h.forward(k.Node, control.Message{Keys: &k}) }

// Order passes an order down as Deliver does keys, unaltered.
func (h *Hub) Order(o control.Order) bool { return h.forward(o.Node, control.Message{Order: &o}) }

// forward sends a message towards the node that it is for, and reports whether there was a way.
func (h *Hub) forward(node string, m control.Message) (sent bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, id := range h.picture.Routes(node) {
		if d := h.live[id]; d != nil && d.conn.Send(m) == nil {
			sent = true
		}
	}
	return sent
}

// wall is network time in Unix milliseconds, 0 while this node does not have it.
func (h *Hub) wall() int64 {
	now, _, synced := h.o.Clock()
	if !synced {
		return 0
	}
	return now.Time().UnixMilli()
}

// printable returns s if it is short and plain, and nothing otherwise: a node may call its version what it likes.
func printable(s string) string {
	if len(s) > versionBytes {
		return ""
	}
	for _, c := range []byte(s) {
		if c < ' ' || c > '~' {
			return ""
		}
	}
	return s
}
