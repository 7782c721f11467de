package onair

import (
	"errors"
	"slices"
	"testing"
	"time"

	"dongthanh/internal/identity"
	"dongthanh/internal/signed"
	"dongthanh/internal/wire"
)

// bulletin is the nth of many transmissions.
func bulletin(t testing.TB, a *authority, n int) *station {
	return newStation(t, a.issuer, 1, func(c *signed.SessionCert) {
		c.Transmission, c.SSRC = [16]byte{byte(n), byte(n >> 8), 1}, uint32(n)+1
	})
}

// TestBulletinsOfAMorning lets far more transmissions come and be stopped than the table holds, all with certificates
// that last for hours: the next one always opens, and none that is over ever opens again.
func TestBulletinsOfAMorning(t *testing.T) {
	a := newAuthority(t)
	table := a.table(1)
	const all = 2*MaxTransmissions + 10
	for n := range all {
		s := bulletin(t, a, n)
		now := at(time.Duration(n) * time.Second)
		events, err := table.Session(now, s.raw, a.issuer.Certificate.Raw)
		if err != nil {
			t.Fatalf("transmission %d of the morning: %v", n, err)
		}
		want := []Kind{Opened}
		if n >= MaxTransmissions {
			want = []Kind{Expired, Opened}
			if first := bulletin(t, a, n-MaxTransmissions); events[0].On.ID() != first.cert.Transmission {
				t.Fatalf("transmission %d pushed out %x, want the oldest, %x", n, events[0].On.ID(), first.cert.Transmission)
			}
		}
		if got := kinds(events); !slices.Equal(got, want) {
			t.Fatalf("transmission %d gave %v, want %v", n, got, want)
		}
		if _, err := table.Stop(now, stop(t, a.issuer, s), nil); err != nil {
			t.Fatal(err)
		}
	}
	later := at(all * time.Second)
	for _, n := range []int{0, 1, MaxTransmissions, all - 1} {
		s := bulletin(t, a, n)
		if events, _ := table.Session(later, s.raw, nil); events != nil || table.BySSRC(s.cert.SSRC) != nil {
			t.Errorf("stopped transmission %d came back: %v", n, kinds(events))
		}
		for _, b := range s.beacons(t, later.Network, 1, wire.ObjectSession, s.raw) {
			if _, events := table.Beacon(later, b, 0); slices.Contains(kinds(events), Opened) {
				t.Errorf("stopped transmission %d came back by beacon", n)
			}
		}
	}
	if len(table.orders) != 0 {
		t.Errorf("%d stops are kept beside their transmissions", len(table.orders))
	}
	table.Tick(at(2 * time.Hour))
	table.Tick(at(all*time.Second + signed.MaxValidity + 1))
	if len(table.byID)+len(table.gone) != 0 {
		t.Errorf("%d transmissions and the ids of %d outlive their certificates", len(table.byID), len(table.gone))
	}
}

// TestWhatIsOnAirMakesNoRoom: only what is over or dormant gives way.
func TestWhatIsOnAirMakesNoRoom(t *testing.T) {
	a := newAuthority(t)
	table := a.table(1)
	for n := range MaxTransmissions {
		bulletin(t, a, n).open(t, table, at(0))
	}
	next := bulletin(t, a, MaxTransmissions)
	if _, err := table.Session(at(0), next.raw, nil); !errors.Is(err, ErrRefused) {
		t.Fatalf("with all on air: %v, want %v", err, ErrRefused)
	}
	table.Tick(at(BeaconAge + time.Second))
	quiet := at(DormantAge + time.Second)
	table.Tick(quiet)
	events := next.open(t, table, quiet)
	if got := kinds(events); !slices.Equal(got, []Kind{Expired, Opened}) {
		t.Fatalf("with all dormant: %v", got)
	}
	revived := bulletin(t, a, 0) // whichever was pushed out may come back, for it is not over
	for n := 0; table.Get(revived.cert.Transmission) != nil; n++ {
		revived = bulletin(t, a, n)
	}
	if got := kinds(revived.open(t, table, quiet)); !slices.Contains(got, Opened) {
		t.Errorf("a dormant one that made room does not come back: %v", got)
	}
}

