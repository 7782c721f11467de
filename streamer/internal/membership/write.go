package membership

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"dongthanh/internal/zone"
	"dongthanh/streamer/internal/nodes"
)

// Picture is the picture of package nodes.
type Picture interface {
	Airings() []nodes.Airing
	List() []nodes.Node
	Changed() <-chan struct{}
}

// copied is what was written last, so that only differences are written between two refreshes.
type copied struct {
	members map[string]map[string]int64 // session → loudspeaker → lease, Unix ms
	zones   map[string][]zone.Zone      // session → zones it locks
	nodes   map[string]string           // node → what its hash holds, in one string
}

// chunk bounds the members of one command.
const chunk = 500

// write brings Redis up to date; whole says to write also what should be there already.
func (m *Mirror) write(ctx context.Context, now time.Time, whole bool) error {
	next := copied{members: map[string]map[string]int64{}, zones: map[string][]zone.Zone{}, nodes: map[string]string{}}
	pipe := m.redis.client.Pipeline()
	for _, a := range m.picture.Airings() {
		id := a.Record.ID
		next.members[id], next.zones[id] = leases(a), a.Record.Zones
		m.session(ctx, pipe, a, now, whole)
	}
	for id := range m.written.members {
		if _, on := next.members[id]; !on {
			m.ended(ctx, pipe, id, now)
		}
	}
	for _, n := range m.picture.List() {
		fields, state := nodeFields(n)
		next.nodes[n.ID] = state
		if n.State == nodes.Offline && !whole && m.written.nodes[n.ID] == state {
			continue
		}
		if whole || m.written.nodes[n.ID] != state {
			pipe.HSet(ctx, Prefix+"node:"+n.ID, fields)
			pipe.Expire(ctx, Prefix+"node:"+n.ID, nodeTTL)
		}
	}
	for id := range m.written.nodes {
		if _, known := next.nodes[id]; !known {
			pipe.Del(ctx, Prefix+"node:"+id)
		}
	}
	if pipe.Len() == 0 {
		return nil
	}
	limit, cancel := context.WithTimeout(ctx, callTime*time.Duration(1+pipe.Len()/2000))
	defer cancel()
	if _, err := pipe.Exec(limit); err != nil {
		return fmt.Errorf("write members: %w", err)
	}
	m.written = next
	return nil
}

func leases(a nodes.Airing) map[string]int64 {
	l := make(map[string]int64, len(a.Hearing))
	for id, until := range a.Hearing {
		l[id] = until.UnixMilli()
	}
	return l
}

// session writes one session on air: its hash, its members, the lock of its zones.
func (m *Mirror) session(ctx context.Context, pipe redis.Pipeliner, a nodes.Airing, now time.Time, whole bool) {
	x, key := a.Record, Prefix+"session:"+a.Record.ID
	members, before := leases(a), m.written.members[x.ID]
	pipe.HSet(ctx, key, map[string]any{
		"id": x.ID, "title": x.Title, "state": string(x.State), "zones": joined(x.Zones), "class": x.Class,
		"fence": x.Fence, "started_at": milliseconds(x.Started), "expected": a.Expected, "hearing": len(members),
	})
	pipe.Expire(ctx, key, sessionTTL)
	var add []redis.Z
	for id, until := range members {
		if whole || before[id] != until {
			add = append(add, redis.Z{Score: float64(until), Member: id})
		}
	}
	for len(add) > 0 {
		n := min(chunk, len(add))
		pipe.ZAdd(ctx, key+":members", add[:n]...)
		add = add[n:]
	}
	for id := range before {
		if _, still := members[id]; !still {
			pipe.ZRem(ctx, key+":members", id)
		}
	}
	if len(members) > 0 {
		// Whoever is in the set without our knowing, from before a crash of ours, leaves it here.
		pipe.ZRemRangeByScore(ctx, key+":members", "-inf", "("+strconv.FormatInt(now.UnixMilli(), 10))
		pipe.Expire(ctx, key+":members", memberTTL)
	} else {
		pipe.Del(ctx, key+":members")
	}
	lock, _ := json.Marshal(Lock{Session: x.ID, Title: x.Title, Class: x.Class, Fence: x.Fence}) // strings and a number: cannot fail
	for _, z := range x.Zones {
		pipe.Set(ctx, Prefix+"onair:"+string(z), lock, lockTTL)
	}
}

// Lock is what dongthanh:onair:{ZONE} holds: which session is on air there. It is a courtesy to those who look; the
// loudspeakers decide by fence and class on their own.
type Lock struct {
	Session string `json:"session"`
	Title   string `json:"title"`
	Class   string `json:"class"`
	Fence   uint64 `json:"fence"`
}

// ended takes a session that is over out of Redis; its hash stays for a day.
func (m *Mirror) ended(ctx context.Context, pipe redis.Pipeliner, id string, now time.Time) {
	key := Prefix + "session:" + id
	pipe.Del(ctx, key+":members")
	pipe.HSet(ctx, key, "state", "ended", "hearing", 0, "ended_at", now.UnixMilli())
	pipe.Expire(ctx, key, endedTTL)
	for _, z := range m.written.zones[id] {
		if !m.locked(z, id) {
			pipe.Del(ctx, Prefix+"onair:"+string(z))
		}
	}
}

// locked reports whether another session on air holds the zone.
func (m *Mirror) locked(z zone.Zone, not string) bool {
	for _, a := range m.picture.Airings() {
		for _, w := range a.Record.Zones {
			if w == z && a.Record.ID != not {
				return true
			}
		}
	}
	return false
}

// nodeFields returns a node's hash and all of it in one string, to see whether it changed.
func nodeFields(n nodes.Node) (map[string]any, string) {
	f := map[string]any{
		"id": n.ID, "name": n.Name, "kind": string(n.Kind), "zone": string(n.Zone), "state": string(n.State),
		"upstream": n.Upstream, "standby": strings.Join(n.Standby, " "), "version": n.Version, "session": n.Session,
		"since": milliseconds(n.Since),
	}
	return f, fmt.Sprint(f) // fmt prints maps in the order of their keys
}

func joined(zones []zone.Zone) string {
	s := make([]string, len(zones))
	for i, z := range zones {
		s[i] = string(z)
	}
	return strings.Join(s, " ")
}

func milliseconds(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}
