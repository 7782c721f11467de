package cluster

import (
	"slices"
	"testing"
	"time"

	"dongthanh/internal/identity"
	"dongthanh/internal/packet"
	"dongthanh/internal/seq"
	"dongthanh/internal/wire"
)

// bitmap is the NACK's for the indices that lie in the 64 from base.
func bitmap(base seq.Index, indices ...seq.Index) (b uint64) {
	for _, i := range indices {
		b |= 1 << (i - base)
	}
	return b
}

// onAir runs a transmission of 40 ms packets with n packets in the ring, of which s got all, and forgets them.
func onAir(b *bed, s *speaker, n seq.Index) *transmission {
	b.t.Helper()
	x := b.transmit("31")
	b.Open(x.Transmission)
	b.fed(x, 1, 1)
	for i := range n {
		b.Media(x.packet(b.t, i))
	}
	s.hears(x, x.packet(b.t, n-1))
	s.forget()
	return x
}

func TestNackIsAnsweredWithTheSameBytes(t *testing.T) {
	b := newBed(t, nil)
	s := b.speaker("s", "31/1")
	x := onAir(b, s, 50)
	want := []seq.Index{20, 23, 49}
	s.send(wire.Nack, wire.NackBody{SSRC: x.Cert.SSRC, Base: 20, Bitmap: bitmap(20, want...)}.Append(nil))
	for _, i := range want {
		s.hears(x, x.packet(t, i))
	}
	s.settle(true)
	if got := s.indices(x); !slices.Equal(got, want) {
		t.Errorf("packets %v came, want %v", got, want)
	}
	if got := b.metric("retransmissions_total", ""); got != 3 {
		t.Errorf("retransmissions_total = %v, want 3", got)
	}
	b.up.mu.Lock()
	defer b.up.mu.Unlock()
	if len(b.up.nacks) != 0 {
		t.Errorf("asked upstream for what the ring holds: %+v", b.up.nacks)
	}
}

func TestNackBudget(t *testing.T) {
	b := newBed(t, nil)
	s, quiet := b.speaker("s", "31/1"), b.speaker("quiet", "31/1")
	x := b.transmit("31")
	b.Open(x.Transmission)
	b.fed(x, 2, 2)
	for i := range seq.Index(90) {
		b.Media(x.packet(t, i))
	}
	s.hears(x, x.packet(t, 89))
	s.forget()
	quiet.hears(x, x.packet(t, 89))
	quiet.forget()
	all := wire.NackBody{SSRC: x.Cert.SSRC, Base: 26, Bitmap: ^uint64(0)}.Append(nil)
	began := time.Now()
	for range 100 {
		s.send(wire.Nack, all)
	}
	s.settle(true)
	// The delay of 400 ms holds 10 packets; then 25 a second.
	most := 10 + 1 + int(time.Since(began)/x.packetTime())
	if got := len(s.indices(x)); got < 10 || got > most {
		t.Errorf("%d packets for 6400 asked for, want 10 to %d", got, most)
	}
	if b.metric("packets_dropped_total", dropBudget) == 0 {
		t.Error("nothing counted beyond the budget")
	}
	quiet.send(wire.Nack, wire.NackBody{SSRC: x.Cert.SSRC, Base: 50, Bitmap: 1}.Append(nil))
	quiet.hears(x, x.packet(t, 50)) // another's budget is its own
}

func (x *transmission) packetTime() time.Duration { return 40 * time.Millisecond }

func TestMissingIsAskedForUpstreamOnce(t *testing.T) {
	b := newBed(t, nil)
	var all []*speaker
	for _, id := range []string{"a", "b", "c"} {
		all = append(all, b.speaker(id, "31/1"))
	}
	x := b.transmit("31")
	b.Open(x.Transmission)
	b.fed(x, 3, 3)
	nothing, first := x.beacon(t, wire.ObjectSession, seq.MaxIndex) // one below index 0: nothing was sent yet
	b.Beacon(nothing, first)
	all[0].hearsBeacon(first)
	for i := range seq.Index(50) {
		if i != 30 {
			b.Media(x.packet(t, i))
		}
	}
	ask := func(base seq.Index, bits uint64) {
		for _, s := range all {
			s.send(wire.Nack, wire.NackBody{SSRC: x.Cert.SSRC, Base: base, Bitmap: bits}.Append(nil))
		}
		for _, s := range all {
			s.settle(true)
		}
	}
	ask(30, 1)
	b.up.wait(t, "one request", func() bool { return len(b.up.nacks) == 1 })
	if n := b.up.nacks[0]; n.SSRC != x.Cert.SSRC || n.Base != 30 || n.Bitmap != 1 || n.Reason != wire.Missing {
		t.Errorf("asked upstream for %+v", n)
	}
	// It comes, and goes to all.
	p := x.packet(t, 30)
	b.Media(p)
	for _, s := range all {
		s.hears(x, p)
	}
	// What was never sent, or is long over, is nobody's to have.
	ask(50, ^uint64(0))
	ask(1<<40, ^uint64(0))
	b.Media(x.packet(t, 300))
	ask(100, ^uint64(0))
	b.up.mu.Lock()
	n := len(b.up.nacks)
	b.up.mu.Unlock()
	if n != 1 {
		t.Errorf("%d requests upstream, want 1", n)
	}
	// A beacon's word makes it exist.
	body, raw := x.beacon(t, wire.ObjectSession, 302)
	b.Beacon(body, raw)
	all[0].hearsBeacon(raw)
	ask(301, 0b111)
	b.up.wait(t, "a second request", func() bool { return len(b.up.nacks) == 2 })
	if n := b.up.nacks[1]; n.Base != 301 || n.Bitmap != 0b11 {
		t.Errorf("asked upstream for %+v, want 301 and 302", n)
	}
}

