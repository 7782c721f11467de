package nodes

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"dongthanh/internal/control"
	"dongthanh/internal/identity"
	"dongthanh/internal/mediaclock"
	"dongthanh/internal/signed"
	"dongthanh/internal/zone"
	"dongthanh/streamer/internal/store"
)

// volumes returns what volumes were ordered of a node since the last call, and drops what else was.
func (b *bed) volumes(node string) (list []int32) {
	for _, o := range b.given() {
		if o.Node == node && o.Volume != nil {
			list = append(list, *o.Volume)
		}
	}
	return list
}

func (b *bed) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

// setTo tells what a loudspeaker plays at, as it does after a join and an order.
func setTo(node string, number uint64, volume int32, order uint64) signed.Report {
	return signed.Report{Node: node, Number: number, Volume: &volume, Order: order, At: mediaclock.At(time.Now())}
}

// TestVolumeIsOrdered: at each join and at each change, and to loudspeakers only.
func TestVolumeIsOrdered(t *testing.T) {
	inTime(t, func(t *testing.T, b *bed) {
		c := b.enrol(identity.Client, "loa", "31/11296/02")
		relay := b.enrol(identity.Relay, "trạm", "31")
		id := c.Node.ID
		b.must(b.TurnTo(t.Context(), id, -600))
		if list := b.given(); len(list) != 0 {
			t.Errorf("%d orders to a node that is not there", len(list))
		}
		b.Changes(up(relay.Node.ID, "streamer", false))
		b.Changes(up(id, relay.Node.ID, false))
		list := b.given()
		if len(list) != 1 || list[0].Node != id || *list[0].Volume != -600 || list[0].ToneMS != 0 {
			t.Fatalf("at its join: %+v, want one order of -600", list)
		}
		if o := list[0]; o.At != mediaclock.At(time.Now()) || o.NotAfter.Sub(o.At) != signed.OrderValidity || o.Number != uint64(o.At) {
			t.Errorf("the order %+v", o)
		}
		b.must(b.TurnTo(t.Context(), id, -300))
		b.must(b.TurnTo(t.Context(), id, 0))
		second := b.given()
		if n := len(second); n == 0 || *second[n-1].Volume != 0 || second[0].Number <= list[0].Number {
			t.Errorf("two changes: %+v, want 0 at last, with a higher number", second)
		}
		again := up(id, relay.Node.ID, false)
		again.Members[0].Since++
		b.Changes(again)
		if got := b.volumes(id); !cmp.Equal(got, []int32{0}) {
			t.Errorf("at another join %v is ordered, want 0", got)
		}
		for _, x := range []struct {
			id     string
			volume int32
			want   error
		}{{id, 1, store.ErrInvalid}, {id, -6001, store.ErrInvalid}, {relay.Node.ID, -100, ErrNotLoudspeaker}, {"nobody", -100, store.ErrNotFound}} {
			if err := b.TurnTo(t.Context(), x.id, x.volume); !errors.Is(err, x.want) {
				t.Errorf("TurnTo(%s, %d) = %v, want %v", x.id, x.volume, err, x.want)
			}
		}
		if got := b.given(); len(got) != 0 {
			t.Errorf("refused, and ordered: %+v", got)
		}
	})
}

// TestVolumeOnRecordAlone: a wish that another program wrote into the database is ordered once it is read.
func TestVolumeOnRecordAlone(t *testing.T) {
	inTime(t, func(t *testing.T, b *bed) {
		c := b.enrol(identity.Client, "loa", "31/11296")
		b.Changes(up(c.Node.ID, "r", false))
		b.given()
		b.must(b.store.SetVolume(t.Context(), c.Node.ID, -1000))
		b.Reload()
		time.Sleep(300 * time.Millisecond)
		if got := b.volumes(c.Node.ID); !cmp.Equal(got, []int32{-1000}) {
			t.Errorf("ordered %v, want -1000", got)
		}
	})
}

