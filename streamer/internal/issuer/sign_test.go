package issuer

import (
	"crypto/ed25519"
	"errors"
	"slices"
	"testing"
	"time"

	"dongthanh/internal/identity"
	"dongthanh/internal/mediaclock"
	"dongthanh/internal/signed"
	"dongthanh/internal/zone"
	"dongthanh/streamer/internal/store"
)

func (p *place) session(change func(*signed.SessionCert)) signed.SessionCert {
	c := signed.SessionCert{
		Version: 1, Transmission: [16]byte{1}, Session: [16]byte{2}, SSRC: 3, PublicKey: make([]byte, ed25519.PublicKeySize),
		Zones: []zone.Zone{"31/11296", "31/11407"}, KeyZone: "31", Class: signed.ClassNormal, Level: 2,
		NotBefore: p.now.Unix(), NotAfter: p.now.Add(time.Hour).Unix(), DelayMS: 400, Packet: 1920, T0: mediaclock.At(p.now),
	}
	if change != nil {
		change(&c)
	}
	return c
}

func (p *place) trust(c *identity.Credentials, i *Issuer) *identity.Trust {
	p.t.Helper()
	trust := identity.NewTrust(c.Roots, p.clock)
	if err := trust.AddIssuer(i.DER()); err != nil {
		p.t.Fatal(err)
	}
	return trust
}

// TestSession: what the issuer signs a loudspeaker believes; what it must not sign it refuses.
func TestSession(t *testing.T) {
	p := newPlace(t)
	o := p.options()
	o.Scope, o.MaxClass = "31", signed.ClassPriority
	i := must(Open(t.Context(), o))(t)
	speaker := p.enrol(i, identity.Client, "31/11296")
	trust := p.trust(speaker, i)
	raw, der, err := i.Session(p.session(nil))
	if err != nil || string(der) != string(i.DER()) {
		t.Fatalf("Session() = %v", err)
	}
	if c, _, err := trust.Session(raw); err != nil || c.SSRC != 3 {
		t.Errorf("Session() = %+v, %v", c, err)
	}
	for name, c := range map[string]struct {
		change func(*signed.SessionCert)
		scope  bool
	}{
		"another province":  {func(c *signed.SessionCert) { c.Zones, c.KeyZone = []zone.Zone{"32"}, "32" }, true},
		"two provinces":     {func(c *signed.SessionCert) { c.Zones, c.KeyZone = []zone.Zone{"31", "32"}, "" }, true},
		"the country":       {func(c *signed.SessionCert) { c.Zones, c.KeyZone = []zone.Zone{""}, "" }, true},
		"class":             {func(c *signed.SessionCert) { c.Class = signed.ClassEmergency }, true},
		"level":             {func(c *signed.SessionCert) { c.Level = 0 }, true},
		"key zone too high": {func(c *signed.SessionCert) { c.KeyZone = "" }, true},
		"key zone not deep": {func(c *signed.SessionCert) { c.Zones = []zone.Zone{"31/11296"} }, true},
		"over":              {func(c *signed.SessionCert) { c.NotBefore, c.NotAfter = p.now.Unix()-60, p.now.Unix()-1 }, true},
		"beyond the issuer": {func(c *signed.SessionCert) {
			c.NotBefore, c.NotAfter = p.now.Add(issuerLife).Unix()-60, p.now.Add(issuerLife).Unix()+60
		}, true},
		"malformed": {func(c *signed.SessionCert) { c.PublicKey = nil }, false},
	} {
		raw, _, err := i.Session(p.session(c.change))
		if raw != nil || err == nil || c.scope != errors.Is(err, identity.ErrScope) {
			t.Errorf("Session(%s) = %v, want ErrScope: %t", name, err, c.scope)
		}
	}
}

func TestStop(t *testing.T) {
	p := newPlace(t)
	i := p.open()
	trust := p.trust(i.Credentials(), i)
	raw, der, err := i.Stop(signed.Stop{Version: 1, Transmissions: [][16]byte{{1}}})
	if err != nil || string(der) != string(i.DER()) {
		t.Fatalf("Stop() = %v", err)
	}
	s, by, err := trust.Stop(raw)
	if err != nil || s.Transmissions[0] != [16]byte{1} || !by.MayStop(p.session(nil)) {
		t.Errorf("Stop() = %+v, %v", s, err)
	}
	if _, _, err := i.Stop(signed.Stop{}); err == nil {
		t.Error("Stop(nothing) = nil, want an error")
	}
}

