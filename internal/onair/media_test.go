package onair

import (
	"slices"
	"sync"
	"testing"
	"time"

	"dongthanh/internal/packet"
	"dongthanh/internal/seq"
	"dongthanh/internal/signed"
)

// TestMedia judges one packet after another; later steps depend on earlier ones.
func TestMedia(t *testing.T) {
	a := newAuthority(t)
	s, stranger := newStation(t, a.issuer, 1), newStation(t, a.issuer, 2)
	flip := func(raw []byte, i int) []byte {
		raw = slices.Clone(raw)
		raw[(i+len(raw))%len(raw)] ^= 1
		return raw
	}
	forged := *s
	forged.key = stranger.key
	tag := packet.MKILen + 1 // from the end: last byte of the tag
	steps := []struct {
		name string
		raw  []byte
		now  Now
		want Verdict
	}{
		{"the first", s.packet(0), s.when(0), Accepted},
		{"again", s.packet(0), s.when(0), Duplicate},
		{"again, its tag altered", flip(s.packet(0), -tag), s.when(0), Variant},
		{"again, its ciphertext altered", flip(s.packet(0), packet.HeaderLen), s.when(0), BadSignature},
		{"again, whole", s.packet(0), s.when(0), Duplicate},
		{"forged by another key", forged.packet(1), s.when(1), BadSignature},
		{"a flag altered", flip(s.packet(1), 18), s.when(1), BadSignature},
		{"the second, after its forgery", s.packet(1), s.when(1), Accepted},
		{"out of order", s.packet(3), s.when(3), Accepted},
		{"late", s.packet(2), s.when(3), Accepted},
		{"below the first index", s.packet(-1), s.when(0), WrongTime},
		{"wrong timestamp", s.packet(4, func(h *packet.Header) { h.Timestamp++ }), s.when(4), WrongTime},
		{"signed with another signing key", s.packet(4, func(h *packet.Header) { h.KeyID = 1 }), s.when(4), WrongKey},
		{"key of another level", s.seal(packet.Header{Index: 70004, Timestamp: s.cert.Timestamp(70004), SSRC: s.cert.SSRC}, packet.MakeMKI(1, 7)), s.when(4), WrongKey},
		{"clear profile", s.packet(4, func(h *packet.Header) { h.Clear = true }), s.when(4), WrongKey},
		{"replayed a minute later", s.packet(5), s.when(5 + 1500), WrongTime},
		{"from the future", s.packet(5 + 1500), s.when(5), WrongTime},
		{"a minute later without network time", s.packet(5), Now{Local: s.when(5 + 1500).Local}, Accepted},
		{"across the wrap of the sequence number", s.packet(65536 - 4464), s.when(65536 - 4464), Accepted},
		{"behind the window", s.packet(6), Now{Local: s.when(0).Local}, Old},
		{"not a packet", []byte("hello"), s.when(7), Malformed},
		{"empty", nil, s.when(7), Malformed},
		{"the last", s.packet(61100, func(h *packet.Header) { h.Last = true }), s.when(61100), Accepted},
		{"after the last", s.packet(61101), s.when(61101), Closed},
		{"before the last", s.packet(61099), s.when(61100), Accepted},
	}
	table := a.table(1)
	s.open(t, table, at(0))
	for _, st := range steps {
		p, x, got := table.Media(st.now, st.raw, 0)
		if got != st.want {
			t.Errorf("%s: %s, want %s", st.name, got, st.want)
		}
		if got == Accepted && (x == nil || x.Cert.SSRC != p.SSRC || len(p.Raw) != len(st.raw)) {
			t.Errorf("%s: accepted without its transmission or bytes", st.name)
		}
	}
	total := uint64(0)
	for _, v := range Verdicts() {
		total += table.Count(v)
	}
	if total != uint64(len(steps)) {
		t.Errorf("%d verdicts counted, want %d", total, len(steps))
	}
}

