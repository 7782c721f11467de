package playout

import (
	"math"
	"testing"
	"time"

	"dongthanh/internal/mediaclock"
	"dongthanh/internal/signed"
)

// TestPreemption: an emergency silences a normal bulletin at its first sample, and the bulletin resumes in its place.
func TestPreemption(t *testing.T) {
	r := newRig(t)
	low := encode(t, 1, tone(440, 8000), 150, 300*ms)
	high := encode(t, 2, swell(tone(1000, 8000), 50*1920), 50, 2300*ms)
	high.cert.Class = signed.ClassEmergency
	a, b := r.open(low, 0), r.open(high, 2200*ms)
	r.feed(a, low, 0, 150)
	r.feed(b, high, 0, 50)
	r.at(3*time.Second, func(mediaclock.Local) {
		if got := r.p.Status(a).State; got != Outranked {
			t.Errorf("the bulletin is %v during the emergency, want outranked", got)
		}
	})
	r.run(7500 * ms)

	// The bulletin is due from 0.7 to 6.7 s, the emergency from 2.7 to 4.7 s.
	for _, tc := range []struct {
		from, to  time.Duration
		low, high float64
	}{
		{1000 * ms, 2690 * ms, 8000, 0},
		{2720 * ms, 4680 * ms, 0, 8000},
		{4730 * ms, 6600 * ms, 8000, 0},
		{6710 * ms, 7400 * ms, 0, 0},
	} {
		gotLow, gotHigh := r.level(440, tc.from, tc.to), r.level(1000, tc.from, tc.to)
		if math.Abs(gotLow-tc.low) > 400 || math.Abs(gotHigh-tc.high) > 400 {
			t.Errorf("from %v to %v: 440 Hz at %.0f, 1000 Hz at %.0f, want %.0f and %.0f", tc.from, tc.to, gotLow, gotHigh, tc.low, tc.high)
		}
	}
	if lag, match := r.lag(low, r.sample(5*time.Second), 48); math.Abs(lag) > 1 || match < 0.97 {
		t.Errorf("the bulletin resumes %.2f samples off (match %.3f), want in its place", lag, match)
	}
	if got := r.p.Status(b).Counts; got != (Counts{Played: 100}) {
		t.Errorf("the emergency: %+v, want all of 100 frames played", got)
	}
	got := r.p.Status(a).Counts
	if got.Total() != got.Played || got.Played < 198 || got.Played > 204 {
		t.Errorf("the bulletin: %+v, want about 200 of 300 frames played and the muted ones not counted", got)
	}
	if rough := r.roughest(1000*ms, 6600*ms); rough > 8000*math.Pow(2*math.Pi*1000/48000, 2)*2 {
		t.Errorf("roughest bend = %.0f: a click", rough)
	}
}

// TestWinner: which transmission wins does not depend on the order they came in.
func TestWinner(t *testing.T) {
	kinds := []func(c *signed.SessionCert){
		func(c *signed.SessionCert) {},
		func(c *signed.SessionCert) { c.Class = signed.ClassPriority },
		func(c *signed.SessionCert) { c.Class, c.Level = signed.ClassPriority, 2 },
		func(c *signed.SessionCert) { c.Fence = 7 },
	}
	base := encode(t, 1, tone(500, 8000), 40, 300*ms)
	for turn := range kinds {
		r := newRig(t)
		streams := make([]*Stream, len(kinds))
		for i := range kinds {
			k := (i + turn) % len(kinds)
			g := *base
			g.cert.Transmission[0], g.cert.Level = byte(k+1), 3
			kinds[k](&g.cert)
			streams[k] = r.open(&g, 0)
			r.feed(streams[k], &g, 0, 40)
		}
		r.run(1500 * ms)
		for k, s := range streams {
			want := Outranked
			if k == 2 {
				want = Sounding
			}
			if got := r.p.Status(s).State; got != want {
				t.Errorf("turn %d: transmission %d is %v, want %v", turn, k, got, want)
			}
		}
	}
}

// TestStopWithinABlock: from the block after the order on there is a fade of 10 ms, then silence.
func TestStopWithinABlock(t *testing.T) {
	r := newRig(t)
	g := encode(t, 1, tone(440, 12000), 60, 300*ms)
	s := r.open(g, 0)
	r.feed(s, g, 0, 60)
	r.at(1500*ms, func(mediaclock.Local) { r.p.Stop(s) })
	r.run(2500 * ms)
	if got := r.loudness(1500*ms+ahead+20*ms+ms, 2500*ms); got != 0 {
		t.Errorf("loudness = %.0f a block and a fade after the stop, want 0", got)
	}
	if got := r.loudness(1400*ms, 1500*ms); got < 8000 {
		t.Errorf("loudness before the stop = %.0f, want sound", got)
	}
}

// TestCrowd: the lowest in rank makes room, and nobody else.
func TestCrowd(t *testing.T) {
	p := New()
	base := encode(t, 1, tone(500, 8000), 1, 0)
	var all []*Stream
	for i := range MaxStreams {
		c := base.cert
		c.Transmission[1], c.Fence = byte(i), uint64(100+i)
		s, err := NewStream(c, nil)
		if err != nil {
			t.Fatal(err)
		}
		if p.Open(s) != nil {
			t.Fatalf("stream %d refused", i)
		}
		all = append(all, s)
	}
	c := base.cert
	c.Fence = 1
	low, _ := NewStream(c, nil)
	if got := p.Open(low); got != low {
		t.Error("the lowest in rank was taken into a full house")
	}
	c.Fence = 1000
	high, _ := NewStream(c, nil)
	if got := p.Open(high); got != all[0] {
		t.Errorf("made room: %v, want the lowest in rank", got)
	}
	p.Close(high)
	if len(p.streams) != MaxStreams-1 {
		t.Errorf("%d streams after one was closed, want %d", len(p.streams), MaxStreams-1)
	}
}
