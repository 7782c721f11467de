package onair

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"dongthanh/internal/identity"
	"dongthanh/internal/packet"
	"dongthanh/internal/signed"
	"dongthanh/internal/wire"
	"dongthanh/internal/zone"
)

func TestSessionByControl(t *testing.T) {
	a := newAuthority(t)
	s := newStation(t, a.issuer, 1)
	table := a.table(1)
	events := s.open(t, table, at(0))
	if len(events) != 1 || events[0].Kind != Opened || events[0].On.Cert.SSRC != s.cert.SSRC || string(events[0].On.Raw) != string(s.raw) {
		t.Fatalf("opening gave %+v", events)
	}
	if again := s.open(t, table, at(0)); again != nil {
		t.Errorf("opening again gave %+v, want nothing", again)
	}
	if len(table.OnAir()) != 1 || table.Get(s.cert.Transmission) == nil {
		t.Error("the transmission is not on air")
	}
	tests := []struct {
		name string
		cert []byte
		want error
	}{
		{"issuer's scope does not reach so far", newStation(t, a.other, 2).raw, identity.ErrScope},
		{"class above the issuer's", newStation(t, a.other, 2, func(c *signed.SessionCert) {
			c.Zones, c.KeyZone, c.Class = nil, "31/99999", signed.ClassEmergency
			c.Zones = append(c.Zones, "31/99999")
		}).raw, identity.ErrScope},
		{"over", newStation(t, a.issuer, 2, func(c *signed.SessionCert) { c.NotBefore, c.NotAfter = c.NotBefore-9000, c.NotBefore-5000 }).raw, identity.ErrExpired},
		{"another certificate of the same transmission", newStation(t, a.issuer, 1, func(c *signed.SessionCert) { c.Fence = 9 }).raw, ErrRefused},
		{"SSRC of another transmission", newStation(t, a.issuer, 2, func(c *signed.SessionCert) { c.SSRC = s.cert.SSRC }).raw, ErrRefused},
		{"garbage", []byte("garbage"), signed.ErrMalformed},
		{"a stop", stop(t, a.issuer, s), signed.ErrMalformed},
		{"altered", func() []byte { b := slices.Clone(newStation(t, a.issuer, 2).raw); b[len(b)-1] ^= 1; return b }(), signed.ErrSignature},
	}
	if err := table.trust.AddIssuer(a.other.Certificate.Raw); err != nil {
		t.Fatal(err)
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			events, err := table.Session(at(0), tc.cert, nil)
			if !errors.Is(err, tc.want) || events != nil {
				t.Errorf("Session = %v, %v; want error %v", events, err, tc.want)
			}
		})
	}
	stranger := newAuthority(t)
	x := newStation(t, stranger.issuer, 3)
	if _, err := table.Session(at(0), x.raw, stranger.issuer.Certificate.Raw); !errors.Is(err, identity.ErrUnknownRoot) {
		t.Errorf("a certificate of another root: %v, want %v", err, identity.ErrUnknownRoot)
	}
}

