package signed

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"dongthanh/internal/mediaclock"
	"dongthanh/internal/zone"
)

var (
	key    = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize))
	pub    = key.Public().(ed25519.PublicKey)
	issuer = bytes.Repeat([]byte{0xaa}, 32)
)

func validCert() SessionCert {
	return SessionCert{
		Version: 1, Transmission: [16]byte{1}, Session: [16]byte{2}, SSRC: 3, PublicKey: pub,
		Zones: []zone.Zone{"31/11296/01", "31/11296/02"}, KeyZone: "31/11296",
		Kind: KindLive, Class: ClassPriority, Level: 2, Fence: 9, NotBefore: 1_000, NotAfter: 1_000 + 4*3600,
		DelayMS: 400, TS0: 77, T0: 1_000_000_000_000, Index0: 500, Packet: 1920,
	}
}

func validReport() Report {
	return Report{Version: 1, Node: "0193-client", Number: 5, Transmission: [16]byte{1}, Hearing: true, At: 12, Played: 100, RTTMicros: 250, ClockMicros: -30}
}

func validOrder() Order {
	volume := int32(-600)
	return Order{Version: 1, Node: "0193-client", Number: 7, At: 1_000, NotAfter: 1_000 + mediaclock.Instant(OrderValidity), Volume: &volume, ToneMS: 3000}
}

func signOK(tb testing.TB, b Body) []byte {
	tb.Helper()
	raw, err := Sign(b, issuer, key)
	if err != nil {
		tb.Fatal(err)
	}
	return raw
}

func TestSessionCertSurvives(t *testing.T) {
	want := validCert()
	raw := signOK(t, want)
	o, err := Parse[SessionCert](raw)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(o.Signer(), issuer) {
		t.Errorf("signer = %x, want %x", o.Signer(), issuer)
	}
	got, err := o.Verify(pub)
	if err != nil {
		t.Fatal(err)
	}
	again := signOK(t, got)
	if !bytes.Equal(again, raw) {
		t.Error("signing what was read gives other bytes: the encoding is not deterministic")
	}
	if len(raw) > 400 {
		t.Errorf("a usual certificate takes %d bytes, want it in one beacon", len(raw))
	}
}

func TestNothingHoldsThatNobodySigned(t *testing.T) {
	raw := signOK(t, validCert())
	for i := range len(raw) * 8 {
		b := bytes.Clone(raw)
		b[i/8] ^= 1 << (i % 8)
		if o, err := Parse[SessionCert](b); err == nil {
			if _, err := o.Verify(pub); err == nil {
				t.Errorf("bit %d of byte %d flipped, and the certificate still holds", i%8, i/8)
			}
		}
	}
	other := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{8}, ed25519.SeedSize)).Public().(ed25519.PublicKey)
	o, err := Parse[SessionCert](raw)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := o.Verify(other); !errors.Is(err, ErrSignature) {
		t.Errorf("another issuer's key: %v, want ErrSignature", err)
	}
}

// TestOneKindIsNotAnother: a signature over one kind of object never serves for another.
func TestOneKindIsNotAnother(t *testing.T) {
	raw := signOK(t, Stop{Version: 1, Transmissions: [][16]byte{{1}}, At: 5})
	if o, err := Parse[ZoneKey](raw); err == nil {
		if _, err := o.Verify(pub); err == nil {
			t.Error("a stop holds as a zone key")
		}
	}
}

func TestCheckRefuses(t *testing.T) {
	for _, c := range []struct {
		name string
		edit func(*SessionCert)
	}{
		{"version", func(c *SessionCert) { c.Version = 2 }},
		{"no transmission", func(c *SessionCert) { c.Transmission = [16]byte{} }},
		{"short key", func(c *SessionCert) { c.PublicKey = c.PublicKey[:31] }},
		{"no zone", func(c *SessionCert) { c.Zones = nil }},
		{"33 zones", func(c *SessionCert) { c.KeyZone = "31"; c.Zones = make([]zone.Zone, 33) }},
		{"zone outside key zone", func(c *SessionCert) { c.Zones = []zone.Zone{"31/11407"} }},
		{"zone with spaces", func(c *SessionCert) { c.Zones = []zone.Zone{"31/11296/a b"} }},
		{"kind", func(c *SessionCert) { c.Kind = 4 }},
		{"class", func(c *SessionCert) { c.Class = 3 }},
		{"five hours", func(c *SessionCert) { c.NotAfter += 3600 }},
		{"backwards", func(c *SessionCert) { c.NotAfter = c.NotBefore - 1 }},
		{"delay", func(c *SessionCert) { c.DelayMS = 11_000 }},
		{"packet", func(c *SessionCert) { c.Packet = 1000 }},
		{"assertion", func(c *SessionCert) { c.Assertions = [][]byte{{1}} }},
	} {
		cert := validCert()
		c.edit(&cert)
		if _, err := Sign(cert, issuer, key); err == nil {
			t.Errorf("%s: signed, want refused", c.name)
		}
	}
}