// TestLostOrderIsGivenAgain: while a loudspeaker tells of another volume than is wished, but not at once, for the order may
// be on its way; and an order above the highest that it says it has seen, wherever this clock stands.
func TestLostOrderIsGivenAgain(t *testing.T) {
	inTime(t, func(t *testing.T, b *bed) {
		c := b.enrol(identity.Client, "loa", "31/11296")
		id := c.Node.ID
		b.must(b.TurnTo(t.Context(), id, -600))
		b.Changes(up(id, "r", false))
		if got := b.volumes(id); !cmp.Equal(got, []int32{-600}) {
			t.Fatalf("ordered %v", got)
		}
		if n, _ := b.Get(id); n.Applied != nil {
			t.Errorf("it plays at %d, it is said before it was told", *n.Applied)
		}
		ahead := uint64(time.Now().Add(time.Hour).UnixNano()) // as after a clock that was wrong
		b.says(c, setTo(id, 1, 0, ahead))
		if got := b.given(); len(got) != 0 {
			t.Errorf("ordered at once: %+v", got)
		}
		if n, _ := b.Get(id); n.Applied == nil || *n.Applied != 0 || n.Volume != -600 || !n.ReportedAt.IsZero() {
			t.Errorf("applied %v of %d, reported at %v", n.Applied, n.Volume, n.ReportedAt)
		}
		time.Sleep(compareAfter)
		b.says(c, setTo(id, 2, 0, ahead))
		list := b.given()
		if len(list) != 1 || *list[0].Volume != -600 || list[0].Number <= ahead {
			t.Fatalf("after a while: %+v, want one order above %d", list, ahead)
		}
		b.says(c, setTo(id, 3, -600, list[0].Number))
		time.Sleep(2 * compareAfter)
		b.says(c, setTo(id, 4, -600, list[0].Number))
		if got := b.given(); len(got) != 0 {
			t.Errorf("it plays as wished, and is ordered: %+v", got)
		}
	})
}

// TestSettingsDoNotTouchWhatIsHeard: a report of the settings alone says nothing of the session that sounds.
func TestSettingsDoNotTouchWhatIsHeard(t *testing.T) {
	inTime(t, func(t *testing.T, b *bed) {
		c := b.enrol(identity.Client, "loa", "31/11296")
		id := c.Node.ID
		b.Changes(up(id, "r", false))
		b.Open(on("S", "31", 1))
		b.says(c, signed.Report{Node: id, Number: 1, Transmission: [16]byte{1}, Hearing: true, Played: 7, At: 1})
		told := setTo(id, 2, -100, 5)
		told.At -= 1000
		b.says(c, told)
		n, _ := b.Get(id)
		if n.State != Playing || n.Report.Played != 7 || n.ReportedAt != time.Now() || n.Applied == nil || *n.Applied != -100 {
			t.Errorf("it is %+v", n)
		}
		b.says(c, setTo(id, 3, -200, 6))
		b.says(c, told) // recorded, and played again
		if n, _ := b.Get(id); *n.Applied != -200 {
			t.Errorf("after a replay it plays at %d", *n.Applied)
		}
	})
}

// TestTone: where somebody is who can sound, and nothing else does.
func TestTone(t *testing.T) {
	inTime(t, func(t *testing.T, b *bed) {
		c, other := b.enrol(identity.Client, "loa", "31/11296"), b.enrol(identity.Client, "loa 2", "31/11407")
		relay := b.enrol(identity.Relay, "trạm", "31")
		b.Changes(up(relay.Node.ID, "streamer", false))
		b.Changes(up(c.Node.ID, relay.Node.ID, false))
		b.given()
		b.must(b.Tone(c.Node.ID, 3*time.Second))
		list := b.given()
		if len(list) != 1 || list[0].Tone() != 3*time.Second || list[0].Volume != nil || list[0].NotAfter.Sub(list[0].At) != toneValidity {
			t.Errorf("ordered %+v", list)
		}
		for _, x := range []struct {
			name string
			do   func()
			id   string
			d    time.Duration
			want error
		}{
			{"unknown", nil, "nobody", time.Second, store.ErrNotFound},
			{"a relay", nil, relay.Node.ID, time.Second, ErrNotLoudspeaker},
			{"not connected", nil, other.Node.ID, time.Second, ErrOffline},
			{"too long", nil, c.Node.ID, signed.MaxTone + 1, store.ErrInvalid},
			{"no length", nil, c.Node.ID, 0, store.ErrInvalid},
			{"a session elsewhere", func() { b.Open(on("E", "31/11407", 2)) }, c.Node.ID, time.Second, nil},
			{"a session for it, heard or not", func() { b.Open(on("S", "31/11296", 1)) }, c.Node.ID, time.Second, ErrOnAir},
			{"when that is over", func() { b.Close(on("S", "31/11296", 1)) }, c.Node.ID, time.Second, nil},
			{"no way to it", func() { b.mu.Lock(); b.cut = true; b.mu.Unlock() }, c.Node.ID, time.Second, ErrOffline},
		} {
			if x.do != nil {
				x.do()
			}
			if err := b.Tone(x.id, x.d); !errors.Is(err, x.want) || x.want == nil && err != nil {
				t.Errorf("%s: %v, want %v", x.name, err, x.want)
			}
			want := 0
			if x.want == nil {
				want = 1
			}
			if got := b.given(); len(got) != want {
				t.Errorf("%s: %d orders", x.name, len(got))
			}
		}
	})
}

