package topology

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"dongthanh/internal/mediaclock"
	"dongthanh/internal/zone"
)

const start = mediaclock.Local(1e9)

func client(node, via string, z zone.Zone) Member {
	return Member{Node: node, Via: via, Kind: Client, Zone: z}
}

func relay(node, via string) Member { return Member{Node: node, Via: via, Kind: Relay, Zone: "31"} }

func gone(m Member) Member { m.Gone = true; return m }

func standby(m Member) Member { m.Standby = true; return m }

// show writes members as one line each: "c1@r1", with - for one that is gone and ~ for a standby.
func show(members []Member) string {
	var lines []string
	for _, m := range members {
		s := m.Node + "@" + m.Via
		if m.Standby {
			s = "~" + s
		}
		if m.Gone {
			s = "-" + s
		}
		lines = append(lines, s)
	}
	slices.Sort(lines)
	return strings.Join(lines, " ")
}

// told drains what there is to say.
func told(p *Picture) string {
	var all []Member
	full := ""
	for {
		members, anew, ok := p.Tell(3)
		if !ok {
			return full + show(all)
		}
		if anew {
			full, all = "full ", nil
		}
		all = append(all, members...)
	}
}

func TestLoop(t *testing.T) {
	long := make([]string, MaxHops)
	tests := []struct {
		path []string
		node string
		want bool
	}{
		{[]string{"s", "province"}, "commune", false},
		{[]string{"s", "commune", "province"}, "commune", true},
		{[]string{"self"}, "self", true},
		{nil, "x", false},
		{long, "x", true},
		{long[:MaxHops-1], "x", false},
	}
	for _, tt := range tests {
		if got := Loop(tt.path, tt.node); got != tt.want {
			t.Errorf("Loop(%v, %q) = %v, want %v", tt.path, tt.node, got, tt.want)
		}
	}
}

// TestRoutes follows one picture through joins, moves and deaths. Each step says what goes up.
func TestRoutes(t *testing.T) {
	p := NewPicture()
	now := start
	steps := []struct {
		name string
		do   func()
		tell string
		all  string
	}{
		{"two relays join", func() { p.Join(now, relay("r1", "me")); p.Join(now, relay("r2", "me")) }, "r1@me r2@me", "r1@me r2@me"},
		{"nothing more to say", func() {}, "", "r1@me r2@me"},
		{"r1 has two loudspeakers", func() {
			p.Apply(now, "r1", true, []Member{client("c1", "r1", "31/1"), client("c2", "r1", "31/1")})
		}, "c1@r1 c2@r1", "c1@r1 c2@r1 r1@me r2@me"},
		{"c1 stands by at r2", func() { p.Apply(now, "r2", true, []Member{standby(client("c1", "r2", "31/1"))}) },
			"~c1@r2", "c1@r1 c2@r1 r1@me r2@me ~c1@r2"},
		{"r1 stands by at r2 too: its loudspeakers are known by two routes", func() {
			p.Apply(now, "r2", false, []Member{standby(relay("r1", "r2")), client("c1", "r1", "31/1"), client("c2", "r1", "31/1")})
		}, "~r1@r2", "c1@r1 c2@r1 r1@me r2@me ~c1@r2 ~r1@r2"},
		{"c2 is gone by one route", func() { p.Apply(now, "r1", false, []Member{gone(client("c2", "r1", "31/1"))}) },
			"", "c1@r1 c2@r1 r1@me r2@me ~c1@r2 ~r1@r2"},
		{"and by the other", func() { p.Apply(now, "r2", false, []Member{gone(client("c2", "r1", "31/1"))}) },
			"-c2@r1", "c1@r1 r1@me r2@me ~c1@r2 ~r1@r2"},
		{"r1 dies here: c1 is still known through r2", func() { p.Leave("r1") }, "-r1@me", "c1@r1 r2@me ~c1@r2 ~r1@r2"},
		{"r1 stands up at r2", func() {
			p.Apply(now, "r2", false, []Member{relay("r1", "r2")})
		}, "r1@r2", "c1@r1 r1@r2 r2@me ~c1@r2"},
		{"c1 comes and goes between two words", func() {
			p.Apply(now, "r2", false, []Member{client("c9", "r2", "31/2")})
			p.Apply(now, "r2", false, []Member{gone(client("c9", "r2", "31/2"))})
		}, "", "c1@r1 r1@r2 r2@me ~c1@r2"},
		{"what was said is not said again", func() { p.Apply(now, "r2", false, []Member{relay("r1", "r2")}) }, "", "c1@r1 r1@r2 r2@me ~c1@r2"},
		{"r2 stands by", func() { p.Stand("r2", true) }, "~r2@me", "c1@r1 r1@r2 ~c1@r2 ~r2@me"},
		{"everything anew", func() { p.Restart() }, "full c1@r1 r1@r2 ~c1@r2 ~r2@me", "c1@r1 r1@r2 ~c1@r2 ~r2@me"},
		{"the last route goes", func() { p.Leave("r2"); p.Leave("r2") }, "-c1@r1 -c1@r2 -r1@r2 -r2@me", ""},
		{"everything anew, and there is nothing", func() { p.Restart() }, "full ", ""},
		{"a word of one that has left", func() { p.Apply(now, "r2", true, []Member{client("c1", "r2", "31")}) }, "", ""},
	}
	for _, s := range steps {
		now = now.Add(time.Second)
		s.do()
		if got := told(p); got != s.tell {
			t.Errorf("%s: told %q, want %q", s.name, got, s.tell)
		}
		if got := show(p.Members()); got != s.all {
			t.Errorf("%s: Members() = %q, want %q", s.name, got, s.all)
		}
	}
}

