package codec

import (
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"testing"
)

// sine returns n samples of a sine of frequency hz at the given rate.
func sine(n int, hz, rate, amplitude float64) []float32 {
	pcm := make([]float32, n)
	for i := range pcm {
		pcm[i] = float32(amplitude * math.Sin(2*math.Pi*hz*float64(i)/rate))
	}
	return pcm
}

// voice returns n samples at 48 kHz that change as speech does: a gliding pitch
// with harmonics, some breath, four syllables a second.
func voice(n int) []float32 {
	rng := rand.New(rand.NewPCG(1, 2))
	pcm := make([]float32, n)
	var phase, breath float64
	for i := range pcm {
		t := float64(i) / SampleRate
		phase += 2 * math.Pi * (150 + 50*math.Sin(2*math.Pi*3*t)) / SampleRate
		s := 0.0
		for h := 1.0; h <= 30; h++ {
			s += math.Sin(phase*h) / h
		}
		breath += 0.3 * (rng.NormFloat64() - breath)
		pcm[i] = float32((0.15*s + 0.03*breath) * (0.6 + 0.4*math.Sin(2*math.Pi*4*t)))
	}
	return pcm
}

// noise returns n samples of white noise within ±amplitude.
func noise(n int, amplitude float64) []float32 {
	rng := rand.New(rand.NewPCG(3, 4))
	pcm := make([]float32, n)
	for i := range pcm {
		pcm[i] = float32(amplitude * (2*rng.Float64() - 1))
	}
	return pcm
}

func energy(pcm []float32) float64 {
	sum := 0.0
	for _, s := range pcm {
		sum += float64(s) * float64(s)
	}
	return sum
}

// snr is the ratio in dB of want to its difference from got.
func snr(want, got []float32) float64 {
	diff := make([]float32, len(want))
	for i := range want {
		diff[i] = got[i] - want[i]
	}
	return 10 * math.Log10(energy(want)/(energy(diff)+1e-30))
}

// toneFit fits a sine of hz to pcm by least squares. It returns its amplitude, its
// phase at sample 0, and the ratio in dB of the sine to all else.
func toneFit(pcm []float32, hz, rate float64) (amplitude, phase, snr float64) {
	var ss, cc, sc, ys, yc, yy float64
	for i, v := range pcm {
		s, c := math.Sincos(2 * math.Pi * hz * float64(i) / rate)
		y := float64(v)
		ss, cc, sc = ss+s*s, cc+c*c, sc+s*c
		ys, yc, yy = ys+y*s, yc+y*c, yy+y*y
	}
	det := ss*cc - sc*sc
	a := (ys*cc - yc*sc) / det
	b := (yc*ss - ys*sc) / det
	tone := a*ys + b*yc
	return math.Hypot(a, b), math.Atan2(b, a), 10 * math.Log10(tone/max(yy-tone, 1e-30))
}

// delayOf returns the lag in 0..most at which got is most like want.
func delayOf(want, got []float32, most int) int {
	best, at := 0.0, 0
	for lag := range most + 1 {
		sum := 0.0
		for i := 0; i < len(want) && i+lag < len(got); i++ {
			sum += float64(want[i]) * float64(got[i+lag])
		}
		if sum > best {
			best, at = sum, lag
		}
	}
	return at
}

// program skips the test if a program is missing, except in CI.
func program(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("%s is needed in CI: %v", name, err)
		}
		t.Skipf("%s is not installed", name)
	}
	return path
}