// TestOrderBounds: an order says what it says, or nothing; what is out of bounds is refused by both sides.
func TestOrderBounds(t *testing.T) {
	volume := func(v int32) *int32 { return &v }
	for _, c := range []struct {
		name string
		edit func(*Order)
		ok   bool
	}{
		{"as it is", func(*Order) {}, true},
		{"nothing but a number", func(o *Order) { o.Volume, o.ToneMS = nil, 0 }, true},
		{"full volume, which is not no volume", func(o *Order) { o.Volume = volume(0) }, true},
		{"least volume", func(o *Order) { o.Volume = volume(MinVolume) }, true},
		{"longest tone", func(o *Order) { o.ToneMS = 10_000 }, true},
		{"for an instant", func(o *Order) { o.NotAfter = o.At }, true},
		{"version", func(o *Order) { o.Version = 2 }, false},
		{"nobody", func(o *Order) { o.Node = "" }, false},
		{"long id", func(o *Order) { o.Node = string(make([]byte, MaxNodeID+1)) }, false},
		{"no number", func(o *Order) { o.Number = 0 }, false},
		{"backwards", func(o *Order) { o.NotAfter = o.At - 1 }, false},
		{"before 1970", func(o *Order) { o.At = -1 }, false},
		{"for too long", func(o *Order) { o.NotAfter++ }, false},
		{"for ever", func(o *Order) { o.At, o.NotAfter = 0, 1<<63-1 }, false},
		{"louder than full", func(o *Order) { o.Volume = volume(1) }, false},
		{"below the least", func(o *Order) { o.Volume = volume(MinVolume - 1) }, false},
		{"endless tone", func(o *Order) { o.ToneMS = 10_001 }, false},
	} {
		order := validOrder()
		c.edit(&order)
		raw, err := Sign(order, issuer, key)
		if (err == nil) != c.ok {
			t.Errorf("%s: signed with %v", c.name, err)
		}
		if err != nil {
			continue
		}
		o, err := Parse[Order](raw)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		got, err := o.Verify(pub)
		if diff := cmp.Diff(order, got); err != nil || diff != "" {
			t.Errorf("%s: %v, %s", c.name, err, diff)
		}
		if bytes.Equal(raw, signOK(t, got)) != true {
			t.Errorf("%s: signing what was read gives other bytes", c.name)
		}
	}
	long := *volume(1)
	bad := Report{Version: 1, Node: "n", Volume: &long}
	if _, err := Sign(bad, issuer, key); err == nil {
		t.Error("a report of a volume above full was signed")
	}
}

// TestOrderIsNothingElse: an order's signature holds for no other kind of object, and no other's for an order.
func TestOrderIsNothingElse(t *testing.T) {
	order := signOK(t, validOrder())
	for name, err := range map[string]error{
		"stop": holdsAs[Stop](order), "zone key": holdsAs[ZoneKey](order), "session": holdsAs[SessionCert](order), "report": holdsAs[Report](order),
		"order, of a report": holdsAs[Order](signOK(t, validReport())), "order, of a stop": holdsAs[Order](signOK(t, Stop{Version: 1, Transmissions: [][16]byte{{1}}})),
	} {
		if err == nil {
			t.Errorf("an order holds as a %s", name)
		}
	}
}

func holdsAs[B Body](raw []byte) error {
	o, err := Parse[B](raw)
	if err == nil {
		_, err = o.Verify(pub)
	}
	return err
}

