package nodes

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"dongthanh/internal/control"
	"dongthanh/internal/signed"
	"dongthanh/internal/zone"
	"dongthanh/streamer/internal/store"
)

var start = time.Date(2026, 11, 24, 7, 0, 0, 0, time.UTC)

func enrolled(kind store.NodeKind, id string, z zone.Zone) store.Node {
	return store.Node{ID: id, Name: id, Kind: kind, Zone: z}
}

// scene has two communes with two loudspeakers each; session S is on air in the first.
func scene() *table {
	t := newTable()
	t.enrol([]store.Node{
		enrolled(store.NodeRelay, "r1", "31/11296"),
		enrolled(store.NodeClient, "a", "31/11296/01"), enrolled(store.NodeClient, "b", "31/11296/02"),
		enrolled(store.NodeClient, "c", "31/11407/01"), enrolled(store.NodeClient, "d", "31/11407/02"),
	})
	t.change(up("a", "r1", false), start)
	t.change(up("a", "r2", true), start)
	t.change(up("b", "r1", false), start)
	t.open(store.Session{ID: "S", Zones: []zone.Zone{"31/11296"}, Transmission: [16]byte{1}})
	return t
}

func up(node, via string, standby bool) control.Changes {
	return control.Changes{Members: []control.Member{{Node: node, Via: via, Kind: "client", Standby: standby, Since: start.UnixMilli()}}}
}

func gone(node, via string) control.Changes {
	return control.Changes{Members: []control.Member{{Node: node, Via: via, Gone: true}}}
}

func hears(node string, number uint64) signed.Report {
	return signed.Report{Node: node, Number: number, Transmission: [16]byte{1}, Hearing: true}
}

