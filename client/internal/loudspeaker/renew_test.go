package loudspeaker

import (
	"crypto/ed25519"
	"log/slog"
	"testing"
	"time"

	"dongthanh/internal/control"
	"dongthanh/internal/identity"
	"dongthanh/internal/testkit"
	"dongthanh/internal/zone"
)

// certify sends a loudspeaker a certificate that says another zone.
func (b *bed) certify(s *speaker, z zone.Zone) {
	b.Helper()
	c := s.wallet.Credentials()
	n := c.Node
	n.Zone = z
	chain, err := b.issuer.Certify(n, c.Key.Public().(ed25519.PublicKey), c.HPKE.PublicKey(), identity.After(c.Chain[0], time.Now()), time.Hour)
	if err != nil {
		b.Fatal(err)
	}
	if !b.hub.Certify(control.Certificate{Node: s.id, Chain: chain}) {
		b.Fatalf("%s is not connected", s.id)
	}
}

// TestMovedOnAir: a loudspeaker is moved to another commune while it sounds a session of both. It comes anew with its new
// certificate, and not one frame is lost.
func TestMovedOnAir(t *testing.T) { retried(t, movedOnAir) }

func movedOnAir(t *testing.T, b *bed) bool {
	s := b.speaker("moved", "31/11296", 0, "")
	x := b.transmit(chord, nil, "31")
	const n = 100
	x.speak(n, true, func(k int, raw []byte) []byte {
		if k == n/2 {
			b.certify(s, "31/11407")
		}
		return raw
	})
	b.eventually("it to have played all", func() bool { return s.total(t) >= 2*n })
	if dry(t, s) {
		return true
	}
	if c := s.counts(t); c["played"]+c["repaired"] != 2*n {
		t.Errorf("counts %v, want every frame of %d played", c, 2*n)
	}
	b.eventually("the upstream to see it in its new zone", func() bool {
		for _, m := range b.hub.Members() {
			if m.Node == "moved" && m.Zone == "31/11407" && m.Serial == identity.Serial(s.wallet.Credentials().Chain[0]) {
				return true
			}
		}
		return false
	})
	if _, ok := s.ring.Secret("31/11296", 1); ok {
		t.Error("it keeps the key of the commune that it left")
	}
	c, err := identity.Load(s.options.Dir)
	if err != nil || c.Node.Zone != "31/11407" {
		t.Errorf("on its disk: %v, %v", c, err)
	}
	return false
}

// TestMovedAway: what was meant for the old zone alone ends at once, and what is on air for the new one is listened to.
func TestMovedAway(t *testing.T) {
	b := newBed(t)
	s := b.speaker("moved", "31/11296", 0, "")
	old, next := b.transmit(chord, nil, "31/11296"), b.transmit(chord, nil, "31/11407")
	b.eventually("it to listen to its own commune", func() bool { return len(s.listening()) == 1 })
	b.certify(s, "31/11407")
	b.eventually("it to listen to the other commune alone", func() bool {
		list := s.listening()
		if len(list) != 1 {
			return false
		}
		for on := range list {
			return on.Cert.Transmission == next.cert.Transmission && on.Cert.Transmission != old.cert.Transmission
		}
		return false
	})
}

// TestCertificatesThatAreNone: a hostile upstream that sends them without end fills no log.
func TestCertificatesThatAreNone(t *testing.T) {
	d := newDesk(t, false)
	var log testkit.Journal
	d.Loudspeaker.log = slog.New(slog.NewTextHandler(&log, nil))
	for range 100 {
		d.renew(control.Certificate{Node: "desk", Chain: [][]byte{[]byte("x")}})
	}
	if n := d.refused.Total(); n != 100 || log.String() != "" || d.still.shown != 0 {
		t.Errorf("%d are counted, shown %d times, and logged is %q", n, d.still.shown, log.String())
	}
}
