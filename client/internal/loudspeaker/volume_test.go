package loudspeaker

import (
	"math"
	"testing"
	"time"

	"dongthanh/internal/control"
	"dongthanh/internal/signed"
)

// sine is a tone of 1 kHz.
func sine(t float64) float64 { return 10_000 * math.Sin(2*math.Pi*1000*t/48000) }

// instruct has every hub send an order to a loudspeaker, and waits until that has told of it.
func (b *bed) instruct(s *speaker, o signed.Order) {
	b.Helper()
	for _, h := range b.hubs {
		if !h.Order(control.Order{Node: s.id, Order: b.sign(o), Issuer: b.issuer.Certificate.Raw}) {
			b.Fatalf("there is no way to %s", s.id)
		}
	}
	b.eventually(s.id+" to tell of the order", func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		for _, r := range b.settings {
			if r.Node == s.id && r.Order == o.Number {
				return true
			}
		}
		return false
	})
}

// power is what part of the energy of pcm lies at hz (Goertzel), over one of length n after another.
func power(pcm []int16, hz float64, n int) (share float64) {
	var energy, all float64
	c := 2 * math.Cos(2*math.Pi*hz/48000)
	for ; len(pcm) >= n; pcm = pcm[n:] {
		var s1, s2 float64
		for _, x := range pcm[:n] {
			v := float64(x)
			all += v * v
			s1, s2 = v+c*s1-s2, s1
		}
		energy += (s1*s1 + s2*s2 - c*s1*s2) * 2 / float64(n)
	}
	return energy / max(all, 1)
}

func steepest(pcm []int16) (most float64) {
	for i := 1; i < len(pcm); i++ {
		most = max(most, math.Abs(float64(pcm[i])-float64(pcm[i-1])))
	}
	return most
}