// TestIssuerAfterTheClock: a node whose clock was wrong refuses the issuer that beacons bring, and takes it when the
// same beacons come again with the clock right. So does a stop whose issuer was not known yet.
func TestIssuerAfterTheClock(t *testing.T) {
	a := newAuthority(t)
	clock := epoch.Time().Add(-48 * time.Hour)
	table := New(Options{Trust: identity.NewTrust(a.roots, func() time.Time { return clock }), Upstreams: 1})
	s := newStation(t, a.issuer, 1)
	round := func(d time.Duration, kind wire.ObjectKind, object []byte) (got []Kind) {
		for _, b := range s.beacons(t, epoch.Add(d), 1, kind, object) {
			_, events := table.Beacon(at(d), b, 0)
			got = append(got, kinds(events)...)
		}
		return got
	}
	order := stop(t, a.issuer, s)
	round(time.Second, wire.ObjectStop, order)
	round(time.Second, wire.ObjectIssuer, a.issuer.Certificate.Raw)
	table.Tick(at(2 * time.Minute)) // what waited for an issuer has waited too long
	clock = epoch.Time()
	round(121*time.Second, wire.ObjectIssuer, a.issuer.Certificate.Raw)
	if got := round(122*time.Second, wire.ObjectSession, s.raw); !slices.Contains(got, Opened) {
		t.Fatalf("the issuer came again with the clock right, and yet: %v", got)
	}
	if got := round(123*time.Second, wire.ObjectStop, order); !slices.Contains(got, Stopped) {
		t.Errorf("the stop came again with its issuer known, and yet: %v", got)
	}
}

// TestReplayUnderAClockTurnedBack: an upstream that turns network time back, or forth and back, cannot make the node
// take what is over; a streamer whose own clock was set back is heard.
func TestReplayUnderAClockTurnedBack(t *testing.T) {
	a := newAuthority(t)
	day := 20 * time.Hour // within the issuer's life
	base := epoch.Add(day)
	turned := base
	table := New(Options{Trust: identity.NewTrust(a.roots, func() time.Time { return turned.Time() }), Upstreams: 1})
	at := func(local, network time.Duration) Now {
		turned = base.Add(network)
		return Now{Local: at(local).Local, Network: turned, Synced: true}
	}
	made := func(n byte, fence uint64, from time.Duration) *station {
		return newStation(t, a.issuer, n, func(c *signed.SessionCert) {
			begin := base.Add(from)
			c.Fence, c.T0, c.NotBefore, c.NotAfter = fence, begin, begin.Time().Unix()-5, begin.Time().Unix()+3600
		})
	}
	old, today, heard := made(1, 3, -10*time.Hour), made(2, 4, -2*time.Hour), made(3, 5, 0)
	heard.open(t, table, at(0, 0))
	for _, b := range heard.beacons(t, base.Add(time.Second), 1, wire.ObjectSession, heard.raw) {
		if x, _ := table.Beacon(at(time.Second, time.Second), b, 0); x == nil {
			t.Fatal("a beacon was not believed")
		}
	}
	if _, err := table.Stop(at(2*time.Second, 2*time.Second), stop(t, a.issuer, heard), nil); err != nil {
		t.Fatal(err)
	}
	for _, s := range []*station{old, today} {
		if events, err := table.Session(at(time.Minute, -10*time.Hour), s.raw, nil); !errors.Is(err, ErrRefused) && !errors.Is(err, identity.ErrNotYetValid) || events != nil {
			t.Errorf("with the clock turned back by ten hours: %v, %v; want it refused", kinds(events), err)
		}
	}
	if events, err := table.Session(at(time.Minute, -2*time.Hour), today.raw, nil); !errors.Is(err, ErrRefused) {
		t.Errorf("with the clock turned back by two hours: %v, %v; want %v", kinds(events), err, ErrRefused)
	}
	if got := kinds(table.Tick(at(2*time.Minute, 3*time.Hour))); !slices.Equal(got, []Kind{Expired}) {
		t.Fatalf("with the clock turned forth: %v", got)
	}
	if events, err := table.Session(at(3*time.Minute, time.Minute), heard.raw, nil); !errors.Is(err, ErrRefused) {
		t.Errorf("stopped, with the clock turned forth and back: %v, %v; want %v", kinds(events), err, ErrRefused)
	}
	restarted := made(4, 6, -5*time.Hour)
	if events, err := table.Session(at(4*time.Minute, -5*time.Hour), restarted.raw, nil); err != nil || !slices.Contains(kinds(events), Opened) {
		t.Errorf("the streamer's own clock was set back: %v, %v; want it opened", kinds(events), err)
	}
}
