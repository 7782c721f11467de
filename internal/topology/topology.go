// Package topology decides who is beneath whom: what each downstream says of its subtree, the union of it all, what of
// that must be told upwards, which downstream a transmission or a key goes to, and when a path has become a loop. It is
// pure; time comes in as an argument.
package topology

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"time"

	"dongthanh/internal/mediaclock"
	"dongthanh/internal/signed"
	"dongthanh/internal/zone"
)

// MaxHops is the longest path from the streamer down to a node, the node included.
const MaxHops = 16

// Loop reports whether a node with the given path (ids from the streamer down to itself) may not feed node: node feeds
// it already, or the path has as many hops as a path may have.
func Loop(path []string, node string) bool {
	return len(path) >= MaxHops || slices.Contains(path, node)
}

// Limits of a picture, against a relay that lies. A province has some thousand loudspeakers.
const (
	MaxMembers = 50_000 // beneath one downstream
	maxText    = 64     // bytes of a version or an address
)

// Grace is how long a member that a downstream's new beginning has not named yet stays: the beginning of a large
// picture comes in several messages, and media must go on meanwhile.
const Grace = 2 * time.Second

// The kinds of members. Only loudspeakers want media.
const (
	Relay  = "relay"
	Client = "client"
)

// Member is a node as the node it is connected to sees it. The fields are those of control.Member, so that one converts
// into the other.
type Member struct {
	Node    string
	Via     string // id of the node it is connected to
	Kind    string
	Zone    zone.Zone
	Version string
	Address string // as Via sees it
	Standby bool
	Since   int64 // Unix ms, when it joined Via
	Gone    bool
	Serial  string // of the certificate that it shows
}

// valid reports whether m is within the bounds of what a relay may say.
func (m Member) valid() bool {
	id := func(s string) bool { return s != "" && len(s) <= signed.MaxNodeID }
	if !id(m.Node) || !id(m.Via) || m.Node == m.Via || (m.Kind != Relay && m.Kind != Client) ||
		len(m.Version) > maxText || len(m.Address) > maxText || len(m.Serial) > maxText {
		return false
	}
	_, err := zone.Parse(string(m.Zone))
	return err == nil
}

func (m Member) key() key { return key{m.Node, m.Via} }

// key names a member: a node that is connected to two upstreams is there twice, since the two see it differently.
type key struct{ node, via string }

// Digest sums up a set of members: how many, and the XOR of the first 8 bytes (big-endian) of SHA-256 over
// "node\x00via\x00zone\x00standby(0|1)" of each. Adding a member a second time takes it out.
type Digest struct {
	Count int
	Sum   uint64
}

func (d *Digest) add(m Member) { d.Count++; d.Sum ^= m.sum() }

func (d *Digest) remove(m Member) { d.Count--; d.Sum ^= m.sum() }

func (m Member) sum() uint64 {
	b := make([]byte, 0, 2*signed.MaxNodeID+zone.MaxLength+4)
	b = append(b, m.Node...)
	b = append(b, 0)
	b = append(b, m.Via...)
	b = append(b, 0)
	b = append(b, m.Zone...)
	standby := byte('0')
	if m.Standby {
		standby = '1'
	}
	b = append(b, 0, standby)
	h := sha256.Sum256(b)
	return binary.BigEndian.Uint64(h[:])
}

// route is one downstream and what it says is beneath it.
type route struct {
	id      string
	self    Member            // the downstream itself, as this node sees it
	members map[key]*sighting // beneath it, without itself
	digest  Digest            // of members
	zones   map[zone.Zone]int // of loudspeakers, with self; how many in each
	version uint64            // of zones
	until   mediaclock.Local  // when the first of members that were not named again is forgotten; 0: there is none
}

// sighting is a member as one route shows it.
type sighting struct {
	route *route
	m     Member
	until mediaclock.Local // it is forgotten then; 0: never
}

func (r *route) count(m Member, n int) {
	if m.Kind != Client {
		return
	}
	before := r.zones[m.Zone]
	if before+n == 0 {
		delete(r.zones, m.Zone)
	} else {
		r.zones[m.Zone] = before + n
	}
	if (before == 0) != (before+n == 0) {
		r.version++
	}
}
