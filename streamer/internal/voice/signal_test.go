package voice

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"testing"

	"dongthanh/internal/testkit"
)

const second = sampleRate

// tone returns n samples of a sine that begins at the given phase.
func tone(n int, hz, amplitude, phase float64) []float32 {
	pcm := make([]float32, n)
	for i := range pcm {
		pcm[i] = float32(amplitude * math.Sin(2*math.Pi*hz*float64(i)/sampleRate+phase))
	}
	return pcm
}

func noise(n int, amplitude float64) []float32 {
	rng := rand.New(rand.NewPCG(1, 2))
	pcm := make([]float32, n)
	for i := range pcm {
		pcm[i] = float32(amplitude * (2*rng.Float64() - 1))
	}
	return pcm
}

// speech returns n samples whose level rises and falls as a speaker's does, with
// pauses: a gliding buzz under slow and fast envelopes, and some breath.
func speech(n int) []float32 {
	rng := rand.New(rand.NewPCG(3, 4))
	pcm := make([]float32, n)
	var phase, breath float64
	for i := range pcm {
		t := float64(i) / sampleRate
		phase += 2 * math.Pi * (150 + 50*math.Sin(2*math.Pi*3*t)) / sampleRate
		s := 0.0
		for h := 1.0; h <= 20; h++ {
			s += math.Sin(phase*h) / h
		}
		breath += 0.3 * (rng.NormFloat64() - breath)
		loud := max(0, math.Sin(2*math.Pi*0.3*t)) * (0.6 + 0.4*math.Sin(2*math.Pi*4*t))
		pcm[i] = float32(0.2*s*loud + 0.003*breath)
	}
	return pcm
}

// process passes pcm through p in frames, in a copy, and cuts the delay off.
func process(p *Processor, pcm []float32) []float32 {
	out := append(slices.Clone(pcm), make([]float32, p.Delay())...)
	for frame := range slices.Chunk(out, frameSamples) {
		p.Process(frame)
	}
	return out[p.Delay():]
}

func decibels(ratio float64) float64 { return 20 * math.Log10(ratio) }

func rms(pcm []float32) float64 {
	sum := 0.0
	for _, x := range pcm {
		sum += float64(x) * float64(x)
	}
	return math.Sqrt(sum / float64(len(pcm)))
}

// truePeak is the largest magnitude of the curve through pcm at 16 points a sample,
// by a sinc of 128 taps: an independent and finer measure than the limiter's.
func truePeak(pcm []float32) float64 {
	const points, reach = 16, 64
	var kernel [points][2 * reach]float64
	for p := range kernel {
		for j := range kernel[p] {
			t := float64(p)/points + reach - 1 - float64(j)
			kernel[p][j] = math.Pow(math.Cos(math.Pi/2*t/reach), 2)
			if t != 0 {
				kernel[p][j] *= math.Sin(math.Pi*t) / (math.Pi * t)
			}
		}
	}
	padded := slices.Concat(make([]float32, reach), pcm, make([]float32, reach))
	peak := 0.0
	for i := range len(pcm) {
		w := padded[i : i+2*reach]
		if abs(w[reach-1]) < 0.3 && abs(w[reach]) < 0.3 {
			continue // no peak of interest stands beside small samples, as our signals go
		}
		for p := range kernel {
			y := 0.0
			for j, x := range w {
				y += float64(x) * kernel[p][j]
			}
			peak = max(peak, math.Abs(y))
		}
	}
	return peak
}

// ffmpegOn runs ffmpeg's filter on pcm and returns what it says on stderr and stdout.
func ffmpegOn(t *testing.T, pcm []float32, filter string) string {
	t.Helper()
	ffmpeg := testkit.Program(t, "ffmpeg")
	f, err := os.CreateTemp(t.TempDir(), "sound")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	raw := make([]byte, 0, 4*len(pcm))
	for _, x := range pcm {
		raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(x))
	}
	if _, err := f.Write(raw); err != nil {
		t.Fatal(err)
	}
	said, err := exec.Command(ffmpeg, "-nostats", "-hide_banner", "-f", "f32le", "-ar", "48000", "-ac", "1", "-i", f.Name(),
		"-af", filter, "-f", "null", "-").CombinedOutput()
	if err != nil {
		t.Fatalf("ffmpeg -af %s: %v: %s", filter, err, said)
	}
	return string(said)
}