// TestZoneKeys: from the database to a loudspeaker's keyring, for its zones, its epochs, and nobody else.
func TestZoneKeys(t *testing.T) {
	p := newPlace(t)
	i := p.open()
	hamlet, commune := p.enrol(i, identity.Client, "31/11296/02"), p.enrol(i, identity.Client, "31/11296")
	trust := p.trust(hamlet, i)
	ring := must(identity.OpenKeyring(t.TempDir(), hamlet))(t)
	other := must(identity.OpenKeyring(t.TempDir(), commune))(t)
	deliver := func() (epochs map[zone.Zone][]uint32) {
		t.Helper()
		epochs = make(map[zone.Zone][]uint32)
		for _, raw := range p.zoneKeys(i, hamlet.Node.ID) {
			e := must(trust.ZoneKey(raw))(t)
			if err := ring.Open(e); err != nil {
				t.Fatal(err)
			}
			if err := other.Open(e); !errors.Is(err, identity.ErrEnvelope) {
				t.Errorf("another loudspeaker opens it: %v", err)
			}
			epochs[e.Zone] = append(epochs[e.Zone], e.Epoch)
		}
		return epochs
	}
	got := deliver()
	if len(got) != 4 {
		t.Errorf("keys of %v, want the country, the province, the commune and the hamlet", got)
	}
	for _, z := range hamlet.Node.Zone.Chain() {
		want := must(p.db.ZoneKey(t.Context(), z))(t)
		if secret, ok := ring.Secret(z, want.Epoch); !ok || secret != want.Secret {
			t.Errorf("the keyring lacks the secret of %q", z)
		}
	}

	// The next epoch is handed out before it comes into force, and the last one still afterwards.
	next := must(p.db.PrepareZoneKey(t.Context(), "31", p.now))(t)
	if got := deliver()["31"]; !slices.Equal(got, []uint32{1, 2}) {
		t.Errorf("epochs %v while one is prepared, want 1 and 2", got)
	}
	if err := p.db.ActivateZoneKey(t.Context(), "31", next.Epoch, p.now); err != nil {
		t.Fatal(err)
	}
	must(p.db.PrepareZoneKey(t.Context(), "31", p.now))(t)
	if got := deliver()["31"]; !slices.Equal(got, []uint32{1, 2, 3}) {
		t.Errorf("epochs %v, want 1, 2 and 3", got)
	}
	for _, skipped := range []uint32{4, 5} { // a revocation skips what was handed out
		must(p.db.PrepareZoneKey(t.Context(), "31", p.now))(t)
		if got := deliver()["31"]; !slices.Equal(got, []uint32{1, 2, skipped}) {
			t.Errorf("epochs %v, want 1, 2 and %d", got, skipped)
		}
	}
	if secret, ok := ring.Secret("31", 2); !ok || secret != next.Secret {
		t.Error("the epoch in force has gone from the keyring")
	}

	if _, _, err := i.ZoneKeys(t.Context(), "nobody"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("ZoneKeys(nobody) = %v, want ErrNotFound", err)
	}
	if err := i.Revoke(t.Context(), hamlet.Node.ID); err != nil {
		t.Fatal(err)
	}
	if _, _, err := i.ZoneKeys(t.Context(), hamlet.Node.ID); !errors.Is(err, store.ErrRevoked) {
		t.Errorf("ZoneKeys(revoked) = %v, want ErrRevoked", err)
	}
}

// TestZoneKeysScope: an issuer keys no zone above its own.
func TestZoneKeysScope(t *testing.T) {
	p := newPlace(t)
	o := p.options()
	o.Scope = "31"
	i := must(Open(t.Context(), o))(t)
	c := p.enrol(i, identity.Relay, "31/11296")
	trust := p.trust(c, i)
	var zones []zone.Zone
	for _, raw := range p.zoneKeys(i, c.Node.ID) {
		zones = append(zones, must(trust.ZoneKey(raw))(t).Zone)
	}
	if !slices.Equal(zones, []zone.Zone{"31", "31/11296"}) {
		t.Errorf("keys of %q, want of 31 and 31/11296", zones)
	}
}

func TestRevoke(t *testing.T) {
	p := newPlace(t)
	i := p.open()
	a, b := p.enrol(i, identity.Client, "31"), p.enrol(i, identity.Client, "31")
	if err := i.Revoke(t.Context(), a.Node.ID); err != nil {
		t.Fatal(err)
	}
	if err := i.Revoke(t.Context(), "nobody"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("Revoke(nobody) = %v, want ErrNotFound", err)
	}
	for name, x := range map[string]*Issuer{"at once": i, "after a restart": p.open()} {
		if !x.Revoked(a.Node.ID) || x.Revoked(b.Node.ID) || x.Revoked("nobody") {
			t.Errorf("%s: Revoked() = %t, %t, %t, want true, false, false", name, x.Revoked(a.Node.ID), x.Revoked(b.Node.ID), x.Revoked("nobody"))
		}
	}
}
