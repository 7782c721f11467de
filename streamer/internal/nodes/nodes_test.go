package nodes

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"dongthanh/internal/control"
	"dongthanh/internal/identity"
	"dongthanh/internal/mediaclock"
	"dongthanh/internal/signed"
	"dongthanh/internal/zone"
	"dongthanh/streamer/internal/issuer"
	"dongthanh/streamer/internal/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// bed is a running picture over a real store and issuer, in fake time. What it delivers is recorded.
type bed struct {
	*Picture
	t      *testing.T
	store  *store.Store
	issuer *issuer.Issuer
	log    *bytes.Buffer // read it after halt
	halt   func()

	mu     sync.Mutex // guards what follows
	keys   []control.Keys
	orders []signed.Order
	cut    bool // orders find no way
	chains []control.Certificate
	reads  int   // of the nodes on record
	fault  error // of the database
}

// inTime runs f in a bubble of fake time.
func inTime(t *testing.T, f func(t *testing.T, b *bed)) {
	t.Helper()
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s, err := store.Open(t.Context(), dir, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		zones := []store.Zone{{Code: "31", Name: "Hải Phòng"}, {Code: "31/11296", Name: "Xã Vĩnh Bảo"}, {Code: "31/11296/02", Name: "Thôn Đông"}, {Code: "31/11407", Name: "Xã Tiên Lãng"}}
		if _, _, err := s.UpsertZones(t.Context(), zones, time.Now()); err != nil {
			t.Fatal(err)
		}
		i, err := issuer.Open(t.Context(), issuer.Options{
			Dir: filepath.Join(dir, "keys"), Store: s, MaxClass: signed.ClassEmergency, Log: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			t.Fatal(err)
		}
		b := &bed{t: t, store: s, issuer: i, log: &bytes.Buffer{}}
		b.Picture, err = New(t.Context(), Options{
			Enrolled: b.enrolled, SetVolume: s.SetVolume, NoteSeen: s.NoteSeen, Enroller: enroller{i, b}, Deliver: b.deliver, Order: b.order, Certify: b.certify,
			Now: func() mediaclock.Instant { return mediaclock.At(time.Now()) }, Log: slog.New(slog.NewTextHandler(b.log, nil)),
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := b.Run(ctx); err != nil {
				t.Errorf("Run: %v", err)
			}
		})
		b.halt = func() { cancel(); wg.Wait() }
		defer b.halt()
		f(t, b)
	})
}

func (b *bed) enrolled(ctx context.Context) ([]store.Node, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.reads++
	if b.fault != nil {
		return nil, b.fault
	}
	return b.store.Nodes(ctx)
}

func (b *bed) certify(c control.Certificate) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.chains = append(b.chains, c)
	return true
}

func (b *bed) deliver(k control.Keys) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.keys = append(b.keys, k)
	return true
}

