package loudspeaker

import (
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"dongthanh/internal/identity"
	"dongthanh/internal/packet"
	"dongthanh/internal/seq"
	"dongthanh/internal/signed"
	"dongthanh/internal/wire"
)

// chord has no period below a second.
func chord(t float64) float64 {
	s := 0.0
	for i, hz := range []float64{311, 587, 1013, 1741, 2903} {
		s += math.Sin(2*math.Pi*hz*t/48000 + float64(i))
	}
	return 3000 * s
}

// TestEndToEnd: a relay, and three loudspeakers of which two are meant: one behind a link that loses every seventh
// packet, one whose relay altered a tag. Control, TLS, datagrams, sound card pace: all real.
func TestEndToEnd(t *testing.T) {
	retried(t, endToEnd)
}

// retried runs a test in real time again if a virtual device ran dry, three times at most. That is a fault unless a
// canary, which does nothing but look at the clock, got no air either: then the machine is too busy for real time.
func retried(t *testing.T, test func(t *testing.T, b *bed) (dry bool)) {
	t.Parallel() // they wait most of the time
	for try := range 3 {
		dry, stop := false, canary()
		t.Run(fmt.Sprint("try ", try+1), func(t *testing.T) { dry = test(t, newBed(t)) })
		longest, share := stop()
		if !dry {
			return
		}
		if longest < 300*ms && share > 0.8 {
			t.Errorf("a device ran dry, though this process never stood still for more than %v and came to its turn %.0f %% of the time", longest, share*100)
			return
		}
	}
	t.Skip("the machine was too busy for real time, three times")
}

// canary looks at the clock every 5 ms until stop, which tells how long it had to wait at most, and for what share of the
// looks it came to its turn.
func canary() (stop func() (longest time.Duration, share float64)) {
	const every = 5 * ms
	end, ended := make(chan struct{}), make(chan struct{})
	looks, longest, began := 0, time.Duration(0), time.Now()
	go func() {
		defer close(ended)
		tick := time.NewTicker(every)
		defer tick.Stop()
		last := began
		for {
			select {
			case <-tick.C:
			case <-end:
				return
			}
			now := time.Now()
			looks, longest, last = looks+1, max(longest, now.Sub(last)), now
		}
	}()
	return func() (time.Duration, float64) {
		close(end)
		<-ended
		return longest, float64(looks) * float64(every) / float64(time.Since(began))
	}
}

// dry reports whether a device of the test ran dry.
func dry(t *testing.T, all ...*speaker) bool {
	for _, s := range all {
		if metric(t, s.reg, "dongthanh_client_device_underruns_total")[""] > 0 {
			t.Logf("%s ran dry", s.id)
			return true
		}
	}
	return false
}

func endToEnd(t *testing.T, b *bed) bool {
	var mu sync.Mutex
	seen := map[string]bool{}
	address := b.lossy(func(raw []byte) bool {
		p, err := packet.Parse(raw)
		if err != nil {
			return false
		}
		mu.Lock()
		defer mu.Unlock()
		first := !seen[string(raw[2:4])]
		seen[string(raw[2:4])] = true
		return first && (p.Index+3)%7 == 0 // lost the first time, answered when asked for
	})
	lossy := b.speaker("lossy", "31/11296", 100, address)
	clean := b.speaker("clean", "31/11296/02", -100, "")
	other := b.speaker("other", "31/11407", 0, "")

	x := b.transmit(chord, nil, "31/11296")
	b.mu.Lock()
	b.onNack = func(n wire.NackBody) { // as the streamer would: the same bytes again
		if raw, ok := x.packets.Load(n.Base); ok && n.SSRC == x.cert.SSRC {
			if p, err := packet.Parse(raw.([]byte)); err == nil {
				b.hub.Media(p)
			}
		}
	}
	b.mu.Unlock()
	const n = 75
	altered := seq.Index(x.cert.Index0) + 40
	x.speak(n, true, func(k int, raw []byte) []byte {
		if k == 40 {
			raw = append([]byte(nil), raw...)
			raw[len(raw)-packet.TrailerLen] ^= 1
		}
		return raw
	})
	for _, s := range []*speaker{lossy, clean} {
		b.eventually(s.id+" to have played all", func() bool {
			return s.total(t) >= 2*n
		})
	}
	if dry(t, lossy, clean) {
		return true
	}
	ended := time.Now()
	due := x.cert.PlayAt(x.cert.Index0).Time()
	for _, s := range []*speaker{lossy, clean} {
		c := s.counts(t)
		repaired := float64(2) // the altered one
		if s == lossy {
			repaired += 2 * 10 // about every seventh of 75
		}
		if c["concealed"]+c["late"] > 0 || c["repaired"] < repaired || c["repaired"] > repaired+20 || c["played"]+c["repaired"] != 2*n {
			t.Errorf("%s: frames %v, want %d in all, about %.0f repaired and none concealed or late", s.id, c, 2*n, repaired)
		}
		r := s.written(t, ended)
		for at := due.Add(200 * ms); at.Before(due.Add(2800 * ms)); at = at.Add(200 * ms) {
			lag, match := r.lag(x, at)
			if math.Abs(lag) > 5 || match < 0.97 { // a busy machine's pings of the first seconds; playout's own tests are exact
				t.Errorf("%s: %.2f ms late at %v (match %.3f), want 0 ± 5", s.id, lag, at.Sub(due), match)
			}
		}
		if got := metric(t, s.reg, "dongthanh_client_playout_delay_seconds")[""]; math.Abs(got-0.4) > 0.002 {
			t.Errorf("%s: delay of %.4f s, want 0.4", s.id, got)
		}
		if got := metric(t, s.reg, "dongthanh_client_packets_rejected_total")["tag"]; got != 1 {
			t.Errorf("%s: %g packets with a bad tag, want 1", s.id, got)
		}
	}
	if other.total(t) > 0 {
		t.Errorf("a loudspeaker of another zone counts %v", other.counts(t))
	}
	if got := loudness(other.recording(t).pcm); got != 0 {
		t.Errorf("a loudspeaker of another zone sounds: loudness %.1f", got)
	}

	b.eventually("the last reports", func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		last := map[string]signed.Report{}
		for _, r := range b.reports {
			last[r.Node] = r
		}
		return !last["lossy"].Hearing && !last["clean"].Hearing && last["lossy"].Number > 0 && last["clean"].Number > 0
	})
	b.mu.Lock()
	defer b.mu.Unlock()
	bad := false
	for _, k := range b.nacks {
		bad = bad || k.Reason == wire.BadTag && k.Base == altered
	}
	if !bad {
		t.Errorf("nobody asked for the altered packet %d with reason BADTAG: %+v", altered, b.nacks)
	}
	heard := map[string]int{}
	numbers := map[string]uint64{}
	for _, r := range b.reports {
		if r.Hearing {
			heard[r.Node]++
		}
		if r.Number <= numbers[r.Node] || r.Number>>40 != 1 || r.Transmission != x.cert.Transmission {
			t.Errorf("report %+v after number %d", r, numbers[r.Node])
		}
		numbers[r.Node] = r.Number
		if r.Node == "clean" && !r.Hearing && (r.Played+r.Repaired != 2*n || r.Highest != x.cert.Index0+n-1) {
			t.Errorf("last report: %+v, want %d frames up to %d", r, 2*n, x.cert.Index0+n-1)
		}
	}
	if heard["lossy"] < 2 || heard["clean"] < 2 || heard["other"] > 0 {
		t.Errorf("reports of hearing: %v, want one at the first sound and one every 2 s, none of the other zone", heard)
	}
	return false
}

