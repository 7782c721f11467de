package identity

import (
	"crypto/ed25519"
	"errors"
	"sync"
	"testing"
	"time"

	"dongthanh/internal/mediaclock"
	"dongthanh/internal/signed"
	"dongthanh/internal/zone"
)

func session(change func(*signed.SessionCert)) signed.SessionCert {
	c := signed.SessionCert{
		Version: 1, Transmission: [16]byte{1}, Session: [16]byte{2}, SSRC: 3, PublicKey: make([]byte, ed25519.PublicKeySize),
		Zones: []zone.Zone{"31/11296"}, KeyZone: "31/11296", Class: signed.ClassNormal, Level: 2,
		NotBefore: day.Unix(), NotAfter: day.Add(time.Hour).Unix(), DelayMS: 400, Packet: 1920, T0: mediaclock.At(day),
	}
	if change != nil {
		change(&c)
	}
	return c
}

func (a *Authority) sign(t testing.TB, b signed.Body) []byte {
	t.Helper()
	id := a.ID()
	return must(signed.Sign(b, id[:], a.Key))(t)
}

func TestTrustSession(t *testing.T) {
	n, other := newNetwork(t, "31", signed.ClassPriority), newNetwork(t, "31", signed.ClassPriority)
	good := n.issuer.sign(t, session(nil))
	impostor := n.issuer.ID()
	end := day.Add(100 * 24 * time.Hour) // the issuer has expired by then
	for _, c := range []struct {
		name string
		raw  []byte
		now  time.Time
		want error
	}{
		{"good", good, day, nil},
		{"a little early", good, day.Add(-10 * time.Second), nil},
		{"at its end", good, day.Add(time.Hour), nil},
		{"clock not set", good, nobodyAt, nil},
		{"too early", good, day.Add(-time.Minute), ErrNotYetValid},
		{"too late", good, day.Add(time.Hour + time.Second), ErrExpired},
		{"issuer expired", n.issuer.sign(t, session(func(c *signed.SessionCert) { c.NotBefore, c.NotAfter = end.Unix(), end.Unix()+60 })), end, ErrExpired},
		{"zone of another province", n.issuer.sign(t, session(func(c *signed.SessionCert) { c.Zones, c.KeyZone = []zone.Zone{"31/1", "32"}, "" })), day, ErrScope},
		{"the whole country", n.issuer.sign(t, session(func(c *signed.SessionCert) { c.Zones, c.KeyZone = []zone.Zone{""}, "" })), day, ErrScope},
		{"key zone above the scope", n.issuer.sign(t, session(func(c *signed.SessionCert) { c.KeyZone = "" })), day, ErrScope},
		{"class too high", n.issuer.sign(t, session(func(c *signed.SessionCert) { c.Class = signed.ClassEmergency })), day, ErrScope},
		{"level too high", n.issuer.sign(t, session(func(c *signed.SessionCert) { c.Level = 0 })), day, ErrScope},
		{"unknown issuer", other.issuer.sign(t, session(nil)), day, ErrUnknownIssuer},
		{"another's signature in the issuer's name", must(signed.Sign(session(nil), impostor[:], other.issuer.Key))(t), day, signed.ErrSignature},
		{"signer of 3 bytes", must(signed.Sign(session(nil), []byte("abc"), n.issuer.Key))(t), day, signed.ErrMalformed},
		{"a stop", n.issuer.sign(t, signed.Stop{Version: 1, Transmissions: [][16]byte{{1}}}), day, signed.ErrMalformed},
		{"garbage", []byte("x"), day, signed.ErrMalformed},
	} {
		t.Run(c.name, func(t *testing.T) {
			now := day
			trust := NewTrust(n.roots, func() time.Time { return now })
			if _, _, err := trust.Session(good); !errors.Is(err, ErrUnknownIssuer) {
				t.Fatalf("Session() before AddIssuer = %v, want ErrUnknownIssuer", err)
			}
			if err := trust.AddIssuer(n.issuer.Certificate.Raw); err != nil {
				t.Fatal(err)
			}
			now = c.now
			got, issuer, err := trust.Session(c.raw)
			if !errors.Is(err, c.want) || (c.want == nil && err != nil) {
				t.Fatalf("Session() = %v, want %v", err, c.want)
			}
			if err == nil && (got.SSRC != 3 || issuer.ID != n.issuer.ID()) {
				t.Errorf("Session() = %+v by %x", got, issuer.ID)
			}
			if err != nil && (got.Version != 0 || issuer != nil) {
				t.Errorf("Session() fails and returns %+v, %v", got, issuer)
			}
		})
	}
}

