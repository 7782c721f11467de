package voice

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// No signal gets a true peak above the ceiling, by a finer measure than the
// limiter's own. Near 20 kHz four points a sample cannot see all (0.3 dB).
func TestTruePeak(t *testing.T) {
	impulses := make([]float32, second/4)
	for i := 1000; i < len(impulses); i += 1777 {
		impulses[i] = 3
	}
	square := tone(second/4, 310, 1, 0)
	for i, x := range square {
		square[i] = float32(math.Copysign(1.2, float64(x)))
	}
	bursts := tone(second/4, 1000, 1.5, 0)
	for i := range bursts {
		if i/1500%2 == 0 {
			bursts[i] *= 0.1
		}
	}
	var many []float32 // tones below 18 kHz, as dense as noise
	for i := range 150 {
		part := tone(second/4, 53+119.7*float64(i), 0.2, float64(i*i))
		if many == nil {
			many = make([]float32, len(part))
		}
		for j, x := range part {
			many[j] += x
		}
	}
	for _, tt := range []struct {
		name  string
		pcm   []float32
		gain  float64
		slack float64
	}{
		{"tone", tone(second/4, 1000, 1, 0), 0, 0.02},
		{"low tone", tone(second/4, 60, 3, 0), 20, 0.02},
		{"peaks between samples", tone(second/4, sampleRate/4, 1, math.Pi/4), 0, 0.05},
		{"peaks between samples, all samples below the ceiling", tone(second/4, sampleRate/4, 1.1, math.Pi/4), 0, 0.05},
		{"15 kHz, breaking off", tone(second/4, 15011, 1.5, 1), 0, 0.15},
		{"20 kHz", tone(second/4, 19997, 1.5, 1), 0, 0.35},
		{"impulses", impulses, 0, 0.05},
		{"square", square, 12, 0.1},
		{"bursts", bursts, 6, 0.05},
		{"150 tones below 18 kHz", many, 6, 0.1},
		{"white noise up to 24 kHz, which no microphone gives", noise(second/4, 2), 20, 1},
		{"speech, far too loud", speech(second)[second/4 : second/2], 20, 0.1},
	} {
		out := process(New(Options{GainDB: tt.gain}), tt.pcm)
		peak := decibels(truePeak(out))
		if peak > ceilingDB+tt.slack {
			t.Errorf("%s: true peak %.3f dB, want at most %.2f", tt.name, peak, ceilingDB+tt.slack)
		}
		if peak < ceilingDB-1 {
			t.Errorf("%s: true peak %.3f dB, limited more than needed", tt.name, peak)
		}
	}
}

// ffmpeg's own meter agrees; it prints tenths.
func TestTruePeakByFFmpeg(t *testing.T) {
	swell := tone(second, sampleRate/4, 1.4, math.Pi/4)
	for i := range swell { // or ffmpeg's filter rings where the tone breaks off
		swell[i] *= float32(math.Sin(math.Pi * float64(i) / second))
	}
	for _, pcm := range [][]float32{speech(3 * second), noise(second, 2), swell} {
		out := process(New(Options{GainDB: 20}), pcm)
		said := ffmpegOn(t, out, "ebur128=peak=true")
		_, peak, found := strings.Cut(said, "True peak:\n    Peak:")
		peak, _, _ = strings.Cut(peak, "dBFS")
		got, err := strconv.ParseFloat(strings.TrimSpace(peak), 64)
		if !found || err != nil {
			t.Fatalf("no true peak in what ffmpeg says: %s", said)
		}
		if got > ceilingDB+0.1 || got < ceilingDB-0.5 {
			t.Errorf("ffmpeg measures a true peak of %.1f dB, want %.1f", got, ceilingDB)
		}
	}
}

// The gain never steps, and comes back: a shot does not mute what follows.
func TestLimiterCurve(t *testing.T) {
	in := slices.Repeat([]float32{0.01}, second) // shows the gain itself
	in[second/4] = 8
	out := process(New(Options{}), in)
	low := 1.0
	for i := 1; i < len(in); i++ {
		if i == second/4 || i == second/4+1 {
			continue
		}
		low = min(low, float64(out[i])/0.01)
		if step := math.Abs(float64(out[i]-out[i-1])) / 0.01; step > 1.5/attack && i != second/4+2 {
			t.Fatalf("gain steps by %.4f at sample %d", step, i)
		}
	}
	if low < 0.09 || low > 0.13 {
		t.Errorf("least gain %.3f, want about 0.84/8", low)
	}
	for _, tt := range []struct {
		at  int
		min float64
	}{{second/4 - lookahead - 5, 1}, {second/4 + second/5, 0.7}, {second/4 + second/2, 0.96}} {
		if got := float64(out[tt.at]) / 0.01; got < tt.min-1e-6 {
			t.Errorf("gain %.3f at sample %d, want %.2f", got, tt.at-second/4, tt.min)
		}
	}
}

// The queue agrees with looking at every value.
func TestSlidingMin(t *testing.T) {
	const window = attack + 1
	for _, kind := range []string{"noise", "falling", "rising", "equal"} {
		var s slidingMin
		values := make([]float64, 4*window)
		for i, x := range noise(len(values), 1) {
			values[i] = map[string]float64{"noise": float64(x), "falling": float64(-i), "rising": float64(i), "equal": 1}[kind]
			if got, want := s.push(values[i]), slices.Min(values[max(0, i-window+1):i+1]); got != want {
				t.Fatalf("%s: least of the window at %d = %v, want %v", kind, i, got, want)
			}
		}
	}
}

func TestDelay(t *testing.T) {
	for _, highPass := range []bool{false, true} {
		t.Run(fmt.Sprint(highPass), func(t *testing.T) {
			p := New(Options{HighPass: highPass})
			frame := make([]float32, frameSamples)
			frame[100] = 0.5
			p.Process(frame)
			if at := slices.Index(frame, slices.Max(frame)); at != 100+p.Delay() {
				t.Errorf("an impulse comes out %d samples later, want %d", at-100, p.Delay())
			}
		})
	}
}