func TestNewBeginningInParts(t *testing.T) {
	p := NewPicture()
	now := start
	p.Join(now, relay("r1", "me"))
	p.Apply(now, "r1", true, []Member{client("c1", "r1", "31/1"), client("c2", "r1", "31/2"), client("c3", "r1", "31/3")})
	told(p)
	version := p.ZonesVersion("r1")

	now = now.Add(time.Minute)
	p.Apply(now, "r1", true, []Member{client("c1", "r1", "31/1")}) // the first part
	if got := told(p); got != "" {
		t.Errorf("between two parts of a new beginning: told %q, want nothing", got)
	}
	p.Expire(now.Add(Grace / 2))
	p.Apply(now.Add(Grace/2), "r1", false, []Member{client("c2", "r1", "31/2")}) // the second
	if p.ZonesVersion("r1") != version {
		t.Error("the zones changed between two parts of a new beginning: media would stop")
	}
	p.Expire(now.Add(Grace))
	if got := told(p); got != "-c3@r1" {
		t.Errorf("after the grace: told %q, want c3 gone", got)
	}
	if zones, v := p.Zones("r1"); v == version || len(zones) != 2 {
		t.Errorf("Zones() = %v, version %d, want two of a new version", zones, v)
	}
}

func TestJoinAgainKeepsWhatWasSaid(t *testing.T) {
	p := NewPicture()
	now := start
	p.Join(now, relay("r1", "me"))
	p.Apply(now, "r1", true, []Member{client("c1", "r1", "31/1"), client("c2", "r1", "31/1")})
	told(p)
	p.Join(now.Add(time.Second), standby(relay("r1", "me")))
	if got := told(p); got != "~r1@me" {
		t.Errorf("after a second join: told %q, want its standby alone", got)
	}
	p.Apply(now.Add(2*time.Second), "r1", true, []Member{client("c2", "r1", "31/1")})
	p.Expire(now.Add(time.Second + Grace))
	if got := told(p); got != "-c1@r1" {
		t.Errorf("after its new beginning: told %q, want c1 gone", got)
	}
}

