package nodes

import (
	"context"
	"time"
)

const (
	noteEvery    = 10 * time.Second // those who left are noted together
	noteAllEvery = 10 * time.Minute // and everybody who is there: what a crash makes wrong
	lastNote     = 2 * time.Second
)

// note records who was seen when: of those who have left since the last note, or whole, also of those who are there.
// What cannot be recorded is kept for the next time.
func (p *Picture) note(ctx context.Context, now time.Time, whole bool) {
	p.mu.Lock()
	seen := p.dirty
	p.dirty = map[string]time.Time{}
	if whole {
		for id := range p.table.links {
			seen[id] = now
		}
	}
	p.mu.Unlock()
	if len(seen) == 0 {
		return
	}
	err := p.NoteSeen(ctx, seen)
	if err == nil {
		return
	}
	p.Log.Error("note who was seen", "error", err)
	p.mu.Lock()
	defer p.mu.Unlock()
	for id, at := range seen {
		if at.After(p.dirty[id]) {
			p.dirty[id] = at
		}
	}
}

// lastSeen notes everybody who is there when the streamer ends.
func (p *Picture) lastSeen(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastNote)
	defer cancel()
	p.note(ctx, time.Now(), true)
}