// TestSilent: since when each that should hear does not.
func TestSilent(t *testing.T) {
	at := func(s int) time.Time { return start.Add(time.Duration(s) * time.Second) }
	for _, c := range []struct {
		name string
		do   func(*table)
		want map[string]time.Time
	}{
		{"since it began", func(*table) {}, map[string]time.Time{"a": at(10), "b": at(10)}},
		{"one hears", func(t *table) { t.report(hears("a", 1), at(12)) }, map[string]time.Time{"b": at(10)}},
		{"it falls silent", func(t *table) {
			t.report(hears("a", 1), at(12))
			t.report(signed.Report{Node: "a", Number: 2, Transmission: [16]byte{1}}, at(15))
		}, map[string]time.Time{"a": at(15), "b": at(10)}},
		{"its lease ends, since the last word", func(t *table) { t.report(hears("a", 1), at(12)); t.expire(at(30)) },
			map[string]time.Time{"a": at(12), "b": at(10)}},
		{"an emergency has it", func(t *table) {
			t.report(hears("a", 1), at(12))
			t.open(store.Session{ID: "E", Zones: []zone.Zone{"31/11296/01"}, Transmission: [16]byte{2}})
			t.report(signed.Report{Node: "a", Number: 2, Transmission: [16]byte{2}, Hearing: true}, at(20))
		}, map[string]time.Time{"a": at(20), "b": at(10)}},
		{"it is cut off", func(t *table) {
			t.report(hears("a", 1), at(12))
			t.change(gone("a", "r1"), at(13))
			t.change(gone("a", "r2"), at(14))
		}, map[string]time.Time{"a": at(14), "b": at(10)}},
		{"it came later", func(t *table) {
			c := up("b", "r1", false)
			c.Members[0].Since = at(17).UnixMilli()
			t.change(c, at(17))
		}, map[string]time.Time{"a": at(10), "b": at(17)}},
		{"it was never there", func(t *table) {
			t.enrol([]store.Node{enrolled(store.NodeClient, "a", "31/11296/01"), enrolled(store.NodeClient, "new", "31/11296/01")})
		}, map[string]time.Time{"a": at(10)}},
		{"it was seen by the streamer before this one", func(t *table) {
			old := enrolled(store.NodeClient, "old", "31/11296/01")
			old.Seen = at(-3600)
			t.enrol([]store.Node{old})
		}, map[string]time.Time{"old": at(-3600)}},
	} {
		t.Run(c.name, func(t *testing.T) {
			table := scene()
			table.open(store.Session{ID: "S", Zones: []zone.Zone{"31/11296"}, Transmission: [16]byte{1}, Started: at(10)})
			c.do(table)
			got := table.listeners("S").Silent
			for id := range got {
				got[id] = got[id].UTC()
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
	early := scene()
	if got := early.listeners("S").Silent; got != nil {
		t.Errorf("silent before there is anything to hear: %v", got)
	}
}

// TestFailoverInOneMessage: a node that goes one way and comes by another within one message has never been away.
func TestFailoverInOneMessage(t *testing.T) {
	for name, members := range map[string][]control.Member{
		"gone first": append(gone("b", "r1").Members, up("b", "r2", false).Members...),
		"gone last":  append(up("b", "r2", false).Members, gone("b", "r1").Members...),
	} {
		table := scene()
		if _, left := table.change(control.Changes{Members: members}, start); left != nil {
			t.Errorf("%s: %v left", name, left)
		}
		if n := table.node(table.enrolled["b"]); n.State != Online || n.Upstream != "r2" {
			t.Errorf("%s: b = %+v", name, n)
		}
	}
}

// TestOfflineSince: a node that left shows since when, also to the next streamer, whether this one ended or was killed.
func TestOfflineSince(t *testing.T) {
	inTime(t, func(t *testing.T, b *bed) {
		stays, leaves := b.enrol(identity.Client, "loa", "31/11296"), b.enrol(identity.Client, "loa 2", "31/11296")
		never := b.enrol(identity.Client, "loa 3", "31/11296")
		next := func(c *identity.Credentials) time.Time { // what another streamer knows of it
			p, err := New(t.Context(), Options{Enrolled: b.store.Nodes})
			b.must(err)
			n, _ := p.Get(c.Node.ID)
			if n.State != Offline {
				t.Errorf("%s is %s to a streamer that nobody is connected to", c.Node.Name, n.State)
			}
			return n.Since
		}
		b.Changes(up(stays.Node.ID, "r", false))
		b.Changes(up(leaves.Node.ID, "r", false))
		time.Sleep(time.Minute)
		left := time.Now()
		b.Changes(gone(leaves.Node.ID, "r"))
		if n, _ := b.Get(leaves.Node.ID); n.State != Offline || !n.Since.Equal(left) {
			t.Errorf("it left at %v and is gone since %v", left, n.Since)
		}
		time.Sleep(noteEvery + time.Second)
		synctest.Wait()
		if at := next(leaves); !at.Equal(left.Truncate(time.Millisecond)) {
			t.Errorf("on record it is gone since %v, want %v", at, left)
		}
		if at := next(stays); !at.IsZero() {
			t.Errorf("one that is there is on record as gone since %v", at)
		}
		time.Sleep(noteAllEvery)
		synctest.Wait()
		if at := next(stays); time.Since(at) > noteAllEvery || at.IsZero() {
			t.Errorf("one that is there was seen %v ago, on record", time.Since(at))
		}
		time.Sleep(noteAllEvery / 2)
		b.halt()
		if at := next(stays); !at.Equal(time.Now().Truncate(time.Millisecond)) {
			t.Errorf("when the streamer ended it was there, and on record at %v", at)
		}
		if at := next(never); !at.IsZero() {
			t.Errorf("one that never came was seen at %v", at)
		}
	})
}

// TestNotesAreKept: what the database would not take is noted when it does, and written once a while only.
func TestNotesAreKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var writes int
		var fault error
		var last map[string]time.Time
		p, err := New(t.Context(), Options{
			Log: quiet(), Enrolled: func(context.Context) ([]store.Node, error) {
				return []store.Node{enrolled(store.NodeClient, "a", "31"), enrolled(store.NodeClient, "b", "31")}, nil
			},
			NoteSeen: func(_ context.Context, at map[string]time.Time) error {
				writes++
				last = at
				return fault
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		fault = errors.New("disk I/O error")
		p.Changes(up("a", "r", false))
		p.Changes(gone("a", "r"))
		first := time.Now()
		p.note(t.Context(), time.Now(), false)
		time.Sleep(time.Second)
		p.Changes(up("b", "r", false))
		p.Changes(gone("b", "r"))
		fault = nil
		p.note(t.Context(), time.Now(), false)
		if want := map[string]time.Time{"a": first, "b": time.Now()}; !cmp.Equal(last, want) || writes != 2 {
			t.Errorf("noted %v in %d writes, want %v in 2", last, writes, want)
		}
		p.note(t.Context(), time.Now(), false)
		if writes != 2 {
			t.Error("nothing is new, and it was written")
		}
	})
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }
