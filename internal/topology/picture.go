package topology

import (
	"maps"
	"math"
	"slices"

	"dongthanh/internal/mediaclock"
	"dongthanh/internal/zone"
)

// Picture is everything beneath a node: each downstream's word, and the union, in which a member that is known by two
// routes counts once until both have lost it. Not safe for concurrent use.
type Picture struct {
	routes map[string]*route
	union  map[key][]*sighting // the one heard of last stands last, and its word counts
	vias   map[string][]string // of union's keys, by node

	// What has been told upwards, and what may differ from that.
	told    map[key]Member
	digest  Digest
	dirty   []key // in the order in which they changed
	isDirty map[key]bool
	anew    bool // the next word up is a new beginning

	refused int
}

// NewPicture returns an empty picture.
func NewPicture() *Picture {
	return &Picture{
		routes: map[string]*route{}, union: map[key][]*sighting{}, vias: map[string][]string{},
		told: map[key]Member{}, isDirty: map[key]bool{},
	}
}

// Join enters a downstream; self.Node is the name of the route. If it was here before, what it said is kept for Grace,
// so that media goes on until it has said everything again.
func (p *Picture) Join(now mediaclock.Local, self Member) {
	r := p.routes[self.Node]
	if r == nil {
		r = &route{id: self.Node, members: map[key]*sighting{}, zones: map[zone.Zone]int{}}
		p.routes[self.Node] = r
	} else {
		r.stale(now)
		r.count(r.self, -1)
		p.lose(&sighting{route: r, m: r.self})
	}
	r.self = self
	r.count(self, 1)
	p.see(&sighting{route: r, m: self})
}

// Stand notes that a downstream listens to this node, or stands by.
func (p *Picture) Stand(id string, standby bool) {
	if r := p.routes[id]; r != nil && r.self.Standby != standby {
		p.lose(&sighting{route: r, m: r.self})
		r.self.Standby = standby
		p.see(&sighting{route: r, m: r.self})
	}
}

// Leave forgets a downstream and all that was known by it alone.
func (p *Picture) Leave(id string) {
	r := p.routes[id]
	if r == nil {
		return
	}
	delete(p.routes, id)
	p.lose(&sighting{route: r, m: r.self})
	for _, s := range r.members {
		p.lose(s)
	}
}

// Apply takes a downstream's word about its subtree. full is a new beginning: what it does not name within Grace is
// gone. Members out of bounds are left out and counted.
func (p *Picture) Apply(now mediaclock.Local, id string, full bool, members []Member) {
	r := p.routes[id]
	if r == nil {
		return
	}
	if full {
		r.stale(now)
	}
	for _, m := range members {
		old := r.members[m.key()]
		switch {
		case !m.valid() || m.key() == r.self.key():
			p.refused++
			continue
		case m.Gone:
			if old != nil {
				p.drop(r, old)
			}
			continue
		case old == nil && len(r.members) >= MaxMembers:
			p.refused++
			continue
		case old != nil && old.m == m:
			old.until = 0
			continue
		case old != nil:
			p.drop(r, old)
		}
		s := &sighting{route: r, m: m}
		r.members[m.key()] = s
		r.digest.add(m)
		r.count(m, 1)
		p.see(s)
	}
}

// Expire forgets what a new beginning has not named in time.
func (p *Picture) Expire(now mediaclock.Local) {
	for _, r := range p.routes {
		if r.until != 0 && now >= r.until {
			p.expire(r, now)
		}
	}
}

// Agrees reports whether a downstream's digest is that of the picture of its subtree. It comes after all that the
// digest sums up, so what its new beginning has not named by now is gone.
func (p *Picture) Agrees(id string, d Digest) bool {
	r := p.routes[id]
	if r == nil {
		return true // it has left; there is nothing to mend
	}
	if r.until != 0 {
		p.expire(r, math.MaxInt64)
	}
	return r.digest == d
}

// Zones returns the zones of the loudspeakers beneath a downstream, itself included, and a number that changes
// whenever they do.
func (p *Picture) Zones(id string) (zones []zone.Zone, version uint64) {
	r := p.routes[id]
	if r == nil {
		return nil, 0
	}
	return slices.Collect(maps.Keys(r.zones)), r.version
}

// ZonesVersion is the number alone.
func (p *Picture) ZonesVersion(id string) uint64 {
	if r := p.routes[id]; r != nil {
		return r.version
	}
	return 0
}