// TestObjectsInAnyOrder delivers the fragments of certificate, issuer and (sometimes) a stop in beacons, shuffled, some
// twice: in the end the transmission is on air, or stopped, whatever came first.
func TestObjectsInAnyOrder(t *testing.T) {
	a := newAuthority(t)
	for seed := range uint64(16) {
		r := rand.New(rand.NewPCG(seed, 1))
		s := newStation(t, a.issuer, 1, func(c *signed.SessionCert) { // a long certificate, in two fragments
			for i := range 20 {
				c.Zones = append(c.Zones, c.Zones[0]+zone.Zone(fmt.Sprintf("/%02d", i)))
			}
		})
		table := a.table(2)
		ordered := seed%2 == 1
		all := s.beacons(t, epoch, 5, wire.ObjectSession, s.raw)
		all = append(all, s.beacons(t, epoch, 5, wire.ObjectIssuer, s.by.Certificate.Raw)...)
		if ordered {
			all = append(all, s.beacons(t, epoch, 5, wire.ObjectStop, stop(t, a.issuer, s))...)
		}
		if len(all) < 4 {
			t.Fatalf("only %d fragments, so the test tests little", len(all))
		}
		all = append(all, all[:2]...)
		r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		var got []Kind
		for round := range 12 { // beacons come again every few seconds, by both upstreams with losses
			for _, b := range all {
				_, events := table.Beacon(at(time.Duration(round)*time.Second), b, r.IntN(2))
				got = append(got, kinds(events)...)
			}
			for i, b := range all { // a later round's beacons carry a later time
				fresh := b
				s.sent++
				fresh.At = s.sent
				all[i], _ = wire.ParseBeacon(fresh.Append(nil, s.key))
			}
		}
		x := table.Get(s.cert.Transmission)
		if x == nil {
			t.Fatalf("seed %d: the certificate never became whole", seed)
		}
		if ordered {
			if !slices.Contains(got, Stopped) || len(table.OnAir()) != 0 || !x.Closed() {
				t.Errorf("seed %d: events %v and %d on air, want it stopped", seed, got, len(table.OnAir()))
			}
		} else if !slices.Equal(got, []Kind{Opened}) || len(table.OnAir()) != 1 {
			t.Errorf("seed %d: events %v and %d on air, want it opened once", seed, got, len(table.OnAir()))
		}
	}
}

func TestBeaconOfKnownTransmission(t *testing.T) {
	a := newAuthority(t)
	s := newStation(t, a.issuer, 1)
	forger := *s
	forger.key = newStation(t, a.issuer, 2).key
	table := a.table(2)
	s.open(t, table, at(0))
	first := s.beacons(t, epoch.Add(time.Second), 3, wire.ObjectSession, s.raw)[0]
	second := s.beacons(t, epoch.Add(2*time.Second), 7, wire.ObjectSession, s.raw)[0]
	false3 := forger.beacons(t, epoch.Add(3*time.Second), 9999, wire.ObjectSession, s.raw)[0]
	steps := []struct {
		name   string
		b      wire.BeaconBody
		from   int
		passed bool
		sent   uint64
	}{
		{"the first", first, 0, true, 3},
		{"the other upstream's copy", first, 1, false, 3},
		{"the second", second, 1, true, 7},
		{"replayed", first, 0, false, 7},
		{"forged", false3, 0, false, 7},
	}
	for _, st := range steps {
		x, events := table.Beacon(at(time.Second), st.b, st.from)
		if (x != nil) != st.passed || events != nil {
			t.Errorf("%s: passed %v with events %v, want %v and none", st.name, x != nil, events, st.passed)
		}
		if i, ok := table.Get(s.cert.Transmission).Sent(); !ok || uint64(i) != s.cert.Index0+st.sent {
			t.Errorf("%s: sent up to %d, want %d", st.name, i, s.cert.Index0+st.sent)
		}
	}
	if table.BadBeacons() != 1 {
		t.Errorf("%d bad beacons counted, want 1", table.BadBeacons())
	}
}