func (b *bed) order(m control.Order) bool {
	o, err := signed.Parse[signed.Order](m.Order)
	if err != nil {
		b.t.Errorf("order: %v", err)
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.cut {
		return false
	}
	b.orders = append(b.orders, o.Unverified())
	return true
}

// given returns what was ordered since the last call.
func (b *bed) given() (list []signed.Order) {
	synctest.Wait()
	b.mu.Lock()
	defer b.mu.Unlock()
	list, b.orders = b.orders, nil
	return list
}

// handed returns which nodes were handed keys since the last call, and the keys.
func (b *bed) handed() (ids []string, keys []control.Keys) {
	synctest.Wait()
	b.mu.Lock()
	defer b.mu.Unlock()
	keys, b.keys = b.keys, nil
	for _, k := range keys {
		ids = append(ids, k.Node)
	}
	slices.Sort(ids)
	return ids, keys
}

func (b *bed) breakDatabase(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.fault = err
}

// enroller is the issuer, whose database can break.
type enroller struct {
	*issuer.Issuer
	bed *bed
}

func (e enroller) ZoneKeys(ctx context.Context, node string) (envelopes [][]byte, signer []byte, err error) {
	e.bed.mu.Lock()
	err = e.bed.fault
	e.bed.mu.Unlock()
	if err != nil {
		return nil, nil, err
	}
	return e.Issuer.ZoneKeys(ctx, node)
}

// enrol brings in a node as a technician and it would, and waits until the picture has it.
func (b *bed) enrol(kind identity.Kind, name string, z zone.Zone) *identity.Credentials {
	b.t.Helper()
	text, _, err := b.issuer.AddToken(b.t.Context(), kind, name, z, time.Hour, "cli")
	if err != nil {
		b.t.Fatal(err)
	}
	keys, err := identity.NewKeys()
	if err != nil {
		b.t.Fatal(err)
	}
	csr, err := keys.Request()
	if err != nil {
		b.t.Fatal(err)
	}
	response, err := b.Enrol(b.t.Context(), control.EnrolRequest{Token: text, Kind: string(kind), CSR: csr})
	if err != nil {
		b.t.Fatal(err)
	}
	token, err := identity.ParseToken(text)
	if err != nil {
		b.t.Fatal(err)
	}
	c, err := token.Accept(keys, response.Chain, response.Roots, time.Now())
	if err != nil {
		b.t.Fatal(err)
	}
	time.Sleep(300 * time.Millisecond) // Reload
	if _, ok := b.Get(c.Node.ID); !ok {
		b.t.Fatalf("%s is enrolled and not in the picture", name)
	}
	return c
}

// says signs a report as c does and hands it to the picture.
func (b *bed) says(c *identity.Credentials, r signed.Report) {
	b.t.Helper()
	r.Version = 1
	raw, err := c.SignReport(r)
	if err != nil {
		b.t.Fatal(err)
	}
	b.Reports([][]byte{raw})
}

func (b *bed) hearing(session string) []string {
	b.t.Helper()
	return b.Listeners(session).Hearing
}

func on(session string, z zone.Zone, transmission byte) store.Session {
	return store.Session{ID: session, Zones: []zone.Zone{z}, Transmission: [16]byte{transmission}, State: store.SessionLive}
}

// TestReports: only a loudspeaker's own signature makes it hear.
func TestReports(t *testing.T) {
	inTime(t, func(t *testing.T, b *bed) {
		a, other := b.enrol(identity.Client, "loa 1", "31/11296"), b.enrol(identity.Client, "loa 2", "31/11296")
		relay := b.enrol(identity.Relay, "trạm", "31/11296")
		stranger := *other
		stranger.Node.ID = a.Node.ID // signs as a, with another key
		unknown := *other
		unknown.Node.ID = "01930000-0000-7000-8000-00000000dead"
		b.Open(on("S", "31", 1))
		hears := func(node string, number uint64) signed.Report {
			return signed.Report{Node: node, Number: number, Transmission: [16]byte{1}, Hearing: true}
		}
		idA, idOther := a.Node.ID, other.Node.ID
		for _, c := range []struct {
			name string
			do   func()
		}{
			{"with another's key", func() { b.says(&stranger, hears(idA, 10)) }},
			{"of another node", func() { b.says(other, hears(idA, 10)) }},
			{"of a node that nobody enrolled", func() { b.says(&unknown, hears(unknown.Node.ID, 10)) }},
			{"of a relay", func() { b.says(relay, hears(relay.Node.ID, 10)) }},
			{"that is noise", func() { b.Reports([][]byte{nil, {1}, bytes.Repeat([]byte{0xd2}, 3000)}) }},
			{"of a transmission that is not on air", func() {
				b.says(other, signed.Report{Node: idOther, Number: 1, Transmission: [16]byte{9}, Hearing: true})
			}},
		} {
			c.do()
			if got := b.Listeners("S"); len(got.Hearing) != 0 || got.Expected != 2 {
				t.Fatalf("a report %s: %+v, want two expected and nobody hearing", c.name, got)
			}
		}
		if n, _ := b.Get(idA); !n.ReportedAt.IsZero() {
			t.Errorf("somebody else's report is shown as a's: %+v", n.Report)
		}
		raw := func(c *identity.Credentials, r signed.Report) []byte {
			r.Version = 1
			x, err := c.SignReport(r)
			if err != nil {
				t.Fatal(err)
			}
			return x
		}
		first := raw(a, hears(idA, 10))
		b.Reports([][]byte{{0xff}, first, raw(other, hears(idOther, 2))}) // noise harms no other
		if got := b.hearing("S"); !cmp.Equal(got, sorted(idA, idOther)) {
			t.Errorf("hearing %v, want both", got)
		}
		if n, _ := b.Get(idA); n.State != Playing || n.Session != "S" || n.ReportedAt != time.Now() {
			t.Errorf("a = %+v", n)
		}
		b.says(a, signed.Report{Node: idA, Number: 11, Transmission: [16]byte{1}})
		b.Reports([][]byte{first}) // recorded and played again
		if got := b.hearing("S"); !cmp.Equal(got, []string{idOther}) {
			t.Errorf("hearing %v, want the other one alone: an old report counts again", got)
		}
		if err := b.issuer.Revoke(t.Context(), idOther); err != nil {
			t.Fatal(err)
		}
		b.Reload()
		time.Sleep(300 * time.Millisecond)
		b.says(other, hears(idOther, 20))
		if got := b.Listeners("S"); got.Expected != 1 || len(got.Hearing) != 0 {
			t.Errorf("after it was revoked: %+v", got)
		}
		if e, h := b.Count("S"); e != 1 || h != 0 {
			t.Errorf("Count = %d, %d, want 1, 0", e, h)
		}
		b.halt()
		if log := b.log.String(); strings.Count(log, "not signed by the loudspeaker") != 2 {
			t.Errorf("log: %s", log)
		}
	})
}

func sorted(ids ...string) []string { slices.Sort(ids); return ids }

// TestKeysOnAppearance: a loudspeaker that comes gets the secrets of its zone and of those above, which it can open.
func TestKeysOnAppearance(t *testing.T) {
	inTime(t, func(t *testing.T, b *bed) {
		c := b.enrol(identity.Client, "loa", "31/11296/02")
		relay := b.enrol(identity.Relay, "trạm", "31")
		if ids, _ := b.handed(); ids != nil {
			t.Fatalf("%v were handed keys before they came", ids)
		}
		b.Changes(up(c.Node.ID, relay.Node.ID, false))
		b.Changes(up(relay.Node.ID, "streamer", false))
		ids, keys := b.handed()
		if !cmp.Equal(ids, []string{c.Node.ID}) {
			t.Fatalf("%v were handed keys, want the loudspeaker", ids)
		}
		trust := identity.NewTrust(c.Roots, time.Now)
		if err := trust.AddIssuer(keys[0].Issuer); err != nil {
			t.Fatal(err)
		}
		ring, err := identity.OpenKeyring(t.TempDir(), c)
		if err != nil {
			t.Fatal(err)
		}
		for _, raw := range keys[0].Envelopes {
			k, err := trust.ZoneKey(raw)
			if err == nil {
				err = ring.Open(k)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		for _, z := range []zone.Zone{"", "31", "31/11296", "31/11296/02"} {
			want, err := b.store.ZoneKey(t.Context(), z)
			if got, ok := ring.Secret(z, want.Epoch); err != nil || !ok || got != want.Secret {
				t.Errorf("secret of %q: there %v, right %v, %v", z, ok, got == want.Secret, err)
			}
		}
		if _, ok := ring.Secret("31/11407", 1); ok {
			t.Error("it was handed the secret of another commune")
		}

		b.Changes(up(c.Node.ID, "r2", true))
		b.Changes(up(c.Node.ID, relay.Node.ID, false))
		if ids, _ := b.handed(); ids != nil {
			t.Errorf("%v were handed keys again for a second route", ids)
		}
		b.Changes(gone(c.Node.ID, relay.Node.ID))
		b.Changes(gone(c.Node.ID, "r2"))
		b.Changes(up(c.Node.ID, relay.Node.ID, false))
		if ids, _ := b.handed(); !cmp.Equal(ids, []string{c.Node.ID}) {
			t.Errorf("it came back, and %v were handed keys", ids)
		}
		b.Changes(up("a stranger", relay.Node.ID, false))
		if ids, _ := b.handed(); ids != nil {
			t.Errorf("%v, whom nobody enrolled, were handed keys", ids)
		}
	})
}

// TestKeysInAStorm: after a restart everybody comes at once. Nobody is left out, a database that fails for a while
// included, and nobody gets keys who has gone meanwhile.
func TestKeysInAStorm(t *testing.T) {
	inTime(t, func(t *testing.T, b *bed) {
		var want []string
		for n := range 12 {
			want = append(want, b.enrol(identity.Client, fmt.Sprint("loa ", n), "31/11296").Node.ID)
		}
		b.breakDatabase(errors.New("disk is full"))
		var all control.Changes
		for _, id := range want {
			all.Members = append(all.Members, up(id, "r1", false).Members...)
		}
		b.Changes(all)
		time.Sleep(3 * handAgain)
		if ids, _ := b.handed(); ids != nil {
			t.Errorf("%v were handed keys without a database", ids)
		}
		b.Changes(gone(want[3], "r1"))
		if err := b.issuer.Revoke(t.Context(), want[5]); err != nil {
			t.Fatal(err)
		}
		b.breakDatabase(nil)
		time.Sleep(2 * handAgain)
		want = slices.Delete(slices.Delete(want, 5, 6), 3, 4)
		if ids, _ := b.handed(); !cmp.Equal(ids, sorted(want...)) {
			t.Errorf("%v were handed keys, want each of %v once", ids, want)
		}
		b.halt()
		if n := strings.Count(b.log.String(), "hand out zone keys"); n < 2 || n > 6 {
			t.Errorf("%d lines in the log about a database that failed for 15 s:\n%s", n, b.log.String())
		}
	})
}

// TestReload: many changes of the record at once are one look at it, and one that fails is repeated.
func TestReload(t *testing.T) {
	inTime(t, func(t *testing.T, b *bed) {
		reads := func() int {
			synctest.Wait()
			b.mu.Lock()
			defer b.mu.Unlock()
			n := b.reads
			b.reads = 0
			return n
		}
		reads()
		for range 1000 {
			b.Reload()
		}
		time.Sleep(time.Second)
		if n := reads(); n != 1 {
			t.Errorf("a thousand changes made %d looks at the record, want 1", n)
		}
		if time.Sleep(time.Second); reads() != 0 {
			t.Error("the record is read without a change")
		}
		b.breakDatabase(errors.New("disk I/O error"))
		b.Reload()
		time.Sleep(time.Second)
		if n := reads(); n < 3 || n > 6 {
			t.Errorf("%d tries in a second, want one a tick", n)
		}
		b.breakDatabase(nil)
		time.Sleep(time.Second)
		if n := reads(); n != 1 {
			t.Errorf("%d reads after the fault, want 1", n)
		}
		if _, err := New(t.Context(), Options{Enrolled: func(context.Context) ([]store.Node, error) { return nil, io.ErrUnexpectedEOF }}); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("New without a record = %v, want its error", err)
		}
	})
}

// TestChanged: watchers are woken by what can be seen, and by nothing else; a lease that ends is seen in time.
func TestChanged(t *testing.T) {
	inTime(t, func(t *testing.T, b *bed) {
		c := b.enrol(identity.Client, "loa", "31/11296")
		id := c.Node.ID
		report := func(number uint64, hearing bool) {
			b.says(c, signed.Report{Node: id, Number: number, Transmission: [16]byte{1}, Hearing: hearing})
		}
		for _, s := range []struct {
			name string
			do   func()
			want bool
		}{
			{"a session begins", func() { b.Open(on("S", "31", 1)) }, true},
			{"a report of silence", func() { report(1, false) }, false},
			{"it hears", func() { report(2, true) }, true},
			{"it goes on hearing", func() { report(3, true) }, false},
			{"an old report", func() { report(2, false) }, false},
			{"it falls silent", func() { report(4, false) }, true},
			{"it hears again", func() { report(5, true) }, true},
			{"half a lease", func() { time.Sleep(Lease / 2) }, false},
			{"its lease ends", func() { time.Sleep(Lease/2 + 300*time.Millisecond) }, true},
			{"it connects", func() { b.Changes(up(id, "r1", false)) }, true},
			{"a record is brought up to date", func() { b.Update(on("S", "31", 1)) }, true},
			{"a digest", func() { b.Digest(control.Digest{}) }, false},
			{"it is over", func() { b.Close(on("S", "31", 1)) }, true},
		} {
			changed := b.Changed()
			s.do()
			synctest.Wait()
			select {
			case <-changed:
				if !s.want {
					t.Errorf("%s woke the watchers", s.name)
				}
			default:
				if s.want {
					t.Errorf("%s did not wake the watchers", s.name)
				}
			}
		}
		if got := b.Listeners("S"); !cmp.Equal(got, Listeners{}) {
			t.Errorf("listeners of a session that is over: %+v", got)
		}
	})
}

func TestListAndAirings(t *testing.T) {
	inTime(t, func(t *testing.T, b *bed) {
		c := b.enrol(identity.Client, "loa B", "31/11407")
		second := b.enrol(identity.Client, "loa A", "31/11407")
		b.enrol(identity.Relay, "trạm", "31/11296")
		var names []string
		for _, n := range b.List() {
			names = append(names, n.Name)
		}
		if want := []string{"trạm", "loa A", "loa B"}; !cmp.Equal(names, want) {
			t.Errorf("nodes %q, want %q: by zone and name, without the streamer itself", names, want)
		}
		if _, ok := b.Get("nobody"); ok {
			t.Error("a node that nobody enrolled")
		}
		b.Open(on("S", "31/11407", 1))
		b.says(c, signed.Report{Node: c.Node.ID, Number: 1, Transmission: [16]byte{1}, Hearing: true})
		list := b.Airings()
		if len(list) != 1 || list[0].Expected != 2 || list[0].Record.ID != "S" || !cmp.Equal(list[0].Hearing, map[string]time.Time{c.Node.ID: time.Now().Add(Lease)}) {
			t.Errorf("airings %+v", list)
		}
		list[0].Hearing[second.Node.ID] = time.Now() // the receiver's own
		if got := b.hearing("S"); !cmp.Equal(got, []string{c.Node.ID}) {
			t.Errorf("hearing %v", got)
		}
		b.Close(on("S", "31/11407", 1))
		if list := b.Airings(); len(list) != 0 {
			t.Errorf("airings %+v, want none", list)
		}
	})
}
