package cluster

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"dongthanh/internal/control"
	"dongthanh/internal/mediaclock"
	"dongthanh/internal/topology"
)

const (
	keepGap   = 100 * time.Millisecond // changes wait this long at most before they go up
	digestGap = 30 * time.Second
	revokeGap = 5 * time.Second // a revoked node is cut within this
	// In one message, so that it stays below control.MaxMessage whatever ids and addresses are in it, and messages in
	// one keepGap, so that a whole province does not overflow the queue of 64 at once.
	membersEach = 128
	reportsEach = 64
	messages    = 16
)

// keeper passes changes and reports up, ends what has fallen silent, and compares pictures.
func (h *Hub) keeper(ctx context.Context) error {
	tick := time.NewTicker(keepGap)
	defer tick.Stop()
	digested, revoked := h.clock.Now(), h.clock.Now()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		now := h.clock.Now()
		h.silence(now)
		if now.Sub(revoked) >= revokeGap {
			h.revoke()
			revoked = now
		}
		h.tellUp()
		if h.o.Beat != nil {
			h.o.Beat()
		}
		if now.Sub(digested) >= digestGap {
			if h.sumUp() {
				digested = now
			}
		}
	}
}

// silence takes leave of those whose datagrams have ceased, and of members that were not named again.
func (h *Hub) silence(now mediaclock.Local) {
	var silent []*downstream
	defer func() { // without the lock: a log may block
		for _, d := range silent {
			h.o.Log.Info("downstream fell silent", slog.String("node", d.node.ID), slog.String("name", d.node.Name))
		}
	}()
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, d := range h.live {
		if h.lapsed(d, now) {
			d.conn.Close(control.ErrSilent) // so that it sees, and comes back
			h.expel(d)
			silent = append(silent, d)
		}
	}
	for d := range h.orphans {
		if h.lapsed(d, now) {
			h.remove(d)
		}
	}
	h.picture.Expire(now)
	for _, d := range h.live {
		if d.inherited != nil && now >= d.inheritEnd {
			d.inherited = nil
			h.match(d)
		}
		h.rezone(d)
	}
	h.m.dropN(dropMember, h.picture.Refused())
}

// expel ends all of d at once; its connection is ending already. The caller holds mu.
func (h *Hub) expel(d *downstream) {
	h.picture.Leave(d.node.ID)
	delete(h.live, d.node.ID)
	d.conn = nil
	h.remove(d)
}

// revoke cuts those whose certificate was revoked; the control port does not let them in again.
func (h *Hub) revoke() {
	if h.o.Revoked == nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, d := range h.live {
		if h.o.Revoked(d.node.ID) {
			h.o.Log.Warn("downstream revoked", slog.String("node", d.node.ID), slog.String("name", d.node.Name))
			_ = d.conn.Refuse(control.Refuse{Code: control.CodeRevoked, Reason: "the node's certificate was revoked"})
			h.expel(d)
		}
	}
	for d := range h.orphans {
		if h.o.Revoked(d.node.ID) {
			h.remove(d)
		}
	}
}

// lapsed reports whether d has been silent for longer than its lease. A standby pings at the idle pace.
func (h *Hub) lapsed(d *downstream, now mediaclock.Local) bool {
	return d.flow.Lapsed(now, h.o.lease, d.onAir() && d.flow.Active(), d.onAirSince)
}

// tellUp says what has changed since the last call, and the reports that came.
func (h *Hub) tellUp() {
	for range messages {
		h.mu.Lock()
		members, full, ok := h.picture.Tell(membersEach)
		h.mu.Unlock()
		if !ok {
			break
		}
		c := control.Changes{Full: full, Members: make([]control.Member, len(members))}
		for i, m := range members {
			c.Members[i] = control.Member(m)
		}
		h.o.Up.Changes(c)
	}
	for range messages {
		h.mu.Lock()
		n := min(len(h.reports), reportsEach)
		batch := h.reports[:n:n]
		h.reports = h.reports[n:]
		h.mu.Unlock()
		if n == 0 {
			break
		}
		h.o.Up.Reports(batch)
	}
}

// sumUp sends the digest, unless there is more to tell first.
func (h *Hub) sumUp() bool {
	h.mu.Lock()
	d, ok := h.picture.Told()
	h.mu.Unlock()
	if ok {
		h.o.Up.Digest(control.Digest{Count: d.Count, Sum: d.Sum})
	}
	return ok
}

// changes takes a relay's word about its subtree.
func (h *Hub) changes(d *downstream, c control.Changes) {
	members := make([]topology.Member, len(c.Members))
	for i, m := range c.Members {
		m.Version, m.Address = printable(m.Version), printable(m.Address)
		members[i] = topology.Member(m)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.live[d.node.ID] != d {
		return
	}
	h.picture.Apply(h.clock.Now(), d.node.ID, c.Full, members)
	h.rezone(d)
}

// digest compares a relay's digest with the picture of its subtree, and asks for all of it if they differ.
func (h *Hub) digest(d *downstream, x control.Digest) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.live[d.node.ID] != d {
		return
	}
	agrees := h.picture.Agrees(d.node.ID, topology.Digest{Count: x.Count, Sum: x.Sum})
	h.rezone(d)
	if now := h.clock.Now(); !agrees && (d.resynced == 0 || now.Sub(d.resynced) >= resyncGap) {
		d.resynced = now
		h.send(d, h.frame(control.Message{Resync: &control.Resync{}}))
	}
}

// rezone takes over the zones beneath d if they have changed. The caller holds mu.
func (h *Hub) rezone(d *downstream) {
	if v := h.picture.ZonesVersion(d.node.ID); v != d.version {
		d.zones, d.version = h.picture.Zones(d.node.ID)
		h.match(d)
	}
}

// match enters d into the streams that its loudspeakers are to hear, and takes it out of the others. The caller holds
// mu.
func (h *Hub) match(d *downstream) {
	for s := range d.streams {
		if !d.hears(s.cert.Zones) {
			h.unsubscribe(d, s)
		}
	}
	var heard []*stream
	for _, s := range h.open {
		if d.hears(s.cert.Zones) {
			heard = append(heard, s)
		}
	}
	slices.SortFunc(heard, func(a, b *stream) int { // the highest is announced first
		switch {
		case a.cert.Outranks(b.cert):
			return -1
		case b.cert.Outranks(a.cert):
			return 1
		}
		return 0
	})
	for _, s := range heard {
		h.subscribe(d, s)
	}
}

// Members returns everything beneath this node: one entry for each node and the node it is connected to (Via), however
// many routes it is known by.
func (h *Hub) Members() []control.Member {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := h.picture.Members()
	members := make([]control.Member, len(all))
	for i, m := range all {
		members[i] = control.Member(m)
	}
	return members
}

// Resync sends the whole picture upwards anew, by Upward.Changes with Full set and in order with all other changes:
// after a (re)join, or when an upstream asks for it.
func (h *Hub) Resync() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.picture.Restart()
}
