package nodes

import (
	"maps"
	"slices"
	"time"

	"dongthanh/internal/packet"
	"dongthanh/internal/signed"
	"dongthanh/streamer/internal/store"
)

// tally is what a loudspeaker has heard of one session by its own signed reports.
type tally struct {
	from, to time.Time // of its first and last report that it hears; to is when it said that it no longer does
	hears    bool
	before   frames // counted before it was started anew
	now      frames // as it counts since
}

// frames of 20 ms, by what became of them.
type frames struct{ played, repaired, concealed, late uint64 }

func (f frames) sum() uint64 { return f.played + f.repaired + f.concealed + f.late }

func (f frames) plus(g frames) frames {
	return frames{f.played + g.played, f.repaired + g.repaired, f.concealed + g.concealed, f.late + g.late}
}

// tally adds a report to the account of the session that it speaks of.
func (t *table) tally(session string, r signed.Report, at time.Time) {
	a := t.sessions[session]
	if a == nil {
		a = t.past[session]
	}
	if a == nil {
		return
	}
	x := a.tallies[r.Node]
	if x == nil {
		if !r.Hearing {
			return // it has not heard anything
		}
		x = &tally{from: at}
		a.tallies[r.Node] = x
	}
	if r.Hearing || x.hears {
		x.to = at
	}
	x.hears = r.Hearing
	now := frames{uint64(r.Played), uint64(r.Repaired), uint64(r.Concealed), uint64(r.Late)}
	if now.sum() < x.now.sum() { // it was started anew meanwhile, and counts from zero
		x.before = x.before.plus(x.now)
	}
	x.now = now
}

// account tells of each loudspeaker that a session, on air or past, is meant for what it heard, by zone and name.
func (t *table) account(session string) []store.Listener {
	a, over := t.sessions[session], false
	if a == nil {
		a, over = t.past[session], true
	}
	if a == nil {
		return nil
	}
	list := make([]store.Listener, 0, len(a.expected))
	for _, id := range a.expected {
		n := t.node(t.enrolled[id])
		if n.ID == "" {
			continue // it is trusted no more
		}
		l := store.Listener{Node: id, Name: n.Name, Zone: n.Zone, State: string(n.State), Seen: n.ReportedAt}
		if last := t.lastSeen(n.Node); n.State == Offline && last.After(l.Seen) {
			l.Seen = last
		}
		if x := a.tallies[id]; x != nil {
			f := x.before.plus(x.now)
			l.From, l.To = x.from, x.to
			l.Played, l.Repaired, l.Concealed, l.Late = f.played, f.repaired, f.concealed, f.late
			if over && l.To.After(a.record.Ended) && !a.record.Ended.IsZero() {
				l.To = a.record.Ended // its goodbye comes after the sound
			}
		}
		list = append(list, l)
	}
	slices.SortFunc(list, func(a, b store.Listener) int {
		return cmpStrings(string(a.Zone), string(b.Zone), a.Name, b.Name, a.Node, b.Node)
	})
	return list
}

// forget ends what close has kept.
func (t *table) forget(session string) {
	delete(t.past, session)
	maps.DeleteFunc(t.carried, func(_ packet.TransmissionID, id string) bool { return id == session && t.sessions[id] == nil })
}

// Account tells of each loudspeaker that a session is meant for what it heard of it, and forgets a session that is over
// (session.Audience).
func (p *Picture) Account(session string) []store.Listener {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := p.table.account(session)
	p.table.forget(session)
	return list
}

// Heard is Account without the forgetting; nil for a session that is neither on air nor just over.
func (p *Picture) Heard(session string) []store.Listener {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.table.account(session)
}