// FuzzOrder: none holds that nobody signed, and what is read is within bounds.
func FuzzOrder(f *testing.F) {
	order := signOK(f, validOrder())
	f.Add(order)
	f.Add(signOK(f, Order{Version: 1, Node: "n", Number: 1, At: 1, NotAfter: 2}))
	f.Add(signOK(f, validReport()))
	f.Fuzz(func(t *testing.T, raw []byte) {
		o, err := Parse[Order](raw)
		if err != nil {
			if !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrCritical) {
				t.Errorf("error %v is neither malformed nor critical", err)
			}
			return
		}
		if x := o.Unverified(); x.Volume != nil && !ValidVolume(*x.Volume) || x.Tone() > MaxTone || x.NotAfter.Sub(x.At) > OrderValidity || x.Node == "" {
			t.Errorf("out of bounds: %+v", x)
		}
		if b, err := o.Verify(pub); err == nil && !bytes.Equal(raw, order) && b.Node != "n" {
			t.Error("an order that nobody signed holds")
		}
	})
}

func TestCriticalField(t *testing.T) {
	for _, c := range []struct {
		critical []int
		want     error
	}{{[]int{6, 14}, nil}, {[]int{21}, ErrCritical}, {[]int{-1}, ErrCritical}} {
		cert := validCert()
		cert.Critical = c.critical
		_, err := Parse[SessionCert](signOK(t, cert))
		if !errors.Is(err, c.want) {
			t.Errorf("critical %v: %v, want %v", c.critical, err, c.want)
		}
	}
}

func TestTimeMap(t *testing.T) {
	c := validCert()
	if got, want := c.PlayAt(500), c.T0.Add(c.Delay()); got != want {
		t.Errorf("first packet plays at %d, want %d", got, want)
	}
	if got, want := c.PlayAt(525), mediaclock.Instant(1_001_400_000_000); got != want {
		t.Errorf("a second later plays at %d, want %d", got, want)
	}
	if got, want := c.Timestamp(501), mediaclock.Timestamp(77+1920); got != want {
		t.Errorf("timestamp = %d, want %d", got, want)
	}
}

func TestOutranksIsATotalOrder(t *testing.T) {
	edit := func(f func(*SessionCert)) SessionCert { c := validCert(); f(&c); return c }
	rising := []SessionCert{
		edit(func(c *SessionCert) { c.Class = ClassNormal; c.Fence = 100; c.Level = 0 }),
		edit(func(c *SessionCert) { c.Level = 3; c.Fence = 100 }),
		edit(func(c *SessionCert) { c.Kind = KindScheduled; c.Fence = 100 }),
		edit(func(c *SessionCert) {}),
		edit(func(c *SessionCert) { c.Fence = 10 }),
		edit(func(c *SessionCert) { c.Fence = 10; c.Transmission = [16]byte{2} }),
		edit(func(c *SessionCert) { c.Level = 1 }),
		edit(func(c *SessionCert) { c.Class = ClassEmergency; c.Level = 9; c.Fence = 0; c.Kind = KindDrill }),
	}
	for i, a := range rising {
		for j, b := range rising {
			if got, want := a.Outranks(b), i > j; got != want {
				t.Errorf("%d outranks %d = %v, want %v", i, j, got, want)
			}
		}
	}
}

// FuzzSessionCert also covers the other kinds: they share all code but their checks.
func FuzzSessionCert(f *testing.F) {
	cert := signOK(f, validCert())
	f.Add(cert)
	f.Add(signOK(f, Stop{Version: 1, Transmissions: [][16]byte{{1}}}))
	f.Add(signOK(f, ZoneKey{Version: 1, Node: "n", Zone: "31", Epoch: 1, Sealed: make([]byte, 80)}))
	f.Add(signOK(f, validReport()))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if o, err := Parse[SessionCert](raw); err == nil {
			if _, err := o.Verify(pub); err == nil && !bytes.Equal(raw, cert) {
				t.Error("a certificate that nobody signed holds")
			}
			c := o.Unverified()
			c.PlayAt(0)
			c.Outranks(c)
		}
		for _, err := range []error{parseAs[Stop](raw), parseAs[ZoneKey](raw), parseAs[Report](raw), parseAs[Order](raw)} {
			if err != nil && !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrCritical) {
				t.Errorf("error %v is neither malformed nor critical", err)
			}
		}
	})
}

func parseAs[B Body](raw []byte) error {
	_, err := Parse[B](raw)
	return err
}
