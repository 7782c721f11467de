package nodes

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"dongthanh/internal/signed"
	"dongthanh/streamer/internal/store"
)

// counted is a report with frames that sounded or not.
func counted(node string, number uint64, hearing bool, played, concealed uint32) signed.Report {
	r := hears(node, number)
	r.Hearing, r.Played, r.Concealed = hearing, played, concealed
	return r
}

func TestAccount(t *testing.T) {
	at := func(seconds int) time.Time { return start.Add(time.Duration(seconds) * time.Second) }
	silent := store.Listener{Node: "b", Name: "b", Zone: "31/11296/02", State: "online"}
	for _, c := range []struct {
		name string
		do   func(*table)
		want store.Listener // of a
	}{
		{"it heard to the end, and said how much", func(t *table) {
			t.report(counted("a", 1, true, 100, 0), at(0))
			t.report(counted("a", 2, true, 200, 1), at(2))
			t.close(store.Session{ID: "S", Ended: at(3)})
			t.report(counted("a", 3, false, 250, 2), at(4))
		}, store.Listener{State: "online", Seen: at(4), From: at(0), To: at(3), Played: 250, Concealed: 2}},
		{"it fell silent", func(t *table) {
			t.report(counted("a", 1, true, 100, 0), at(0))
			t.report(counted("a", 2, true, 200, 0), at(2))
			t.change(gone("a", "r1"), at(8))
			t.change(gone("a", "r2"), at(9))
			t.close(store.Session{ID: "S", Ended: at(60)})
		}, store.Listener{State: "offline", Seen: at(9), From: at(0), To: at(2), Played: 200}},
		{"it heard something else in between", func(t *table) {
			t.report(counted("a", 1, true, 100, 0), at(0))
			t.report(counted("a", 2, false, 150, 0), at(1))
			t.report(signed.Report{Node: "a", Number: 3, Transmission: [16]byte{9}, Hearing: true, Played: 77}, at(5))
			t.report(counted("a", 4, false, 150, 0), at(8))
		}, store.Listener{State: "online", Seen: at(8), From: at(0), To: at(1), Played: 150}},
		{"it was started anew", func(t *table) {
			t.report(counted("a", 1, true, 100, 3), at(0))
			t.report(counted("a", 1<<40, true, 40, 1), at(9))
			t.report(counted("a", 1<<40+1, true, 60, 1), at(11))
		}, store.Listener{State: "playing", Seen: at(11), From: at(0), To: at(11), Played: 160, Concealed: 4}},
		{"it only ever said that it does not hear", func(t *table) {
			t.report(counted("a", 1, false, 0, 0), at(1))
		}, store.Listener{State: "online", Seen: at(1)}},
	} {
		t.Run(c.name, func(t *testing.T) {
			x := scene()
			c.do(x)
			c.want.Node, c.want.Name, c.want.Zone = "a", "a", "31/11296/01"
			if d := cmp.Diff([]store.Listener{c.want, silent}, x.account("S")); d != "" {
				t.Error(d)
			}
			x.close(store.Session{ID: "S"})
			x.forget("S")
			if x.account("S") != nil || len(x.carried) > 0 {
				t.Error("the session is not forgotten")
			}
		})
	}
}