func TestClearProfileWhereAllowed(t *testing.T) {
	a := newAuthority(t)
	s := newStation(t, a.issuer, 1)
	table := a.table(1)
	table.clear = true
	s.open(t, table, at(0))
	if _, _, v := table.Media(at(0), s.packet(0, func(h *packet.Header) { h.Clear = true }), 0); v != Accepted {
		t.Errorf("clear packet: %s, want accepted", v)
	}
}

// TestMediaBeforeCertificate: packets wait for 200 ms, come back in order, and then are judged like any other.
func TestMediaBeforeCertificate(t *testing.T) {
	a := newAuthority(t)
	s, other := newStation(t, a.issuer, 1), newStation(t, a.issuer, 2)
	table := a.table(2)
	for i, n := range []int{2, 0, 1} {
		if _, _, v := table.Media(s.when(i), s.packet(n), i%2); v != Held {
			t.Fatalf("packet %d before its certificate: %s, want held", n, v)
		}
		table.Media(s.when(i), other.packet(n), 0)
	}
	events := s.open(t, table, s.when(3))
	if len(events) != 1 || events[0].Kind != Opened || len(events[0].Held) != 3 {
		t.Fatalf("opening gave %+v, want one event with three packets", events)
	}
	for i, h := range events[0].Held {
		if want := []int{2, 0, 1}[i]; string(h.Raw) != string(s.packet(want)) || h.From != i%2 {
			t.Errorf("held packet %d is not the one that came as number %d", i, i)
		}
		if _, _, v := table.Media(s.when(3), h.Raw, h.From); v != Accepted {
			t.Errorf("held packet %d: %s, want accepted", i, v)
		}
	}
	table.Tick(at(time.Second))
	if got := table.Count(NoCertificate); got != 3 {
		t.Errorf("%d packets waited in vain, want 3", got)
	}
	if events := other.open(t, table, at(time.Second)); len(events[0].Held) != 0 {
		t.Errorf("%d packets were held for longer than 200 ms", len(events[0].Held))
	}
}

func TestHoldIsBounded(t *testing.T) {
	a := newAuthority(t)
	s := newStation(t, a.issuer, 1)
	table := a.table(1)
	for n := range 10 * holdSlots {
		want := Held
		if n >= holdSlots {
			want = NoCertificate
		}
		if _, _, v := table.Media(at(0), s.packet(n), 0); v != want {
			t.Fatalf("packet %d: %s, want %s", n, v, want)
		}
	}
}

// TestForgeriesHaveABudget: garbage that passes all cheap checks has at most four times the stream's rate of signatures
// checked, and costs the other upstream nothing. Genuine packets never spend it.
func TestForgeriesHaveABudget(t *testing.T) {
	a := newAuthority(t)
	s := newStation(t, a.issuer, 1)
	forged := *s
	forged.key = newStation(t, a.issuer, 2).key
	table := a.table(2)
	s.open(t, table, at(0))
	for n := range 500 {
		if _, _, v := table.Media(at(0), s.packet(n), 0); v != Accepted && n < 375 {
			t.Fatalf("genuine packet %d of a burst: %s", n, v)
		}
	}
	base := table.Count(BadSignature)
	const seconds = 3
	for n := range 400 * seconds {
		table.Media(at(time.Duration(n)*time.Second/400), forged.packet(300+n/16), 0)
	}
	checked := table.Count(BadSignature) - base
	if limit := uint64(4 * 25 * (seconds + 1)); checked > limit || checked < limit/2 {
		t.Errorf("%d forgeries checked in %d s, want at most %d and not far fewer", checked, seconds, limit)
	}
	if _, _, v := table.Media(at(seconds*time.Second), s.packet(376), 1); v != Accepted {
		t.Errorf("genuine packet by the other upstream: %s, want accepted", v)
	}
}

