package playout

import (
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// loop makes a transmission of n packets out of one of two seconds: chord repeats every second, and so does the state
// of the codec.
func loop(tb testing.TB, n int, at time.Duration) *programme {
	g := encode(tb, 1, chord, 50, at)
	for k := 50; k < n; k++ {
		g.packets = append(g.packets, g.packets[25+k%25])
	}
	return g
}

// TestUnison plays one programme for five minutes on loudspeakers whose crystals and network clocks differ, and compares
// what sounded with where it belongs in time.
func TestUnison(t *testing.T) {
	length := 5 * time.Minute
	if raceOn {
		length = 30 * time.Second // the detector makes the interpolator ten times slower
	}
	g := loop(t, int(length/(40*ms)), 700*ms)
	var lags [2][]float64
	for i, tc := range []struct {
		skew  float64
		clock func() func(time.Duration) float64
	}{
		// One starts with network time 4 ms off, as a new node's filter may be, which is slewed away within 20 s.
		{100e-6, func() func(time.Duration) float64 {
			return func(at time.Duration) float64 { return float64(at) + 4e6*math.Exp(-at.Seconds()/4) }
		}},
		// The other's filter moves its mind by some tens of microseconds each second, slewed over 4 s.
		{-100e-6, func() func(time.Duration) float64 {
			random, offset, goal := rand.New(rand.NewPCG(1, 2)), 0.0, 0.0
			n := 0
			return func(at time.Duration) float64 {
				if n++; n%100 == 0 {
					goal = random.NormFloat64() * 50e3
				}
				offset += (goal - offset) / 400
				return float64(at) + offset
			}
		}},
	} {
		r := newRig(t)
		r.skew, r.clock = tc.skew, tc.clock()
		s := r.open(g, 0)
		r.feed(s, g, 0, len(g.packets))
		worst := 0.0
		for at := time.Second; at < length; at += 10 * ms {
			r.run(at)
			worst = max(worst, math.Abs(r.p.Summary().Stretch))
		}
		r.run(length + 2*time.Second)
		for at := 21 * time.Second; at < length; at += 5 * time.Second {
			lag, match := r.lag(g, r.sample(at), 4800)
			if match < 0.97 {
				t.Errorf("loudspeaker %d at %v: match %.3f with the programme", i, at, match)
			}
			lags[i] = append(lags[i], lag/48)
		}
		if worst > maxStretch+1e-9 {
			t.Errorf("loudspeaker %d was stretched by %.0f ppm, want at most 500", i, worst*1e6)
		}
		if st := r.p.Status(s); st.Counts != (Counts{Played: uint64(len(g.packets) * 2)}) {
			t.Errorf("loudspeaker %d: %+v, want all of %d frames played", i, st.Counts, len(g.packets)*2)
		}
		bend := 0.0
		for _, hz := range []float64{311, 587, 1013, 1741, 2903} {
			bend += 3000 * math.Pow(2*math.Pi*hz/48000, 2)
		}
		if got := r.roughest(2*time.Second, length); got > 1.3*bend {
			t.Errorf("loudspeaker %d: roughest bend %.0f, want at most %.0f: no jump while sound is on", i, got, 1.3*bend)
		}
	}
	worst := 0.0
	for k := range lags[0] {
		worst = max(worst, math.Abs(lags[0][k]-lags[1][k]))
	}
	t.Logf("from 21 s on the two are at most %.3f ms apart", worst)
	if worst > 0.25 {
		t.Errorf("two loudspeakers of ±100 ppm are %.3f ms apart, want at most 0.25", worst)
	}
}

// TestFarOff starts with network time badly wrong: one cross-fade, and no second one.
func TestFarOff(t *testing.T) {
	g := encode(t, 1, chord, 250, 700*ms)
	r := newRig(t)
	r.clock = func(at time.Duration) float64 {
		if at < 3*time.Second {
			at += 12 * ms
		}
		return float64(at)
	}
	s := r.open(g, 0)
	r.feed(s, g, 0, 250)
	jumps := 0
	for at := time.Second; at < 10*time.Second; at += 10 * ms {
		r.run(at)
		if math.Abs(float64(r.p.Summary().Fault)) > 5e6 {
			jumps++
		}
	}
	if jumps > 1 {
		t.Errorf("the fault exceeded 5 ms in %d blocks, want one cross-fade", jumps)
	}
	for at := 3100 * ms; at < 9*time.Second; at += 500 * ms {
		if lag, match := r.lag(g, r.sample(at), 4800); math.Abs(lag) > 1 || match < 0.97 {
			t.Errorf("lag at %v = %.2f samples (match %.3f), want 0", at, lag, match)
		}
	}
}

// TestHoldover loses network time in the middle of the sound, which goes on.
func TestHoldover(t *testing.T) {
	g := encode(t, 1, chord, 150, 700*ms)
	r := newRig(t)
	r.skew = 60e-6
	s := r.open(g, 0)
	r.feed(s, g, 0, 150)
	r.run(3 * time.Second)
	r.unsync = true
	r.run(8 * time.Second)
	if lag, match := r.lag(g, r.sample(6500*ms), 4800); math.Abs(lag) > 2 || match < 0.97 {
		t.Errorf("3.5 s after time was lost: lag %.2f samples (match %.3f), want below 2", lag, match)
	}
}

// TestLearnsBySamplesOnly: how fast the device runs may be known from its samples only, never from its settings.
func TestLearnsBySamplesOnly(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil || len(files) < 5 {
		t.Fatalf("list sources: %v (%d files)", err, len(files))
	}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, word := range []string{"skew_" + "ppm", "Skew" + "PPM", "client/internal/" + "device"} {
			if strings.Contains(string(text), word) {
				t.Errorf("%s names %q: playout learns the device's rate from the samples it takes, and nothing else", name, word)
			}
		}
	}
}
