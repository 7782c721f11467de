package cluster

import (
	"crypto/ed25519"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"dongthanh/internal/control"
	"dongthanh/internal/identity"
)

// revoked returns the orders of the messages of revocations that a node was told. The caller holds mu.
func (s *speaker) revoked() (orders []string) {
	for _, m := range s.messages {
		if m.Revoked != nil {
			for _, o := range m.Revoked.Orders {
				orders = append(orders, string(o))
			}
		}
	}
	return orders
}

func TestRevocationGoesToRelays(t *testing.T) {
	var out atomic.Pointer[string]
	b := newBed(t, func(o *Options) {
		o.Revoked = func(id string) bool { p := out.Load(); return p != nil && *p == id }
	})
	r, c, stolen := b.relay("r1"), b.speaker("c1", "31/1"), b.speaker("stolen", "31/1")
	b.up.sees(t, "r1@hub", "c1@hub", "stolen@hub")
	id := "stolen"
	out.Store(&id)
	one := Revocation{Raw: []byte("one"), Nodes: []string{"stolen"}, Issuer: []byte("der")}
	began := time.Now()
	b.Revoke([]Revocation{one})
	b.up.sees(t, "r1@hub", "c1@hub")
	if d := time.Since(began); d > 2*time.Second {
		t.Errorf("cut after %v", d)
	}
	stolen.wait("the refusal", func() bool {
		m := stolen.message(func(m control.Message) bool { return m.Refuse != nil })
		return m != nil && m.Refuse.Code == control.CodeRevoked
	})
	both := Revocation{Raw: []byte("two"), Nodes: []string{"stolen", "lost"}, Issuer: []byte("der")}
	b.Revoke([]Revocation{both, one}) // the second says nothing new
	r.wait("both revocations", func() bool { return fmt.Sprint(r.revoked()) == "[one two]" })
	late := b.relay("r2")
	late.wait("what is in force", func() bool { return fmt.Sprint(late.revoked()) == "[two]" })
	if c.within(0, func() bool { return c.revoked() != nil }) {
		t.Error("a loudspeaker was told")
	}
}

// TestNewZoneCountsAtOnce: a node that comes again with another zone is fed for that one, and for the old one no more.
func TestNewZoneCountsAtOnce(t *testing.T) {
	b := newBed(t, nil)
	old, moved := b.transmit("31/1"), b.transmit("31/2")
	b.Open(old.Transmission)
	b.Open(moved.Transmission)
	c := b.speaker("c1", "31/1")
	told := func(s *speaker, x *transmission) bool {
		return s.message(func(m control.Message) bool { return m.Session != nil && string(m.Session.Cert) == string(x.Raw) }) != nil
	}
	c.wait("the session of its zone", func() bool { return told(c, old) })
	again := b.speaker("c1", "31/2")
	again.wait("the session of its new zone", func() bool { return told(again, moved) })
	if again.within(0, func() bool { return told(again, old) }) {
		t.Error("it is told of the old zone's session still")
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if m := b.Hub.live["c1"]; m == nil || m.node.Zone != "31/2" {
		t.Errorf("it is known as %+v", m)
	}
}

func TestCertificateGoesToItsNodeAndIsShown(t *testing.T) {
	b := newBed(t, nil)
	c := b.speaker("c1", "31/1")
	b.up.wait(t, "its serial", func() bool { return b.up.members[[2]string{"c1", "hub"}].Serial != "" })
	if !b.Certify(control.Certificate{Node: "c1", Chain: [][]byte{[]byte("chain")}}) || b.Certify(control.Certificate{Node: "nobody"}) {
		t.Error("Certify() is not true for c1 alone")
	}
	c.wait("its certificate", func() bool {
		m := c.message(func(m control.Message) bool { return m.Certificate != nil })
		return m != nil && m.Certificate.Node == "c1" && string(m.Certificate.Chain[0]) == "chain"
	})
	own := b.Hub.o.Credentials
	node := own.Node
	node.Name = "xã khác"
	chain, err := b.issuer.Certify(node, own.Key.Public().(ed25519.PublicKey), own.HPKE.PublicKey(), identity.After(own.Chain[0], time.Now()), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	renewed, err := own.Renew(chain, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.SetCredentials(renewed); err != nil {
		t.Fatal(err)
	}
	if got := b.speaker("c2", "31/1").conn.Peer().Name; got != "xã khác" {
		t.Errorf("the next handshake is with %q", got)
	}
}