// TestTwoUpstreamsAtOnce: each packet is accepted exactly once, whichever copy comes first.
func TestTwoUpstreamsAtOnce(t *testing.T) {
	a := newAuthority(t)
	s := newStation(t, a.issuer, 1)
	table := a.table(2)
	s.open(t, table, at(0))
	var packets [300][]byte
	for n := range packets {
		packets[n] = s.packet(n)
	}
	var wg sync.WaitGroup
	for from := range 2 {
		wg.Go(func() {
			for n, raw := range packets {
				table.Media(s.when(n), raw, from)
			}
		})
	}
	wg.Wait()
	if acc, dup := table.Count(Accepted), table.Count(Duplicate); acc != 300 || dup != 300 {
		t.Errorf("%d accepted and %d duplicates, want 300 each", acc, dup)
	}
	x := table.BySSRC(s.cert.SSRC)
	if i, ok := x.Highest(); !ok || i != seq.Index(s.cert.Index0)+299 {
		t.Errorf("Highest() = %d, %v; want %d", i, ok, s.cert.Index0+299)
	}
}

// TestMediaAllocatesNothing for packets that are accepted, held, forged or known.
func TestMediaAllocatesNothing(t *testing.T) {
	a := newAuthority(t)
	s, unknown := newStation(t, a.issuer, 1), newStation(t, a.issuer, 2)
	table := a.table(1)
	s.open(t, table, at(0))
	const runs = 200
	packets := make([][]byte, runs+2)
	for n := range packets {
		packets[n] = s.packet(n)
	}
	n := 0
	held := unknown.packet(0)
	forged := slices.Clone(packets[runs+1])
	forged[30] ^= 1
	for _, tc := range []struct {
		name string
		do   func()
	}{
		{"accepted", func() { table.Media(s.when(n), packets[n], 0); n++ }},
		{"duplicate", func() { table.Media(s.when(0), packets[0], 0) }},
		{"held", func() { table.Media(at(0), held, 0) }},
		{"forged", func() { table.Media(s.when(n), forged, 0) }},
	} {
		if got := testing.AllocsPerRun(runs, tc.do); got != 0 {
			t.Errorf("%s: %g allocations a packet, want 0", tc.name, got)
		}
	}
	if table.Count(Accepted) != runs+1 {
		t.Errorf("%d accepted, want %d", table.Count(Accepted), runs+1)
	}
}

func TestBest(t *testing.T) {
	a := newAuthority(t)
	table := a.table(1)
	low := newStation(t, a.issuer, 1)
	high := newStation(t, a.issuer, 2, func(c *signed.SessionCert) { c.Class = signed.ClassEmergency })
	newer := newStation(t, a.issuer, 3)
	for _, s := range []*station{low, high, newer} {
		s.open(t, table, at(0))
	}
	all := func(*Transmission) bool { return true }
	if got := Best(table.OnAir(), all); got.Cert.Fence != 2 {
		t.Errorf("the best is fence %d, want the emergency, 2", got.Cert.Fence)
	}
	if got := Best(table.OnAir(), func(x *Transmission) bool { return x.Cert.Fence != 2 }); got.Cert.Fence != 3 {
		t.Errorf("without it the best is fence %d, want 3", got.Cert.Fence)
	}
	if got := Best(table.OnAir(), func(*Transmission) bool { return false }); got != nil {
		t.Errorf("the best of none is %v", got)
	}
}

func BenchmarkMedia(b *testing.B) {
	a := newAuthority(b)
	s := newStation(b, a.issuer, 1)
	table := a.table(1)
	s.open(b, table, at(0))
	packets := make([][]byte, 900)
	for n := range packets {
		packets[n] = s.packet(n)
	}
	x := table.BySSRC(s.cert.SSRC)
	n := 0
	for b.Loop() {
		if n == len(packets) {
			n = 0
			x.window = seq.Window{}
		}
		table.Media(s.when(n), packets[n], 0)
		n++
	}
}
