package playout

import (
	"math"
	"testing"
	"time"

	"dongthanh/internal/mediaclock"
	"dongthanh/internal/seq"
)

const ms = time.Millisecond

func TestInstant(t *testing.T) {
	for _, tc := range []struct {
		name string
		skew float64
		t0   time.Duration
	}{
		{"true crystal", 0, 300 * ms},
		{"start between samples", 0, 300*ms + 7*time.Microsecond},
		{"fast crystal", 100e-6, 5300 * ms},
		{"slow crystal", -100e-6, 5300 * ms},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newRig(t)
			r.skew = tc.skew
			g := encode(t, 1, chord, 75, tc.t0)
			s := r.open(g, tc.t0)
			r.feed(s, g, 0, 75)
			due := tc.t0 + 400*ms
			r.run(due + 3300*ms)

			if got := r.loudness(due-300*ms, due-ms); got > 40 {
				t.Errorf("loudness before the first sample = %.0f, want silence", got)
			}
			for at := due; at < due+2900*ms; at += 290 * ms {
				lag, match := r.lag(g, r.sample(at), 4800)
				if math.Abs(lag) > 0.5 || match < 0.97 {
					t.Errorf("lag at %v = %.3f samples (match %.3f), want 0 ± 0.5", at-due, lag, match)
				}
			}
			if got := r.loudness(due+3001*ms, due+3300*ms); got > 1 {
				t.Errorf("loudness after the last sample = %.0f, want silence", got)
			}
			st := r.p.Status(s)
			if want := (Counts{Played: 150}); st.Counts != want || st.State != Ended {
				t.Errorf("after the end: %v, %+v, want ended, %+v", st.State, st.Counts, want)
			}
			if len(r.asked) > 0 {
				t.Errorf("asked %d times for what was not lost", len(r.asked))
			}
		})
	}
}