func TestTrustAddIssuer(t *testing.T) {
	n, other := newNetwork(t, "31", 1), newNetwork(t, "31", 1)
	trust := NewTrust(n.roots, func() time.Time { return day })
	if err := trust.AddIssuer(other.issuer.Certificate.Raw); !errors.Is(err, ErrUnknownRoot) {
		t.Errorf("AddIssuer(another network's) = %v, want ErrUnknownRoot", err)
	}
	if err := trust.AddIssuer(nil); err == nil {
		t.Error("AddIssuer(nil) = nil")
	}
	if err := trust.AddIssuer(n.issuer.Certificate.Raw); err != nil {
		t.Fatal(err)
	}
	good := n.issuer.sign(t, session(nil))
	for i := range maxIssuers {
		if _, _, err := trust.Session(good); err != nil {
			t.Fatalf("after %d more issuers: %v", i, err)
		}
		more := must(n.root.NewIssuer("31", 1, day, year))(t)
		for range 2 { // known ones take no room
			if err := trust.AddIssuer(more.Certificate.Raw); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, _, err := trust.Session(good); !errors.Is(err, ErrUnknownIssuer) {
		t.Errorf("the oldest of %d issuers is still known: %v", maxIssuers+1, err)
	}
	if len(trust.issuers) != maxIssuers || len(trust.order) != maxIssuers {
		t.Errorf("%d issuers kept, %d in order, want %d", len(trust.issuers), len(trust.order), maxIssuers)
	}
}

func TestTrustAtOnce(t *testing.T) {
	n := newNetwork(t, "31", 1)
	trust := NewTrust(n.roots, func() time.Time { return day })
	good := n.issuer.sign(t, session(nil))
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if err := trust.AddIssuer(n.issuer.Certificate.Raw); err != nil {
				t.Error(err)
			}
			if _, _, err := trust.Session(good); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if len(trust.order) != 1 {
		t.Errorf("%d issuers in order, want 1", len(trust.order))
	}
}

func TestTrustStop(t *testing.T) {
	n := newNetwork(t, "31", signed.ClassPriority)
	trust := NewTrust(n.roots, func() time.Time { return day })
	if err := trust.AddIssuer(n.issuer.Certificate.Raw); err != nil {
		t.Fatal(err)
	}
	s, issuer, err := trust.Stop(n.issuer.sign(t, signed.Stop{Version: 1, Transmissions: [][16]byte{{1}}, At: 5}))
	if err != nil || s.At != 5 {
		t.Fatalf("Stop() = %+v, %v", s, err)
	}
	for _, c := range []struct {
		name string
		cert signed.SessionCert
		want bool
	}{
		{"its own", session(nil), true},
		{"one zone beyond its scope", session(func(c *signed.SessionCert) { c.Zones, c.KeyZone = []zone.Zone{"31/1", "32/1"}, "" }), false},
		{"of the country", session(func(c *signed.SessionCert) { c.Zones, c.KeyZone = []zone.Zone{""}, "" }), false},
		{"of a higher class", session(func(c *signed.SessionCert) { c.Class = signed.ClassEmergency }), false},
	} {
		if got := issuer.MayStop(c.cert); got != c.want {
			t.Errorf("MayStop(%s) = %t, want %t", c.name, got, c.want)
		}
	}
	if _, _, err := trust.Stop(n.issuer.sign(t, session(nil))); !errors.Is(err, signed.ErrMalformed) {
		t.Errorf("Stop(a session) = %v, want ErrMalformed", err)
	}
}

func TestTrustOrder(t *testing.T) {
	n, other := newNetwork(t, "31", signed.ClassPriority), newNetwork(t, "31", signed.ClassPriority)
	neighbour := must(n.root.NewIssuer("31/11407", signed.ClassEmergency, day, year))(t)
	order := func(change func(*signed.Order)) signed.Order {
		o := signed.Order{Version: 1, Node: speaker.ID, Number: 1, At: mediaclock.At(day), NotAfter: mediaclock.At(day.Add(time.Minute))}
		if change != nil {
			change(&o)
		}
		return o
	}
	good := n.issuer.sign(t, order(nil))
	impostor := n.issuer.ID()
	for _, c := range []struct {
		name string
		raw  []byte
		now  time.Time
		want error
	}{
		{"good", good, day, nil},
		{"at its end", good, day.Add(time.Minute), nil},
		{"clocks differ", good, day.Add(-10 * time.Second), nil},
		{"clock not set", good, nobodyAt, nil},
		{"too early", good, day.Add(-time.Minute), ErrNotYetValid},
		{"too late", good, day.Add(time.Minute + time.Second), ErrExpired},
		{"another node's", n.issuer.sign(t, order(func(o *signed.Order) { o.Node = mailman.ID })), day, ErrAddressee},
		{"issuer of another commune", neighbour.sign(t, order(nil)), day, ErrScope},
		{"issuer of another network", other.issuer.sign(t, order(nil)), day, ErrUnknownIssuer},
		{"another's signature in the issuer's name", must(signed.Sign(order(nil), impostor[:], other.issuer.Key))(t), day, signed.ErrSignature},
		{"signed by the loudspeaker itself", must(signed.Sign(order(nil), []byte(speaker.ID), other.issuer.Key))(t), day, signed.ErrMalformed},
		{"a stop", n.issuer.sign(t, signed.Stop{Version: 1, Transmissions: [][16]byte{{1}}}), day, signed.ErrMalformed},
		{"garbage", []byte("x"), day, signed.ErrMalformed},
	} {
		t.Run(c.name, func(t *testing.T) {
			now := day
			trust := NewTrust(n.roots, func() time.Time { return now })
			for _, i := range []*Authority{n.issuer, neighbour} {
				if err := trust.AddIssuer(i.Certificate.Raw); err != nil {
					t.Fatal(err)
				}
			}
			now = c.now
			got, err := trust.Order(c.raw, speaker)
			if !errors.Is(err, c.want) || (c.want == nil && err != nil) {
				t.Fatalf("Order() = %v, want %v", err, c.want)
			}
			if (err == nil) != (got.Number == 1) {
				t.Errorf("Order() = %+v, %v", got, err)
			}
		})
	}
}

func TestReport(t *testing.T) {
	n := newNetwork(t, "31", 1)
	c, other := n.enlist(t, speaker), n.enlist(t, mailman)
	public := c.Key.Public().(ed25519.PublicKey)
	raw := must(c.SignReport(signed.Report{Version: 1, Node: speaker.ID, Number: 7}))(t)
	if r, err := VerifyReport(raw, speaker.ID, public); err != nil || r.Number != 7 {
		t.Errorf("VerifyReport() = %+v, %v", r, err)
	}
	foreign := must(c.SignReport(signed.Report{Version: 1, Node: mailman.ID, Number: 7}))(t)
	for name, err := range map[string]error{
		"another's key":       second(VerifyReport(raw, speaker.ID, other.Key.Public().(ed25519.PublicKey))),
		"another node's":      second(VerifyReport(raw, mailman.ID, public)),
		"in another's name":   second(VerifyReport(foreign, speaker.ID, public)),
		"in another's name 2": second(VerifyReport(foreign, mailman.ID, public)),
		"no key":              second(VerifyReport(raw, speaker.ID, nil)),
		"garbage":             second(VerifyReport([]byte("x"), speaker.ID, public)),
	} {
		if err == nil {
			t.Errorf("VerifyReport(%s) = nil, want an error", name)
		}
	}
}

func second[T any](_ T, err error) error { return err }

func TestCertifyRefuses(t *testing.T) {
	n := newNetwork(t, "31", 1)
	k := must(NewKeys())(t)
	for name, c := range map[string]struct {
		node Node
		by   *Authority
		want error
	}{
		"zone":    {Node{ID: "a", Kind: Client, Zone: "32"}, n.issuer, ErrScope},
		"id":      {Node{ID: "a b", Kind: Client, Zone: "31"}, n.issuer, ErrNames},
		"kind":    {Node{ID: "a", Kind: "king", Zone: "31"}, n.issuer, ErrNames},
		"by root": {Node{ID: "a", Kind: Client, Zone: "31"}, n.root, ErrNames},
	} {
		if _, err := c.by.Certify(c.node, k.Signing.Public().(ed25519.PublicKey), k.Sealing.PublicKey(), day, year); !errors.Is(err, c.want) {
			t.Errorf("Certify(%s) = %v, want %v", name, err, c.want)
		}
	}
	if _, err := OpenIssuer(k.Signing, n.issuer.Certificate.Raw, n.root.Certificate.Raw); err == nil {
		t.Error("OpenIssuer with another key = nil, want an error")
	}
	if _, err := OpenRoot(k.Signing, n.root.Certificate.Raw); err == nil {
		t.Error("OpenRoot with another key = nil, want an error")
	}
}