func TestStop(t *testing.T) {
	a := newAuthority(t)
	tests := []struct {
		name string
		run  func(t *testing.T, table *Table, s *station) // must leave s stopped, or not
		want bool
	}{
		{"while on air", func(t *testing.T, table *Table, s *station) {
			s.open(t, table, at(0))
			order := stop(t, a.issuer, s)
			events, err := table.Stop(at(1), order, a.issuer.Certificate.Raw)
			if err != nil || len(events) != 1 || events[0].Kind != Stopped || string(events[0].Stop) != string(order) || string(events[0].By) != string(a.issuer.Certificate.Raw) {
				t.Errorf("Stop = %+v, %v; want one Stopped with the order", events, err)
			}
			if again, err := table.Stop(at(2), order, nil); err != nil || again != nil {
				t.Errorf("Stop again = %v, %v; want nothing", again, err)
			}
		}, true},
		{"before its certificate", func(t *testing.T, table *Table, s *station) {
			if events, err := table.Stop(at(0), stop(t, a.issuer, s), a.issuer.Certificate.Raw); err != nil || events != nil {
				t.Errorf("Stop = %v, %v; want nothing yet", events, err)
			}
			if events := s.open(t, table, at(time.Minute)); len(events) != 1 || events[0].Kind != Stopped {
				t.Errorf("opening gave %+v, want Stopped", events)
			}
		}, true},
		{"before its issuer is known", func(t *testing.T, table *Table, s *station) {
			if _, err := table.Stop(at(0), stop(t, a.issuer, s), nil); !errors.Is(err, identity.ErrUnknownIssuer) {
				t.Errorf("Stop = %v, want %v", err, identity.ErrUnknownIssuer)
			}
			for _, b := range s.beacons(t, epoch, 0, wire.ObjectIssuer, a.issuer.Certificate.Raw) {
				table.Beacon(at(1), b, 0)
			}
			s.open(t, table, at(2))
		}, true},
		{"by an issuer who has no say", func(t *testing.T, table *Table, s *station) {
			s.open(t, table, at(0))
			if events, err := table.Stop(at(1), stop(t, a.other, s), a.other.Certificate.Raw); !errors.Is(err, ErrRefused) || events != nil {
				t.Errorf("Stop = %v, %v; want %v", events, err, ErrRefused)
			}
		}, false},
		{"by one who has no say, before its certificate", func(t *testing.T, table *Table, s *station) {
			if _, err := table.Stop(at(0), stop(t, a.other, s), a.other.Certificate.Raw); err != nil {
				t.Errorf("Stop = %v, want no error: nobody knows whose it is", err)
			}
			s.open(t, table, at(1))
		}, false},
		{"of another transmission", func(t *testing.T, table *Table, s *station) {
			s.open(t, table, at(0))
			if _, err := table.Stop(at(1), stop(t, a.issuer, newStation(t, a.issuer, 9)), a.issuer.Certificate.Raw); err != nil {
				t.Errorf("Stop = %v", err)
			}
		}, false},
		{"altered", func(t *testing.T, table *Table, s *station) {
			s.open(t, table, at(0))
			order := stop(t, a.issuer, s)
			order[len(order)-1] ^= 1
			if _, err := table.Stop(at(1), order, nil); !errors.Is(err, signed.ErrSignature) {
				t.Errorf("Stop = %v, want %v", err, signed.ErrSignature)
			}
		}, false},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			table := a.table(1)
			s := newStation(t, a.issuer, 1)
			tc.run(t, table, s)
			want := Accepted
			if tc.want {
				want = Closed
			}
			if _, _, v := table.Media(s.when(0), s.packet(0), 0); v != want {
				t.Errorf("media afterwards: %s, want %s", v, want)
			}
			if events := s.open(t, table, at(3)); events != nil {
				t.Errorf("the certificate once more gave %+v, want nothing", events)
			}
			if on := len(table.OnAir()); (on == 0) != tc.want {
				t.Errorf("%d on air afterwards", on)
			}
		})
	}
}