// TestVolumeByOrder turns one of two loudspeakers down amid a broadcast.
func TestVolumeByOrder(t *testing.T) {
	retried(t, func(t *testing.T, b *bed) bool {
		a, other := b.speaker("a", "31/11296", 50, ""), b.speaker("other", "31/11296", -50, "")
		x := b.transmit(sine, nil, "31/11296")
		x.speak(50, false, nil)
		began := time.Now()
		b.instruct(a, setTo("a", 1, -600))
		done := time.Now()
		x.speak(100, true, nil)
		end := x.cert.PlayAt(x.cert.Index0 + 100).Time()
		for _, s := range []*speaker{a, other} {
			r := s.written(t, end)
			before, after := r.between(began.Add(-800*ms), began.Add(-50*ms)), r.between(done.Add(100*ms), end.Add(-100*ms))
			want := 0.0
			if s == a {
				want = -6
			}
			if got := 20 * math.Log10(loudness(after)/loudness(before)); math.Abs(got-want) > 0.2 {
				t.Errorf("%s: %.2f dB, want %.0f", s.id, got, want)
			}
			if own, step := steepest(before), steepest(r.between(began.Add(-50*ms), done.Add(200*ms))); step > 1.05*own {
				t.Errorf("%s: a step of %.0f where the tone has %.0f: it clicks", s.id, step, own)
			}
		}
		if v := metric(t, a.reg, "dongthanh_client_volume_decibels")[""]; v != -6 {
			t.Errorf("the metric says %g dB", v)
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		last := b.reports[len(b.reports)-1]
		for _, r := range b.reports {
			if r.Node == "a" {
				last = r
			}
		}
		if last.Volume == nil || *last.Volume != -600 || last.Order != 1 {
			t.Errorf("the last report of what is heard tells %v after order %d", last.Volume, last.Order)
		}
		return dry(t, a, other)
	})
}

// TestToneByOrder: the tone sounds in silence; a broadcast that begins ends it before it sounds itself; while that is on
// air none begins, nor comes later; and no frame of it is counted.
func TestToneByOrder(t *testing.T) {
	retried(t, func(t *testing.T, b *bed) bool {
		a, other := b.speaker("a", "31/11296", 0, ""), b.speaker("other", "31/11296", 0, "")
		b.instruct(a, soundFor("a", 1, 10*time.Second))
		began := time.Now()
		time.Sleep(1200 * ms) // nothing tells what sounds; it is looked at afterwards
		opened := time.Now()
		x := b.transmit(sine, nil, "31/11296")
		x.speak(30, false, nil)
		b.instruct(a, soundFor("a", 2, 10*time.Second))
		const n = 60
		x.speak(n, true, nil)
		b.eventually("all to have played", func() bool { return a.total(t) >= 2*n && other.total(t) >= 2*n })
		from, to := x.cert.PlayAt(x.cert.Index0).Time(), x.cert.PlayAt(x.cert.Index0+n).Time()
		over := to.Add(700 * ms)
		r := a.written(t, over)
		test := r.between(began.Add(100*ms), opened)
		if share := power(test, 440, 960) + power(test, 880, 960); share < 0.95 {
			t.Errorf("%.0f %% of the energy before the broadcast is the test tone's", 100*share)
		}
		if l := 20 * math.Log10(loudness(test)*math.Sqrt2/32768); math.Abs(l+20) > 0.5 {
			t.Errorf("the test tone sounds at %.1f dBFS, want -20", l)
		}
		if l := loudness(r.between(opened.Add(150*ms), from.Add(-15*ms))); l > 1 {
			t.Errorf("the test tone goes on into the broadcast's delay: %.0f", l)
		}
		if step := steepest(r.between(began, from.Add(-15*ms))); step > 450 {
			t.Errorf("a step of %.0f in the test tone, which has none above 400: it clicks", step)
		}
		sound := r.between(from.Add(100*ms), to.Add(-100*ms))
		if share := power(sound, 1000, 960); share < 0.99 {
			t.Errorf("%.1f %% of the broadcast's energy is its own", 100*share)
		}
		if l := loudness(r.between(to.Add(100*ms), over)); l > 1 {
			t.Errorf("after the broadcast something sounds: %.0f", l)
		}
		if l := loudness(other.written(t, over).between(began, from.Add(-15*ms))); l > 1 {
			t.Errorf("the test tone sounds at another loudspeaker: %.0f", l)
		}
		if total := a.total(t); total != 2*n {
			t.Errorf("%.0f frames are counted, want the broadcast's %d", total, 2*n)
		}
		return dry(t, a, other)
	})
}

// TestReplayOnTheWire: a relay that sends an order to another loudspeaker, or once more, changes nothing there.
func TestReplayOnTheWire(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	a, other := b.speaker("a", "31/11296", 0, ""), b.speaker("other", "31/11296", 0, "")
	first := setTo("a", 1, -600)
	b.instruct(a, first)
	b.instruct(a, setTo("a", 2, -300))
	for _, m := range []control.Order{
		{Node: "a", Order: b.sign(first), Issuer: b.issuer.Certificate.Raw},
		{Node: "other", Order: b.sign(first), Issuer: b.issuer.Certificate.Raw},
	} {
		if !b.hub.Order(m) {
			t.Fatal("there is no way")
		}
	}
	b.eventually("both to refuse", func() bool {
		return metric(t, a.reg, "dongthanh_client_orders_total")["replayed"] == 1 &&
			metric(t, other.reg, "dongthanh_client_orders_total")["other_node"] == 1
	})
	if v, w := a.volume.Load(), other.volume.Load(); v != -300 || w != 0 {
		t.Errorf("they play at %d and %d, want -300 and 0", v, w)
	}
}

// TestOrdersAfterAMove: the issuer of a commune orders the loudspeakers that are in it now.
func TestOrdersAfterAMove(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	s := b.speaker("moved", "31/11296", 0, "")
	commune, err := b.root.NewIssuer("31/11296", signed.ClassNormal, time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	id := commune.ID()
	results := func() map[string]float64 { return metric(t, s.reg, "dongthanh_client_orders_total") }
	order := func(number uint64, volume int32) {
		raw := sign(t, setTo("moved", number, volume), id[:], commune)
		b.eventually("a way to it", func() bool {
			return b.hub.Order(control.Order{Node: "moved", Order: raw, Issuer: commune.Certificate.Raw})
		})
	}
	order(1, -100)
	b.eventually("the first to be obeyed", func() bool { return results()["obeyed"] == 1 && s.volume.Load() == -100 })
	b.certify(s, "31/11407")
	b.eventually("it to be in the other commune", func() bool { return s.node().Zone == "31/11407" })
	order(2, -200)
	b.eventually("the second to be refused", func() bool {
		if results()["scope"] == 0 { // it may have gone with the connection that was left
			order(2, -200)
		}
		return results()["scope"] > 0
	})
	if v := s.volume.Load(); v != -100 {
		t.Errorf("it plays at %d", v)
	}
}