// TestStop: an order silences all within two seconds, and what it ended never sounds again.
func TestStop(t *testing.T) {
	retried(t, stopped)
}

func stopped(t *testing.T, b *bed) bool {
	s := b.speaker("one", "31/11296", 0, "")
	x := b.transmit(chord, nil, "31/11296")
	x.speak(25, false, nil)
	x.stop()
	ordered := time.Now()
	x.speak(50, false, nil) // a hostile streamer speaks on
	r := s.written(t, ordered.Add(time.Second))
	if dry(t, s) {
		return true
	}
	if got := loudness(r.between(ordered.Add(-300*ms), ordered)); got < 1000 {
		t.Errorf("loudness before the order %.0f, want sound", got)
	}
	if got := loudness(r.between(ordered.Add(200*ms), ordered.Add(10*time.Second))); got != 0 {
		t.Errorf("loudness from 200 ms after the order on %.1f, want silence", got)
	}
	b.eventually("the loudspeaker to say so", func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		return len(b.reports) > 1 && !b.reports[len(b.reports)-1].Hearing
	})
	return false
}

// TestStandby: the active relay's datagrams vanish, or the relay itself does, in the middle of a word, and no frame is
// missed: the standby sends what its ring holds.
func TestStandby(t *testing.T) {
	for _, tc := range []struct {
		name string
		fail func(vanish *atomic.Bool, end func())
	}{
		{"datagrams vanish", func(vanish *atomic.Bool, _ func()) { vanish.Store(true) }},
		{"the relay ends", func(_ *atomic.Bool, end func()) { end() }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			retried(t, func(t *testing.T, b *bed) bool {
				relay, end := b.newHub(identity.Node{ID: "relay", Kind: identity.Relay, Zone: "31", Name: "xã"})
				b.hubs[0], b.hubs[1], b.hub = relay, b.hubs[0], relay // the relay is preferred
				var vanish atomic.Bool
				s := b.speaker("one", "31/11296", 0, b.lossy(func([]byte) bool { return vanish.Load() }))
				b.eventually("both to be joined", func() bool {
					u := s.links.State().Upstreams
					return u[0].Active && u[0].Alive && u[1].Alive
				})
				x := b.transmit(chord, func(c *signed.SessionCert) { c.DelayMS = 1000 }, "31/11296")
				x.speak(30, false, nil)
				tc.fail(&vanish, end)
				x.speak(75, true, nil)
				b.eventually("all to have played", func() bool { return s.total(t) >= 150 })
				if dry(t, s) {
					return true
				}
				if c := s.counts(t); c["concealed"]+c["late"] > 0 || s.total(t) != 150 {
					t.Errorf("frames %v, want 150 and none concealed or late", c)
				}
				return false
			})
		})
	}
}
