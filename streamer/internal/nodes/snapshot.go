package nodes

import (
	"cmp"
	"time"

	"dongthanh/streamer/internal/store"
)

// Airing is a session on air with who hears it, for those that keep a copy of the picture.
type Airing struct {
	Record   store.Session
	Expected int
	Hearing  map[string]time.Time // loudspeaker → end of its lease; the receiver's own
}

// Airings returns what is on air now.
func (p *Picture) Airings() []Airing {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := make([]Airing, 0, len(p.table.sessions))
	for _, a := range p.table.sessions {
		c := Airing{Record: a.record, Expected: len(a.expected), Hearing: make(map[string]time.Time, len(a.hearing))}
		for _, id := range a.expected {
			if until, ok := a.hearing[id]; ok {
				c.Hearing[id] = until
			}
		}
		list = append(list, c)
	}
	return list
}

// cmpStrings compares pairs in turn.
func cmpStrings(pairs ...string) int {
	for i := 0; i+1 < len(pairs); i += 2 {
		if c := cmp.Compare(pairs[i], pairs[i+1]); c != 0 {
			return c
		}
	}
	return 0
}