func TestListeners(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(*table)
		want Listeners
	}{
		{"nobody has reported", func(*table) {}, Listeners{Expected: 2, Missing: []string{"a", "b"}}},
		{"one hears", func(t *table) { t.report(hears("a", 1), start) },
			Listeners{Expected: 2, Hearing: []string{"a"}, Missing: []string{"b"}}},
		{"one of another commune hears it by mistake", func(t *table) { t.report(hears("c", 1), start) },
			Listeners{Expected: 2, Missing: []string{"a", "b"}}},
		{"an old report comes late", func(t *table) {
			t.report(signed.Report{Node: "a", Number: 2, Transmission: [16]byte{1}}, start)
			t.report(hears("a", 1), start)
		}, Listeners{Expected: 2, Missing: []string{"a", "b"}}},
		{"its count of starts was lost", func(t *table) {
			t.report(signed.Report{Node: "a", Number: 7 << 40, At: 100, Transmission: [16]byte{1}}, start)
			again := hears("a", 1<<40)
			again.At = 101
			t.report(again, start)
		}, Listeners{Expected: 2, Hearing: []string{"a"}, Missing: []string{"b"}}},
		{"it falls silent", func(t *table) {
			t.report(hears("a", 1), start)
			t.report(signed.Report{Node: "a", Number: 2, Transmission: [16]byte{1}}, start)
		}, Listeners{Expected: 2, Missing: []string{"a", "b"}}},
		{"its lease ends", func(t *table) { t.report(hears("a", 1), start); t.expire(start.Add(Lease + 1)) },
			Listeners{Expected: 2, Missing: []string{"a", "b"}}},
		{"its lease holds", func(t *table) { t.report(hears("a", 1), start); t.expire(start.Add(Lease)) },
			Listeners{Expected: 2, Hearing: []string{"a"}, Missing: []string{"b"}}},
		{"one of its two routes is gone", func(t *table) { t.report(hears("a", 1), start); t.change(gone("a", "r1"), start) },
			Listeners{Expected: 2, Hearing: []string{"a"}, Missing: []string{"b"}}},
		{"both routes are gone", func(t *table) {
			t.report(hears("a", 1), start)
			t.change(gone("a", "r1"), start)
			t.change(gone("a", "r2"), start)
		}, Listeners{Expected: 2, Missing: []string{"a", "b"}}},
		{"a whole picture without it", func(t *table) {
			t.report(hears("a", 1), start)
			t.report(hears("b", 1), start)
			t.change(control.Changes{Full: true, Members: up("b", "r1", false).Members}, start)
		}, Listeners{Expected: 2, Hearing: []string{"b"}, Missing: []string{"a"}}},
		{"one is revoked", func(t *table) {
			t.report(hears("a", 1), start)
			t.enrol([]store.Node{enrolled(store.NodeClient, "b", "31/11296/02"), {ID: "a", Kind: store.NodeClient, Zone: "31/11296/01", Revoked: start}})
		}, Listeners{Expected: 1, Missing: []string{"b"}}},
		{"it is over", func(t *table) { t.report(hears("a", 1), start); t.close(store.Session{ID: "S"}) }, Listeners{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			table := scene()
			c.do(table)
			got := table.listeners("S")
			got.Silent = nil // see TestSilent
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestOneSoundAtATime: a loudspeaker that an emergency has taken over no longer hears the session below.
func TestOneSoundAtATime(t *testing.T) {
	table := scene()
	table.open(store.Session{ID: "E", Zones: []zone.Zone{"31"}, Transmission: [16]byte{2}})
	table.report(hears("a", 1), start)
	table.report(signed.Report{Node: "a", Number: 2, Transmission: [16]byte{2}, Hearing: true}, start)
	if got := table.listeners("S"); len(got.Hearing) != 0 {
		t.Errorf("S is heard by %v, want nobody", got.Hearing)
	}
	if got := table.listeners("E"); len(got.Hearing) != 1 || got.Expected != 4 {
		t.Errorf("E = %+v, want one of four", got)
	}
}

func TestNode(t *testing.T) {
	table := scene()
	n := table.node(table.enrolled["a"])
	if n.State != Online || n.Upstream != "r1" || len(n.Standby) != 1 || n.Standby[0] != "r2" {
		t.Errorf("a = %+v", n)
	}
	table.report(hears("a", 1), start)
	if n := table.node(table.enrolled["a"]); n.State != Playing || n.Session != "S" || n.ReportedAt != start {
		t.Errorf("a, hearing = %+v", n)
	}
	if n := table.node(table.enrolled["c"]); n.State != Offline || n.Upstream != "" {
		t.Errorf("c = %+v", n)
	}
}

func TestWhoNeedsKeys(t *testing.T) {
	table := scene()
	if got, _ := table.change(up("c", "r2", false), start); !cmp.Equal(got, []string{"c"}) {
		t.Errorf("c appears, and %v need keys", got)
	}
	if got, _ := table.change(up("c", "r1", true), start); got != nil {
		t.Errorf("c is seen by a second route, and %v need keys again", got)
	}
	again := up("c", "r1", false)
	if got, _ := table.change(again, start); got != nil {
		t.Errorf("c listens where it stood by, and %v need keys again", got)
	}
	again.Members[0].Since++
	if got, _ := table.change(again, start); !cmp.Equal(got, []string{"c"}) {
		t.Errorf("c has joined r1 once more, and %v need keys", got)
	}
	table.change(up("late", "r1", false), start)
	got, _ := table.enrol([]store.Node{enrolled(store.NodeClient, "late", "31/11296/03")})
	if !cmp.Equal(got, []string{"late"}) {
		t.Errorf("enrolled after it connected: %v need keys, want [late]", got)
	}
	if got, _ := table.change(control.Changes{Full: true, Members: up("late", "r1", false).Members}, start); got != nil {
		t.Errorf("a repeated picture: %v need keys again", got)
	}
}

// TestNamesWithoutEnd: a relay that names ever new nodes, and lets them go, leaves nothing behind.
func TestNamesWithoutEnd(t *testing.T) {
	tb := scene()
	for i := range 1000 {
		id := fmt.Sprint("made-up-", i)
		tb.change(up(id, "r1", false), start)
		if _, left := tb.change(gone(id, "r1"), start); len(left) != 0 {
			t.Fatalf("%q is noted as seen", left)
		}
	}
	tb.change(up("made-up", "r1", false), start)
	if _, left := tb.change(control.Changes{Full: true, Members: up("b", "r1", false).Members}, start); !cmp.Equal(left, []string{"a"}) {
		t.Errorf("after a new beginning %q are noted as seen, want a", left)
	}
	if len(tb.links) != 1 || len(tb.left) != 1 || len(tb.reports) != 0 {
		t.Errorf("what is kept: %d links, %d that left, %d reports", len(tb.links), len(tb.left), len(tb.reports))
	}
}