// TestLife walks a transmission through silence, revival and its end.
func TestLife(t *testing.T) {
	a := newAuthority(t)
	s := newStation(t, a.issuer, 1)
	table := a.table(1)
	s.open(t, table, at(0))
	beacon := func(d time.Duration) []Event {
		x, events := table.Beacon(at(d), s.beacons(t, epoch.Add(d), 0, wire.ObjectSession, s.raw)[0], 0)
		if x == nil {
			t.Errorf("the beacon at %s was refused", d)
		}
		return events
	}
	steps := []struct {
		at   time.Duration
		do   func() []Event
		want []Kind
		on   int
	}{
		{4 * time.Second, nil, nil, 1},
		{5100 * time.Millisecond, nil, []Kind{Silent}, 1},
		{6 * time.Second, nil, nil, 1},
		{7 * time.Second, func() []Event { return beacon(7 * time.Second) }, []Kind{Revived}, 1},
		{11 * time.Second, nil, nil, 1},
		{13 * time.Second, nil, []Kind{Silent}, 1},
		{38 * time.Second, nil, []Kind{Dormant}, 0},
		{50 * time.Second, func() []Event { return beacon(50 * time.Second) }, []Kind{Revived}, 1},
		{51 * time.Second, func() []Event {
			table.Media(at(51*time.Second), s.packet(51*25, func(h *packet.Header) { h.Last = true }), 0)
			return nil
		}, nil, 1},
		{51800 * time.Millisecond, nil, nil, 1},
		{52 * time.Second, nil, []Kind{Ended}, 0},
		{59 * time.Minute, nil, nil, 0},
		{61 * time.Minute, nil, []Kind{Expired}, 0},
		{62 * time.Minute, nil, nil, 0},
	}
	for _, st := range steps {
		var got []Kind
		if st.do != nil {
			got = kinds(st.do())
		}
		got = append(got, kinds(table.Tick(at(st.at)))...)
		if !slices.Equal(got, st.want) || len(table.OnAir()) != st.on {
			t.Errorf("at %s: events %v and %d on air, want %v and %d", st.at, got, len(table.OnAir()), st.want, st.on)
		}
	}
	if table.Get(s.cert.Transmission) != nil {
		t.Error("the table never forgets")
	}
}

func TestTableIsBounded(t *testing.T) {
	a := newAuthority(t)
	table := a.table(1)
	open := func(n int) error {
		s := newStation(t, a.issuer, 1, func(c *signed.SessionCert) {
			c.Transmission = [16]byte{byte(n), byte(n >> 8), 1}
			c.SSRC = uint32(n) + 1
		})
		_, err := table.Session(at(0), s.raw, a.issuer.Certificate.Raw)
		return err
	}
	for n := range MaxTransmissions {
		if err := open(n); err != nil {
			t.Fatalf("transmission %d: %v", n, err)
		}
	}
	if err := open(MaxTransmissions); !errors.Is(err, ErrRefused) {
		t.Errorf("one more: %v, want %v", err, ErrRefused)
	}
	for n := range maxOrders + 10 {
		s := newStation(t, a.issuer, 1, func(c *signed.SessionCert) { c.Transmission = [16]byte{byte(n), byte(n >> 8), 2} })
		if _, err := table.Stop(at(0), stop(t, a.issuer, s), nil); err != nil {
			t.Fatal(err)
		}
	}
	if len(table.orders) != maxOrders {
		t.Errorf("%d stops remembered, want %d", len(table.orders), maxOrders)
	}
}

// FuzzBeacon throws arbitrary beacon bodies at an empty and a busy table: nothing opens that no issuer signed, and what
// is kept stays bounded.
func FuzzBeacon(f *testing.F) {
	a := newAuthority(f)
	s := newStation(f, a.issuer, 1)
	for _, b := range s.beacons(f, epoch, 1, wire.ObjectIssuer, s.by.Certificate.Raw) {
		f.Add(b.Append(nil, s.key), uint8(0))
	}
	for _, b := range s.beacons(f, epoch, 1, wire.ObjectStop, stop(f, a.issuer, s)) {
		f.Add(b.Append(nil, s.key), uint8(1))
	}
	f.Fuzz(func(t *testing.T, body []byte, from uint8) {
		b, err := wire.ParseBeacon(body)
		if err != nil {
			return
		}
		table := a.table(2)
		for range 40 {
			if x, events := table.Beacon(at(0), b, int(from)); x != nil || events != nil {
				t.Fatalf("a beacon of nothing known gave %v", events)
			}
			b.Hash[0]++
		}
		if n := len(table.objects[0].list) + len(table.objects[1].list); n > 2*maxObjects || len(table.waiting) > maxWaiting {
			t.Fatalf("%d objects under way", n)
		}
	})
}