func TestBadTagBringsAnotherCopy(t *testing.T) {
	b := newBed(t, nil)
	s := b.speaker("s", "31/1")
	x := onAir(b, s, 20)
	good := x.packet(t, 20)
	bad := packet.Packet{Header: good.Header, Raw: slices.Clone(good.Raw)}
	bad.Raw[len(bad.Raw)-1] ^= 1 // as a hostile relay would alter a tag
	b.Media(bad)
	s.hears(x, bad)
	b.Media(good) // nobody has complained yet: one copy is enough
	complaint := wire.NackBody{SSRC: x.Cert.SSRC, Base: 20, Bitmap: 1, Reason: wire.BadTag}.Append(nil)
	s.send(wire.Nack, complaint)
	b.up.wait(t, "a request upstream", func() bool { return len(b.up.nacks) == 1 })
	if n := b.up.nacks[0]; n.Base != 20 || n.Bitmap != 1 || n.Reason != wire.BadTag {
		t.Errorf("asked upstream for %+v", n)
	}
	s.settle(true)
	if got := s.indices(x); len(got) != 1 {
		t.Errorf("%d copies came, want the bad one alone: who complains has it already", len(got))
	}
	b.Media(bad) // the same upstream again
	b.Media(good)
	s.hears(x, good)
	s.forget()
	s.send(wire.Nack, complaint) // from before it came
	s.hears(x, good)
	s.forget()
	s.send(wire.Nack, wire.NackBody{SSRC: x.Cert.SSRC, Base: 20, Bitmap: 1}.Append(nil))
	s.hears(x, good)
	s.settle(true)
	if got := len(s.indices(x)); got != 1 {
		t.Errorf("%d copies, want 1", got)
	}
}

func TestStandbyResumes(t *testing.T) {
	t.Parallel()
	b := newBed(t, nil)
	s := b.join(identity.Node{ID: "s", Kind: identity.Client, Zone: "31/1"}, true)
	s.open("127.0.0.1")
	s.bind(false)
	b.up.sees(t, "~s@hub")
	x := b.transmit("31")
	b.Open(x.Transmission)
	b.fed(x, 0, 1)
	for i := range seq.Index(60) {
		b.Media(x.packet(t, i))
	}
	s.settle(false)
	if n := s.count(0); n != 0 {
		t.Fatalf("a standby got %d packets", n)
	}
	resume := wire.ResumeBody{SSRC: x.Cert.SSRC, From: 57}.Append(nil)
	s.send(wire.Resume, resume)
	for i := seq.Index(57); i < 60; i++ {
		s.hears(x, x.packet(t, i))
	}
	b.up.sees(t, "s@hub")
	b.Media(x.packet(t, 60)) // and goes on by itself
	s.hears(x, x.packet(t, 60))
	s.send(wire.Resume, resume) // repeated before an answer could come
	s.settle(true)
	if got, want := s.indices(x), []seq.Index{57, 58, 59, 60}; !slices.Equal(got, want) {
		t.Errorf("packets %v, want %v", got, want)
	}
	if got := b.metric("packets_dropped_total", dropResume); got != 1 {
		t.Errorf("dropped RESUMEs: %v, want 1", got)
	}
	// Back to the preferred upstream.
	s.send(wire.Mute, wire.MuteBody{On: true}.Append(nil))
	b.fed(x, 0, 1)
	b.up.sees(t, "~s@hub")
	b.Media(x.packet(t, 61))
	s.settle(false)
	if got := s.indices(x); len(got) != 4 {
		t.Errorf("packets %v after MUTE", got)
	}
}

func TestResumeGivesTheDelaysWorth(t *testing.T) {
	b := newBed(t, nil)
	s := b.speaker("s", "31/1")
	x := onAir(b, s, 90)
	s.send(wire.Resume, wire.ResumeBody{SSRC: x.Cert.SSRC, From: 0}.Append(nil))
	for i := seq.Index(80); i < 90; i++ { // 400 ms are 10 packets
		s.hears(x, x.packet(t, i))
	}
	s.settle(true)
	if got := s.indices(x); len(got) != 10 || got[0] != 80 {
		t.Errorf("packets %v, want 80 to 89", got)
	}
	s.send(wire.Resume, wire.ResumeBody{SSRC: x.Cert.SSRC, From: 1 << 40}.Append(nil))
	s.send(wire.Resume, wire.ResumeBody{SSRC: 7, From: 0}.Append(nil))
	s.send(wire.Nack, wire.NackBody{SSRC: 7, Bitmap: 1}.Append(nil))
	s.settle(true)
	if got := s.indices(x); len(got) != 10 {
		t.Errorf("packets %v after nonsense", got)
	}
}

func TestMuteOfOneTransmission(t *testing.T) {
	b := newBed(t, nil)
	s := b.speaker("s", "31/1")
	x, y := b.transmit("31"), b.transmit("31")
	b.Open(x.Transmission)
	b.Open(y.Transmission)
	b.fed(x, 1, 1)
	b.fed(y, 1, 1)
	s.send(wire.Mute, wire.MuteBody{SSRC: x.Cert.SSRC, On: true}.Append(nil))
	b.fed(x, 0, 1)
	b.Media(x.packet(t, 1))
	b.Media(y.packet(t, 1))
	s.hears(y, y.packet(t, 1))
	s.settle(true) // a ping that says active does not end it
	b.Media(x.packet(t, 2))
	s.settle(true)
	if got := s.indices(x); len(got) != 0 {
		t.Errorf("the muted transmission came: %v", got)
	}
	s.send(wire.Resume, wire.ResumeBody{SSRC: x.Cert.SSRC, From: 1}.Append(nil))
	s.hears(x, x.packet(t, 1))
	s.hears(x, x.packet(t, 2))
}