func TestZones(t *testing.T) {
	p := NewPicture()
	p.Join(start, client("c0", "me", "31/9"))
	if zones, _ := p.Zones("c0"); !slices.Equal(zones, []zone.Zone{"31/9"}) {
		t.Errorf("a loudspeaker's own zone: %v", zones)
	}
	p.Join(start, relay("r1", "me"))
	if zones, _ := p.Zones("r1"); len(zones) != 0 {
		t.Errorf("a relay without loudspeakers has zones %v, want none", zones)
	}
	p.Apply(start, "r1", false, []Member{standby(client("c1", "r1", "31/1")), client("c2", "r1", "31/1"), relay("r9", "r1")})
	if zones, _ := p.Zones("r1"); !slices.Equal(zones, []zone.Zone{"31/1"}) {
		t.Errorf("zones %v, want 31/1, of a standby too and of no relay", zones)
	}
	v := p.ZonesVersion("r1")
	p.Apply(start, "r1", false, []Member{gone(client("c1", "r1", "31/1"))})
	if p.ZonesVersion("r1") != v {
		t.Error("one of two loudspeakers in a zone left, and the zones changed")
	}
	p.Apply(start, "r1", false, []Member{client("c2", "r1", "31/2")})
	if zones, now := p.Zones("r1"); !slices.Equal(zones, []zone.Zone{"31/2"}) || now == v {
		t.Errorf("after the last one moved: %v, version %d", zones, now)
	}
	if zones, v := p.Zones("nobody"); zones != nil || v != 0 {
		t.Errorf("zones of nobody: %v, %d", zones, v)
	}
}

func TestDigest(t *testing.T) {
	// By hand, as docs/protocol.md describes it.
	h := sha256.Sum256([]byte("c1\x00r1\x0031/1\x000"))
	g := sha256.Sum256([]byte("c2\x00r1\x0031/1\x001"))
	want := Digest{2, binary.BigEndian.Uint64(h[:8]) ^ binary.BigEndian.Uint64(g[:8])}

	p := NewPicture()
	p.Join(start, relay("r1", "me"))
	p.Apply(start, "r1", true, []Member{client("c1", "r1", "31/1"), standby(client("c2", "r1", "31/1")), client("c3", "r1", "31/1")})
	p.Apply(start, "r1", false, []Member{gone(client("c3", "r1", "31/1"))})
	if !p.Agrees("r1", want) {
		t.Error("the digest made by hand does not agree")
	}
	for _, wrong := range []Digest{{}, {2, want.Sum ^ 1}, {1, want.Sum}} {
		if p.Agrees("r1", wrong) {
			t.Errorf("Agrees(%+v) = true, want false", wrong)
		}
	}
	if !p.Agrees("nobody", Digest{}) {
		t.Error("one that has left need not agree")
	}
	// It comes behind everything it sums up: what the new beginning did not name is gone by then.
	p.Apply(start, "r1", true, []Member{client("c1", "r1", "31/1")})
	if !p.Agrees("r1", Digest{1, binary.BigEndian.Uint64(h[:8])}) {
		t.Error("a digest behind a new beginning does not agree")
	}
}

func TestLiarsAreLeftOut(t *testing.T) {
	long := strings.Repeat("x", 65)
	bad := []Member{
		{}, {Node: "a", Kind: Client}, {Via: "a", Kind: Client}, client("a", "a", "31"),
		client(long, "r1", "31"), client("a", long, "31"), client("a", "r1", "../31"), client("a", "r1", zone.Zone(long)),
		{Node: "a", Via: "r1", Kind: "streamer"}, {Node: "a", Via: "r1", Kind: Client, Version: long},
		{Node: "a", Via: "r1", Kind: Client, Address: long}, client("r1", "me", "31/1"),
	}
	p := NewPicture()
	p.Join(start, relay("r1", "me"))
	p.Apply(start, "r1", true, append(bad, client("good", "r1", "31")))
	if got := show(p.Members()); got != "good@r1 r1@me" {
		t.Errorf("Members() = %q", got)
	}
	if n := p.Refused(); n != len(bad) {
		t.Errorf("Refused() = %d, want %d", n, len(bad))
	}
	many := make([]Member, MaxMembers+10)
	for i := range many {
		many[i] = client(fmt.Sprint("m", i), "r1", "31")
	}
	p.Apply(start, "r1", true, many)
	if n := p.Refused(); n != 11 { // the good one is still there
		t.Errorf("%d beyond the bound were left out, want 11", n)
	}
}