// Routes returns the downstreams by which node is best reached: it itself if it is one, else those that listen to this
// node and under which the node is no standby. That is one, unless the node is on its way from one to another, or a relay
// says of a node that it is beneath although it is not: what is for the node goes by each then, so that nobody cuts it
// off by such a word. There is none for a node that is not beneath. In order.
func (p *Picture) Routes(node string) (ids []string) {
	if p.routes[node] != nil {
		return []string{node}
	}
	best := 0
	for _, via := range p.vias[node] {
		for _, s := range p.union[key{node, via}] {
			score := 0
			if !s.m.Standby {
				score += 2
			}
			if !s.route.self.Standby {
				score++
			}
			if score > best {
				best, ids = score, nil
			}
			if score == best {
				ids = append(ids, s.route.id)
			}
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// Members returns the union, one entry for each node and upstream of it, in order of node and upstream.
func (p *Picture) Members() []Member {
	all := make([]Member, 0, len(p.union))
	for _, s := range p.union {
		all = append(all, s[len(s)-1].m)
	}
	slices.SortFunc(all, func(a, b Member) int {
		if a.Node != b.Node {
			return cmp(a.Node, b.Node)
		}
		return cmp(a.Via, b.Via)
	})
	return all
}

func cmp(a, b string) int {
	if a < b {
		return -1
	}
	return 1
}

// Refused is how many members were left out because they were out of bounds, since the last call.
func (p *Picture) Refused() int {
	n := p.refused
	p.refused = 0
	return n
}

// expire drops what should have been named by now.
func (p *Picture) expire(r *route, now mediaclock.Local) {
	r.until = 0
	for _, s := range r.members {
		switch {
		case s.until == 0:
		case now >= s.until:
			p.drop(r, s)
		case r.until == 0 || s.until < r.until:
			r.until = s.until
		}
	}
}

func (r *route) stale(now mediaclock.Local) {
	if r.until == 0 {
		r.until = now.Add(Grace)
	}
	for _, s := range r.members {
		if s.until == 0 {
			s.until = now.Add(Grace)
		}
	}
}

// drop forgets what a route says of a member.
func (p *Picture) drop(r *route, s *sighting) {
	delete(r.members, s.m.key())
	r.digest.remove(s.m)
	r.count(s.m, -1)
	p.lose(s)
}

// see enters a sighting into the union.
func (p *Picture) see(s *sighting) {
	k := s.m.key()
	if p.union[k] == nil {
		p.vias[k.node] = append(p.vias[k.node], k.via)
	}
	p.union[k] = append(p.union[k], s)
	p.touch(k)
}

// lose takes the route's sighting out of the union.
func (p *Picture) lose(s *sighting) {
	k := s.m.key()
	rest := slices.DeleteFunc(p.union[k], func(x *sighting) bool { return x.route == s.route })
	if len(rest) > 0 {
		p.union[k] = rest
	} else if delete(p.union, k); len(p.vias[k.node]) == 1 {
		delete(p.vias, k.node)
	} else {
		p.vias[k.node] = slices.DeleteFunc(p.vias[k.node], func(v string) bool { return v == k.via })
	}
	p.touch(k)
}

func (p *Picture) touch(k key) {
	if !p.isDirty[k] {
		p.isDirty[k] = true
		p.dirty = append(p.dirty, k)
	}
}

// Restart makes the next word up a new beginning: an upstream has (re)joined, or lost its picture.
func (p *Picture) Restart() {
	p.anew = true
	clear(p.told)
	p.digest = Digest{}
	for k := range p.union {
		p.touch(k)
	}
}

// Tell returns what to say upwards next: at most n members that differ from what was told, and whether they are a new
// beginning. ok is false when there is nothing to say.
func (p *Picture) Tell(n int) (members []Member, full, ok bool) {
	full = p.anew
	i := 0
	for ; i < len(p.dirty) && len(members) < n; i++ {
		k := p.dirty[i]
		delete(p.isDirty, k)
		told, was := p.told[k]
		sightings := p.union[k]
		if len(sightings) == 0 {
			if was {
				p.digest.remove(told)
				delete(p.told, k)
				members = append(members, Member{Node: k.node, Via: k.via, Kind: told.Kind, Zone: told.Zone, Gone: true})
			}
			continue
		}
		m := sightings[len(sightings)-1].m
		if was && m == told {
			continue
		}
		if was {
			p.digest.remove(told)
		}
		p.digest.add(m)
		p.told[k] = m
		members = append(members, m)
	}
	p.dirty = slices.Delete(p.dirty, 0, i)
	p.anew = false
	return members, full, full || len(members) > 0
}

// Told is the digest of all that Tell has returned; ok is false while there is more to tell, for then the upstream's
// picture cannot agree yet.
func (p *Picture) Told() (d Digest, ok bool) { return p.digest, !p.anew && len(p.dirty) == 0 }