// TestCounts gives each frame exactly one result, whatever the network does.
func TestCounts(t *testing.T) {
	const n = 60 // packets, 120 frames
	g := encode(t, 1, chord, n, 300*ms)
	for _, tc := range []struct {
		name  string
		play  func(r *rig, s *Stream, g *programme)
		want  Counts
		quiet bool // no request may be sent
	}{
		{"all in order", func(r *rig, s *Stream, g *programme) { r.feed(s, g, 0, n) }, Counts{Played: 120}, true},
		{"every packet three times", func(r *rig, s *Stream, g *programme) {
			for range 3 {
				r.feed(s, g, 0, n)
			}
		}, Counts{Played: 120}, true},
		{"neighbours swapped", func(r *rig, s *Stream, g *programme) {
			for k := range n {
				r.packet(s, g, k, g.sent(k|1))
				if k%20 == 0 {
					r.beacon(s, g, k, g.sent(k))
				}
			}
		}, Counts{Played: 120}, true},
		{"three lost for good", func(r *rig, s *Stream, g *programme) {
			r.feed(s, g, 0, n, 10, 20, 21)
		}, Counts{Played: 114, Concealed: 6}, false},
		{"the first two and the last lost", func(r *rig, s *Stream, g *programme) {
			r.feed(s, g, 0, n, 0, 1, n-1)
			r.beacon(s, g, n-1, g.sent(n))
			r.at(g.sent(n)+900*ms, func(mediaclock.Local) { r.p.Stop(s) })
		}, Counts{Played: 114, Concealed: 6}, false},
		{"one comes 200 ms late, in time", func(r *rig, s *Stream, g *programme) {
			r.feed(s, g, 0, n, 30)
			r.packet(s, g, 30, g.sent(30)+200*ms)
		}, Counts{Played: 118, Repaired: 2}, false},
		{"one comes 600 ms late, too late", func(r *rig, s *Stream, g *programme) {
			r.feed(s, g, 0, n, 30)
			r.packet(s, g, 30, g.sent(30)+600*ms)
		}, Counts{Played: 118, Late: 2}, false},
		{"one comes between its two frames", func(r *rig, s *Stream, g *programme) {
			r.feed(s, g, 0, n, 30)
			r.packet(s, g, 30, g.cert.T0.Sub(epoch)+400*ms+30*40*ms-22*ms)
		}, Counts{Played: 118, Repaired: 1, Late: 1}, false},
		{"one lost and sent again when asked", func(r *rig, s *Stream, g *programme) {
			r.feed(s, g, 0, n, 30)
			r.onAsk = func(now time.Duration, q Request) {
				r.onAsk = nil
				r.packet(s, g, int(uint64(q.Base)-g.cert.Index0), now+20*ms)
			}
		}, Counts{Played: 118, Repaired: 2}, false},
		{"one comes late by itself, and the answer to the request too", func(r *rig, s *Stream, g *programme) {
			r.feed(s, g, 0, n, 30)
			r.packet(s, g, 30, g.sent(30)+70*ms)
			r.at(g.sent(30)+90*ms, func(mediaclock.Local) { r.p.Again(s, seq.Index(g.cert.Index0)+30) })
		}, Counts{Played: 120}, false},
		{"late joiner", func(r *rig, s *Stream, g *programme) {
			r.feed(s, g, 40, n)
		}, Counts{Played: 40}, true},
		{"muted for want of beacons, and back", func(r *rig, s *Stream, g *programme) {
			for k := range n {
				r.packet(s, g, k, g.sent(k))
			}
			r.at(0, func(now mediaclock.Local) { r.p.Beacon(s, epoch-mediaclock.Instant(3600*ms), 0, now) }) // 5 s old at 1400 ms
			r.beacon(s, g, 45, 2001*ms)
		}, Counts{Played: 38 + 54}, true},
		{"stopped", func(r *rig, s *Stream, g *programme) {
			r.feed(s, g, 0, n)
			r.at(1500*ms, func(mediaclock.Local) { r.p.Stop(s) })
		}, Counts{Played: 42}, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newRig(t)
			open := 0 * ms
			if tc.name == "late joiner" {
				open = g.sent(40) - ms
			}
			s := r.open(g, open)
			tc.play(r, s, g)
			r.run(4 * time.Second)
			st := r.p.Status(s)
			if st.Counts != tc.want || st.State != Ended {
				t.Errorf("counts = %+v (%v), want %+v (ended)", st.Counts, st.State, tc.want)
			}
			if got := r.p.Summary().Counts; got != st.Counts {
				t.Errorf("sum over all = %+v, want %+v", got, st.Counts)
			}
			if tc.quiet && len(r.asked) > 0 {
				t.Errorf("%d requests, want none: %+v", len(r.asked), r.asked[0])
			}
			if !tc.quiet && len(r.asked) == 0 {
				t.Error("no request, want some")
			}
		})
	}
}