func TestRoute(t *testing.T) {
	p := NewPicture()
	p.Join(start, relay("r1", "me"))
	p.Join(start, standby(relay("r2", "me")))
	p.Join(start, relay("r3", "me"))
	p.Join(start, client("c0", "me", "31"))
	p.Apply(start, "r2", true, []Member{client("c1", "r2", "31"), client("c2", "r2", "31"), client("c3", "r2", "31")})
	p.Apply(start, "r1", true, []Member{standby(client("c1", "r1", "31")), client("c2", "r9", "31")})
	p.Apply(start, "r3", true, []Member{client("c4", "r3", "31")})
	p.Join(start, relay("liar", "me"))
	p.Apply(start, "liar", true, []Member{client("c5", "liar", "31"), client("c0", "liar", "31")})
	p.Apply(start, "r3", false, []Member{client("c5", "r3", "31")})
	tests := []struct{ node, want string }{
		{"r1", "r1"}, {"c0", "c0"}, {"c4", "r3"}, {"c5", "liar r3"},
		{"c1", "r2"}, // it listens there, though r2 itself stands by here
		{"c2", "r1"}, // listens by both; r1 listens to us
		{"c3", "r2"}, {"c8", ""},
	}
	for _, tt := range tests {
		if got := strings.Join(p.Routes(tt.node), " "); got != tt.want {
			t.Errorf("Routes(%q) = %q, want %q", tt.node, got, tt.want)
		}
	}
}

// TestPicturesAgree lets two relays live through random changes, one beneath the other, and requires that the upper
// one's picture is the lower one's whenever everything was told.
func TestPicturesAgree(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 11))
	lower, upper := NewPicture(), NewPicture()
	now := start
	upper.Join(now, relay("r", "top"))
	pass := func() {
		for {
			members, full, ok := lower.Tell(5)
			if !ok {
				break
			}
			upper.Apply(now, "r", full, members)
		}
		d, ok := lower.Told()
		if !ok {
			t.Fatal("everything was told, and there is more")
		}
		if !upper.Agrees("r", d) {
			t.Fatal("the digests differ")
		}
		want := append(lower.Members(), relay("r", "top"))
		if got := upper.Members(); show(got) != show(want) {
			t.Fatalf("upper %q\nlower %q", show(got), show(want))
		}
	}
	ids := []string{"a", "b", "c"}
	for range 3000 {
		now = now.Add(time.Duration(rng.IntN(700)) * time.Millisecond)
		id := ids[rng.IntN(len(ids))]
		m := client(fmt.Sprint("c", rng.IntN(12)), fmt.Sprint("v", rng.IntN(3)), zone.Zone(fmt.Sprint("31/", rng.IntN(3))))
		m.Standby, m.Gone = rng.IntN(4) == 0, rng.IntN(3) == 0
		switch rng.IntN(12) {
		case 0:
			lower.Join(now, relay(id, "r"))
		case 1:
			lower.Leave(id)
		case 2:
			lower.Stand(id, rng.IntN(2) == 0)
		case 3:
			lower.Apply(now, id, true, []Member{m})
		case 4:
			lower.Expire(now)
		case 5:
			lower.Restart()
		case 6:
			pass()
		default:
			lower.Apply(now, id, false, []Member{m})
		}
	}
	for _, id := range ids {
		lower.Leave(id)
	}
	pass()
	if got := show(upper.Members()); got != "r@top" {
		t.Errorf("after all have left: %q", got)
	}
}
