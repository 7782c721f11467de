package nodes

import (
	"maps"
	"slices"
	"time"

	"dongthanh/internal/control"
	"dongthanh/internal/packet"
	"dongthanh/internal/signed"
	"dongthanh/internal/zone"
	"dongthanh/streamer/internal/store"
)

// Lease is how long a loudspeaker counts as hearing after its last report; it reports every 2 s. With the relay's own
// lease of 8 s a silent death shows within 10 s.
const Lease = 8 * time.Second

// table is the pure picture: who is connected where, what is on air, who hears it. It reads no clock.
type table struct {
	enrolled map[string]store.Node                // every relay and loudspeaker that is trusted
	links    map[string]map[string]control.Member // node → via → as via sees it
	reports  map[string]heard                     // newest report of each loudspeaker
	sessions map[string]*airing
	carried  map[packet.TransmissionID]string // → session
}

// heard is a verified report with when it came.
type heard struct {
	signed.Report
	at time.Time
}

// airing is a session on air.
type airing struct {
	record   store.Session
	expected []string             // ids of the loudspeakers it is meant for, sorted
	hearing  map[string]time.Time // id → end of its lease
}

func newTable() *table {
	return &table{
		enrolled: map[string]store.Node{}, links: map[string]map[string]control.Member{}, reports: map[string]heard{},
		sessions: map[string]*airing{}, carried: map[packet.TransmissionID]string{},
	}
}

// enrol replaces the list of trusted nodes and returns those that are new in it and connected already.
func (t *table) enrol(list []store.Node) (appeared []string) {
	before := t.enrolled
	t.enrolled = map[string]store.Node{}
	for _, n := range list {
		if !n.Revoked.IsZero() || n.Kind == store.NodeStreamer { // which is the one that looks
			continue
		}
		t.enrolled[n.ID] = n
		if _, known := before[n.ID]; !known && len(t.links[n.ID]) > 0 {
			appeared = append(appeared, n.ID)
		}
	}
	for _, a := range t.sessions {
		a.expected = t.expected(a.record.Zones)
	}
	return appeared
}

// expected lists the loudspeakers beneath zones.
func (t *table) expected(zones []zone.Zone) []string {
	var ids []string
	for id, n := range t.enrolled {
		if n.Kind == store.NodeClient && zone.AnyContains(zones, n.Zone) {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// change takes what the fan-out saw and returns the nodes that have connected anew: that were not there before, or joined
// where they were once more, so that what was on its way to them may be lost.
func (t *table) change(c control.Changes) (appeared []string) {
	before := t.links
	if c.Full {
		t.links = map[string]map[string]control.Member{}
	}
	for _, m := range c.Members {
		if m.Gone {
			delete(t.links[m.Node], m.Via)
			if len(t.links[m.Node]) == 0 {
				t.lose(m.Node)
			}
			continue
		}
		old, there := before[m.Node][m.Via]
		if len(before[m.Node]) == 0 && len(t.links[m.Node]) == 0 || there && old.Since != m.Since {
			appeared = append(appeared, m.Node)
		}
		if t.links[m.Node] == nil {
			t.links[m.Node] = map[string]control.Member{}
		}
		t.links[m.Node][m.Via] = m
	}
	if c.Full {
		for id := range before {
			if len(t.links[id]) == 0 {
				t.lose(id)
			}
		}
	}
	return appeared
}

// lose forgets a node that nobody is connected to: it hears nothing.
func (t *table) lose(id string) {
	delete(t.links, id)
	for _, a := range t.sessions {
		delete(a.hearing, id)
	}
}

// report takes a verified report, unless it is no newer than the last, and reports whether it changed who hears what.
// The figures in it change with each, which is no reason to wake anybody.
func (t *table) report(r signed.Report, at time.Time) (changed bool) {
	// The number falls where a node lost its count of starts, with a new disk; a replayed report has an older time too.
	if old, ok := t.reports[r.Node]; ok && r.Number <= old.Number && r.At <= old.At {
		return false
	}
	t.reports[r.Node] = heard{r, at}
	session := t.carried[r.Transmission]
	for id, a := range t.sessions {
		_, before := a.hearing[r.Node]
		now := id == session && r.Hearing
		if now {
			a.hearing[r.Node] = at.Add(Lease)
		} else {
			delete(a.hearing, r.Node) // it sounds one transmission at a time
		}
		changed = changed || now != before
	}
	return changed
}

// expire ends the leases that are over.
func (t *table) expire(now time.Time) (changed bool) {
	for _, a := range t.sessions {
		for id, until := range a.hearing {
			if now.After(until) {
				delete(a.hearing, id)
				changed = true
			}
		}
	}
	return changed
}

// open puts a session on air, or brings its record up to date.
func (t *table) open(x store.Session) {
	a := t.sessions[x.ID]
	if a == nil {
		a = &airing{hearing: map[string]time.Time{}, expected: t.expected(x.Zones)}
		t.sessions[x.ID] = a
	}
	a.record = x
	if x.Transmission != [16]byte{} {
		t.carried[x.Transmission] = x.ID
	}
}

func (t *table) close(x store.Session) {
	delete(t.sessions, x.ID)
	maps.DeleteFunc(t.carried, func(_ packet.TransmissionID, id string) bool { return id == x.ID })
}

// listeners tells who should hear a session and who does.
func (t *table) listeners(session string) (l Listeners) {
	a := t.sessions[session]
	if a == nil {
		return Listeners{}
	}
	for _, id := range a.expected {
		if _, ok := a.hearing[id]; ok {
			l.Hearing = append(l.Hearing, id)
		} else {
			l.Missing = append(l.Missing, id)
		}
	}
	l.Expected = len(a.expected)
	return l
}

// node describes an enrolled node.
func (t *table) node(n store.Node) Node {
	out := Node{Node: n, State: Offline}
	for via, m := range t.links[n.ID] {
		out.State = Online
		out.Version = m.Version
		since := time.UnixMilli(m.Since)
		switch {
		case m.Standby:
			out.Standby = append(out.Standby, via)
		case out.Upstream == "" || since.After(out.Since):
			out.Upstream, out.Since, out.Address = via, since, m.Address
		}
	}
	slices.Sort(out.Standby)
	if r, ok := t.reports[n.ID]; ok {
		out.Report, out.ReportedAt = r.Report, r.at
	}
	for id, a := range t.sessions {
		if _, ok := a.hearing[n.ID]; ok {
			out.Session, out.State = id, Playing
		}
	}
	return out
}
