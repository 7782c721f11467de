package nodes

import (
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
	past     map[string]*airing               // that are over, until they are accounted for
	carried  map[packet.TransmissionID]string // → session, on air or past
	left     map[string]time.Time             // when a node that is not connected now was last
}

// heard is a verified report with when it came; zero: it tells of no transmission.
type heard struct {
	signed.Report
	at time.Time
}

// airing is a session on air.
type airing struct {
	record   store.Session
	expected []string             // ids of the loudspeakers it is meant for, sorted
	hearing  map[string]time.Time // id → end of its lease
	ceased   map[string]time.Time // id → when it ceased to hear
	tallies  map[string]*tally    // id → what it has heard so far
}

// cease takes a loudspeaker out of those that hear.
func (a *airing) cease(id string, at time.Time) {
	if _, heard := a.hearing[id]; heard {
		delete(a.hearing, id)
		a.ceased[id] = at
	}
}

func newTable() *table {
	return &table{
		enrolled: map[string]store.Node{}, links: map[string]map[string]control.Member{}, reports: map[string]heard{},
		sessions: map[string]*airing{}, past: map[string]*airing{}, carried: map[packet.TransmissionID]string{},
		left: map[string]time.Time{},
	}
}

// enrol replaces the list of trusted nodes and returns those that are connected already and new in it or given another
// certificate, and those for which another volume is wished than before.
func (t *table) enrol(list []store.Node) (appeared, turned []string) {
	before := t.enrolled
	t.enrolled = map[string]store.Node{}
	for _, n := range list {
		if !n.Revoked.IsZero() || n.Kind == store.NodeStreamer { // which is the one that looks
			continue
		}
		t.enrolled[n.ID] = n
		old, known := before[n.ID]
		switch {
		case (!known || old.Serial != n.Serial) && len(t.links[n.ID]) > 0:
			appeared = append(appeared, n.ID)
		case known && old.Volume != n.Volume:
			turned = append(turned, n.ID)
		}
	}
	for _, a := range t.sessions {
		a.expected = t.expected(a.record.Zones)
	}
	return appeared, turned
}

// shows returns the serial of the certificate that a node shows to those it is connected to: the one on record if all
// see that, else another, empty if it is not known.
func (t *table) shows(id string) (serial string) {
	record := t.enrolled[id].Serial
	for _, m := range t.links[id] {
		if serial = m.Serial; serial != record {
			return serial
		}
	}
	return serial
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

// change takes what the fan-out saw at now. It returns the nodes that have connected anew: that were not there before, or
// joined where they were once more, so that what was on its way to them may be lost; and the trusted ones that nobody is
// connected to any more.
func (t *table) change(c control.Changes, now time.Time) (appeared, left []string) {
	before := t.links
	if c.Full {
		t.links = map[string]map[string]control.Member{}
	}
	for _, m := range c.Members {
		if m.Gone {
			delete(t.links[m.Node], m.Via)
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
	for _, m := range c.Members { // at the end, for a node may have gone one way and come by another
		if links, ok := t.links[m.Node]; ok && len(links) == 0 && t.lose(m.Node, now) {
			left = append(left, m.Node)
		}
	}
	if c.Full {
		for id := range before {
			if len(t.links[id]) == 0 && t.lose(id, now) {
				left = append(left, id)
			}
		}
	}
	return appeared, left
}

// lose forgets a node that nobody is connected to: it hears nothing. Only of one that is trusted it is worth knowing when
// that was, which lose reports: a relay can name others without end.
func (t *table) lose(id string, now time.Time) (known bool) {
	delete(t.links, id)
	if _, known = t.enrolled[id]; known {
		t.left[id] = now
	}
	for _, a := range t.sessions {
		a.cease(id, now)
	}
	return known
}

// report takes a verified report, unless it is no newer than the last, and reports whether it changed who hears what.
// The figures in it change with each, which is no reason to wake anybody.
func (t *table) report(r signed.Report, at time.Time) (changed bool) {
	// The number falls where a node lost its count of starts, with a new disk; a replayed report has an older time too.
	if old, ok := t.reports[r.Node]; ok && r.Number <= old.Number && r.At <= old.At {
		return false
	}
	if r.Transmission == [16]byte{} { // it tells of the loudspeaker alone
		h := t.reports[r.Node]
		changed = !equal(h.Volume, r.Volume)
		h.Number, h.At, h.Volume, h.Order = r.Number, r.At, r.Volume, r.Order
		t.reports[r.Node] = h
		return changed
	}
	changed = !equal(t.reports[r.Node].Volume, r.Volume)
	t.reports[r.Node] = heard{r, at}
	session := t.carried[r.Transmission]
	t.tally(session, r, at)
	for id, a := range t.sessions {
		_, before := a.hearing[r.Node]
		now := id == session && r.Hearing
		if now {
			a.hearing[r.Node] = at.Add(Lease)
		} else {
			a.cease(r.Node, at) // it sounds one transmission at a time
		}
		changed = changed || now != before
	}
	return changed
}

func equal(a, b *int32) bool { return a == nil && b == nil || a != nil && b != nil && *a == *b }

// expire ends the leases that are over.
func (t *table) expire(now time.Time) (changed bool) {
	for _, a := range t.sessions {
		for id, until := range a.hearing {
			if now.After(until) {
				a.cease(id, until.Add(-Lease)) // when it was heard of last
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
		a = &airing{hearing: map[string]time.Time{}, ceased: map[string]time.Time{}, tallies: map[string]*tally{}, expected: t.expected(x.Zones)}
		t.sessions[x.ID] = a
	}
	a.record = x
	if x.Transmission != [16]byte{} {
		t.carried[x.Transmission] = x.ID
	}
}

// close takes a session off the air. Its loudspeakers' last reports are still to come.
func (t *table) close(x store.Session) {
	if a := t.sessions[x.ID]; a != nil {
		a.record = x
		t.past[x.ID] = a
	}
	delete(t.sessions, x.ID)
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
			if since := t.silentSince(a, id); !since.IsZero() {
				if l.Silent == nil {
					l.Silent = map[string]time.Time{}
				}
				l.Silent[id] = since
			}
		}
	}
	l.Expected = len(a.expected)
	return l
}

// silentSince tells since when a loudspeaker hears nothing of what it is meant to: since it was cut off, or ceased to
// hear, or else since the session began or the loudspeaker came, whichever is later; zero: that is not known.
func (t *table) silentSince(a *airing, id string) time.Time {
	if len(t.links[id]) == 0 {
		return t.lastSeen(t.enrolled[id])
	}
	since := a.record.Started
	if at, ok := a.ceased[id]; ok {
		since = at
	}
	if since.IsZero() {
		return since
	}
	came := since
	for _, m := range t.links[id] {
		if at := time.UnixMilli(m.Since); at.After(came) && !m.Standby {
			came = at
		}
	}
	return came
}

// lastSeen is when a node that is not connected was; zero: never.
func (t *table) lastSeen(n store.Node) time.Time {
	if at, ok := t.left[n.ID]; ok {
		return at
	}
	return n.Seen
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
	if out.State == Offline {
		out.Since = t.lastSeen(n)
	}
	slices.Sort(out.Standby)
	if r, ok := t.reports[n.ID]; ok {
		out.Report, out.ReportedAt, out.Applied = r.Report, r.at, r.Volume
	}
	for id, a := range t.sessions {
		if _, ok := a.hearing[n.ID]; ok {
			out.Session, out.State = id, Playing
		}
	}
	return out
}