// TestNoClicks listens for steps in a pure tone through everything that may cut it.
func TestNoClicks(t *testing.T) {
	const hz, level = 440, 12000
	g := encode(t, 1, swell(tone(hz, level), 60*1920), 60, 300*ms)
	bend := level * math.Pow(2*math.Pi*hz/mediaclock.Rate, 2) // of the tone itself: 40
	for _, tc := range []struct {
		name string
		play func(r *rig, s *Stream, g *programme)
		most float64 // times the tone's own bend
	}{
		{"start and end", func(r *rig, s *Stream, g *programme) { r.feed(s, g, 0, 60) }, 4},
		{"late joiner", func(r *rig, s *Stream, g *programme) { r.feed(s, g, 25, 60) }, 4},
		{"stop", func(r *rig, s *Stream, g *programme) {
			r.feed(s, g, 0, 60)
			r.at(1503*ms, func(mediaclock.Local) { r.p.Stop(s) })
		}, 4},
		{"device ran dry", func(r *rig, s *Stream, g *programme) {
			r.feed(s, g, 0, 60)
		}, 4},
		{"single packets lost", func(r *rig, s *Stream, g *programme) { r.feed(s, g, 0, 60, 20, 30, 40) }, 12},
		{"half a second lost", func(r *rig, s *Stream, g *programme) {
			r.feed(s, g, 0, 60, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31)
		}, 12},
		{"packet between its frames", func(r *rig, s *Stream, g *programme) {
			r.feed(s, g, 0, 60, 30)
			r.packet(s, g, 30, g.cert.T0.Sub(epoch)+400*ms+30*40*ms-22*ms)
		}, 12},
		{"network time jumps 80 ms", func(r *rig, s *Stream, g *programme) {
			r.feed(s, g, 0, 60)
			r.clock = func(at time.Duration) float64 {
				if at > 1500*ms {
					at += 80 * ms
				}
				return float64(at)
			}
		}, 12},
		{"network time jumps back 80 ms", func(r *rig, s *Stream, g *programme) {
			r.feed(s, g, 0, 60)
			r.clock = func(at time.Duration) float64 {
				if at > 1500*ms {
					at -= 80 * ms
				}
				return float64(at)
			}
		}, 12},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newRig(t)
			s := r.open(g, 0)
			tc.play(r, s, g)
			if tc.name == "device ran dry" {
				r.run(1500 * ms)
				r.first += 10 * blockLen
				r.out = append(r.out, make([]int16, 10*blockLen)...)
				r.run(3300 * ms)
				if got := r.roughest(1700*ms, 3300*ms); got > tc.most*bend {
					t.Errorf("roughest bend = %.0f, want at most %.0f", got, tc.most*bend)
				}
				return
			}
			r.run(3300 * ms)
			if got := r.roughest(0, 3300*ms); got > tc.most*bend {
				t.Errorf("roughest bend = %.0f, want at most %.0f", got, tc.most*bend)
			}
		})
	}
}

// TestNothingCanSound: while the device cannot play, time passes: what is due counts as unheard, nobody calls it
// hearing, and the sound goes on in its place when the device is back, or has ended if it is over.
func TestNothingCanSound(t *testing.T) {
	for _, tc := range []struct {
		name    string
		away    time.Duration
		packets int
	}{{"comes back", 2 * time.Second, 200}, {"comes back when all is over", 10 * time.Second, 100}} {
		t.Run(tc.name, func(t *testing.T) {
			g := encode(t, 1, chord, tc.packets, 700*ms)
			r := newRig(t)
			s := r.open(g, 0)
			r.feed(s, g, 0, tc.packets)
			const lost = 3 * time.Second
			r.run(lost)
			if !r.p.Status(s).Hearing {
				t.Fatal("not heard to begin with")
			}
			r.empty = true
			r.run(lost + 800*ms)
			if st := r.p.Status(s); st.Hearing || r.p.Summary().Counts != st.Counts {
				t.Errorf("0.8 s after the device was lost: %+v, of all %+v, want not hearing", st, r.p.Summary().Counts)
			}
			r.run(lost + tc.away)
			r.empty = false
			back := lost + tc.away
			r.run(time.Duration(tc.packets)*40*ms + 4*time.Second)
			r.run(back + 500*ms)
			st := r.p.Status(s)
			if st.State != Ended || st.Counts.Total() != uint64(2*tc.packets) || st.Counts.Concealed > 0 {
				t.Errorf("in the end: %+v, want each of %d frames counted once", st, 2*tc.packets)
			}
			due := min(back, time.Duration(float64(g.playAt()))+time.Duration(tc.packets)*40*ms)
			if late := float64(st.Counts.Late) * 0.02; math.Abs(late-(due-lost).Seconds()) > 0.1 {
				t.Errorf("%.2f s counted as late, want the %.2f s that could not sound", late, (due - lost).Seconds())
			}
			if tc.packets < 200 {
				return
			}
			for at := back + 100*ms; at < back+2*time.Second; at += 300 * ms {
				if lag, match := r.lag(g, r.sample(at), 4800); math.Abs(lag) > 1 || match < 0.97 {
					t.Errorf("lag at %v = %.2f samples (match %.3f), want 0", at, lag, match)
				}
			}
		})
	}
}
