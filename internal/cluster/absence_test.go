package cluster

import (
	"bytes"
	"sync"
	"testing"
	"time"

	"dongthanh/internal/control"
	"dongthanh/internal/identity"
	"dongthanh/internal/signed"
	"dongthanh/internal/udp"
	"dongthanh/internal/wire"
)

// hurried are leases for tests of silence: a tenth of the real ones, or less.
func hurried(o *Options) { o.lease = udp.Lease{OnAir: 800 * time.Millisecond, Idle: 2 * time.Second} }

func TestSilentDeath(t *testing.T) {
	t.Parallel()
	b := newBed(t, hurried)
	dead, alive := b.speaker("dead", "31/1"), b.speaker("alive", "31/1")
	idle := b.speaker("idle", "31/2") // nothing is on air for it: it may be silent for longer
	x := b.transmit("31/1")
	b.Open(x.Transmission)
	b.up.sees(t, "dead@hub", "alive@hub", "idle@hub")
	began := time.Now()
	stop := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			case <-time.After(100 * time.Millisecond):
				alive.ping(true)
			}
		}
	}()
	defer func() { close(stop); <-done }()
	b.up.sees(t, "alive@hub", "idle@hub")
	if d := time.Since(began); d < 700*time.Millisecond || d > 2*time.Second {
		t.Errorf("gone after %s, want about 0.8 s", d)
	}
	<-dead.done // it is told, so that it comes back
	b.fed(x, 1, 1)
	b.up.sees(t, "alive@hub")
	<-idle.done
	if d := time.Since(began); d < 1800*time.Millisecond {
		t.Errorf("an idle one was gone after %s, want 2 s", d)
	}
}

func TestSoundGoesOnWithoutControl(t *testing.T) {
	t.Parallel()
	b := newBed(t, hurried)
	r := b.relay("r1")
	r.say(control.Message{Changes: &control.Changes{Full: true, Members: []control.Member{member("c", "r1", "31/2")}}})
	x := b.transmit("31/2")
	b.Open(x.Transmission)
	b.fed(x, 1, 1)
	r.end() // its control connection breaks
	<-r.done
	b.up.sees(t) // reported at once
	b.Media(x.packet(t, 1))
	r.hears(x, x.packet(t, 1))
	r.send(wire.Nack, wire.NackBody{SSRC: x.Cert.SSRC, Base: 1, Bitmap: 1}.Append(nil))
	r.settle(true)
	if n := len(r.indices(x)); n != 2 {
		t.Errorf("%d copies, want the packet and its repetition", n)
	}

	// It comes back, and is fed at once, before it has said who is beneath it; the old flow ends.
	again := b.join(relayNode("r1"), false)
	again.open("127.0.0.1")
	again.bind(true)
	b.feeds(x, again)
	r.forget()
	b.Media(x.packet(t, 2))
	again.hears(x, x.packet(t, 2))
	again.settle(true)
	if n := r.count(0); n != 0 {
		t.Error("the old flow is still fed")
	}
	b.up.sees(t, "r1@hub")

	again.end()
	<-again.done
	b.eventually("the silent one to be forgotten", func() bool { return b.metric("subscribers", "") == 0 })
	b.fed(x, 0, 0)
}

func TestJoinAgainReplacesTheOld(t *testing.T) {
	b := newBed(t, nil)
	x := b.transmit("31")
	b.Open(x.Transmission)
	old := b.speaker("c1", "31/1")
	b.fed(x, 1, 1)
	b.up.sees(t, "c1@hub")
	young := b.join(identity.Node{ID: "c1", Kind: identity.Client, Zone: "31/1"}, false)
	<-old.done
	b.feeds(x, old) // the old flow, until the new one is bound
	b.Media(x.packet(t, 1))
	old.hears(x, x.packet(t, 1))
	young.open("127.0.0.1")
	young.bind(true)
	b.feeds(x, young)
	if got := b.metric("subscribers", ""); got != 1 {
		t.Errorf("subscribers = %v, want 1", got)
	}
	b.Media(x.packet(t, 2))
	young.hears(x, x.packet(t, 2))
	b.up.sees(t, "c1@hub")
	b.up.mu.Lock()
	defer b.up.mu.Unlock()
	for _, w := range b.up.words {
		for _, m := range w.Members {
			if m.Gone {
				t.Error("a node that came back was reported gone")
			}
		}
	}
}

func TestRevokedNodesAreCut(t *testing.T) {
	var mu sync.Mutex
	revoked := map[string]bool{}
	b := newBed(t, func(o *Options) {
		o.Revoked = func(id string) bool { mu.Lock(); defer mu.Unlock(); return revoked[id] }
	})
	stays, goes, left := b.speaker("stays", "31/1"), b.speaker("goes", "31/1"), b.speaker("left", "31/1")
	x := b.transmit("31")
	b.Open(x.Transmission)
	b.fed(x, 3, 3)
	left.end()
	<-left.done
	b.up.sees(t, "stays@hub", "goes@hub")
	mu.Lock()
	revoked["goes"], revoked["left"] = true, true
	mu.Unlock()
	b.revoke() // the keeper does it every 5 s
	<-goes.done
	b.fed(x, 1, 1)
	b.up.sees(t, "stays@hub")
	b.Media(x.packet(t, 1))
	stays.hears(x, x.packet(t, 1))
}

// TestJoinWhileMuchIsOnAir has more transmissions open than a control queue holds.
func TestJoinWhileMuchIsOnAir(t *testing.T) {
	b := newBed(t, nil)
	var first, last *transmission
	for i := range 2 * control.QueueLen { // the highest somewhere in between
		last = b.transmit("31")
		if i == control.QueueLen {
			last.Cert.Class = signed.ClassEmergency
			first = last
		}
		b.Open(last.Transmission)
		raw, order := b.stop(b.transmit("31"))
		b.Stop(raw, order, last.Issuer)
	}
	s := b.speaker("s", "31/1")
	s.settle(true)
	var sessions [][]byte
	s.wait("sessions by control", func() bool {
		sessions = nil
		for _, m := range s.messages {
			if m.Session != nil {
				sessions = append(sessions, m.Session.Cert)
			}
		}
		return len(sessions) >= sessionsOnJoin
	})
	if len(sessions) > sessionsOnJoin || !bytes.Equal(sessions[0], first.Raw) {
		t.Errorf("%d sessions by control, want %d and the highest first", len(sessions), sessionsOnJoin)
	}
	select {
	case <-s.done:
		t.Errorf("the connection broke: %v", s.err)
	default:
	}
	b.fed(last, 1, 1) // media flows all the same
	b.Open(b.transmit("31").Transmission)
	s.wait("one that began later", func() bool {
		n := 0
		for _, m := range s.messages {
			if m.Session != nil {
				n++
			}
		}
		return n == sessionsOnJoin+1
	})
}
