package codec

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

func newResampler(t testing.TB, in, out float64) *Resampler {
	t.Helper()
	r, err := NewResampler(in, out)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// resample passes all of in through r, in pieces of the given sizes in turn.
func resample(r *Resampler, in []float32, pieces ...int) []float32 {
	var out []float32
	for i := 0; len(in) > 0; i++ {
		piece := in[:min(len(in), pieces[i%len(pieces)])]
		room := make([]float32, int(float64(len(piece))*r.ratio)+2)
		consumed, produced := r.Process(piece, room)
		out = append(out, room[:produced]...)
		in = in[consumed:]
	}
	return out
}

// A tone comes out with the same amplitude and phase, at better than 80 dB.
func TestResampleTone(t *testing.T) {
	for _, tt := range []struct {
		in, out, ratio, hz float64
	}{
		{48000, 48000, 1, 1000},
		{48000, 48000, 1.0001, 1000},
		{48000, 48000, 0.9999, 1000},
		{48000, 48000, 1.00005, 15000},
		{44100, 48000, 0, 1000},
		{44100, 48000, 0, 17000},
		{22050, 48000, 0, 1000},
		{11025, 48000, 0, 1000},
		{8000, 48000, 0, 1000},
		{8000, 48000, 0, 3000},
		{96000, 48000, 0, 1000},
		{192000, 48000, 0, 1000},
		{192000, 48000, 0, 17000},
		{192000, 8000, 0, 1000},
		{37123, 48000, 0, 1000},
	} {
		t.Run(fmt.Sprintf("%g to %g by %g, %g Hz", tt.in, tt.out, tt.ratio, tt.hz), func(t *testing.T) {
			r := newResampler(t, tt.in, tt.out)
			rate := tt.out
			if tt.ratio != 0 {
				if got := r.SetRatio(tt.ratio); got != tt.ratio {
					t.Fatalf("SetRatio(%g) = %g", tt.ratio, got)
				}
				rate = tt.in * tt.ratio
			}
			out := resample(r, sine(int(tt.in/2), tt.hz, tt.in, 0.5), 960)
			edge := int(rate / 20) // the tone begins suddenly
			amplitude, phase, ratio := toneFit(out[edge:], tt.hz, rate)
			phase += math.Remainder(2*math.Pi*tt.hz*-float64(edge)/rate, 2*math.Pi)
			if ratio < 85 {
				t.Errorf("SNR %.1f dB, want above 85", ratio)
			}
			if math.Abs(amplitude-0.5) > 1e-4 || math.Abs(math.Remainder(phase, 2*math.Pi)) > 1e-4 {
				t.Errorf("amplitude %.6f, phase %.6f: want 0.5 and 0", amplitude, phase)
			}
		})
	}
}

// Flat within 0.1 dB to 18 kHz; what cannot be kept is gone, not folded back.
func TestResampleResponse(t *testing.T) {
	for _, tt := range []struct{ in, out, hz, min, max float64 }{
		{44100, 48000, 20, -0.1, 0.1}, {44100, 48000, 10000, -0.1, 0.1}, {44100, 48000, 18000, -0.1, 0.1},
		{48000, 48000, 18000, -0.1, 0.1}, {48000, 48000, 19500, -0.1, 0.1},
		{96000, 48000, 18000, -0.1, 0.1}, {192000, 48000, 18000, -0.1, 0.1}, {48000, 44100, 18000, -0.1, 0.1},
		{96000, 48000, 24500, -200, -80}, {96000, 48000, 40000, -200, -80},
		{192000, 48000, 60000, -200, -80}, {48000, 8000, 4200, -200, -80}, {48000, 16000, 20000, -200, -80},
	} {
		out := resample(newResampler(t, tt.in, tt.out), sine(int(tt.in/3), tt.hz, tt.in, 0.5), 960)
		out = out[len(out)/10 : len(out)*9/10]
		got := 10 * math.Log10(energy(out)/float64(len(out))/0.125)
		if got < tt.min || got > tt.max {
			t.Errorf("%g to %g: %g Hz at %.2f dB, want %g to %g", tt.in, tt.out, tt.hz, got, tt.min, tt.max)
		}
	}
}

// The images of a low-rate file above its band stay inaudible.
func TestResampleImages(t *testing.T) {
	out := resample(newResampler(t, 8000, 48000), sine(8000, 1500, 8000, 0.5), 160)[4800:43200]
	for _, hz := range []float64{6500, 9500, 14500} {
		if amplitude, _, _ := toneFit(out, hz, 48000); amplitude > 0.5e-4 {
			t.Errorf("image at %g Hz has %.1f dB, want below -80", hz, 20*math.Log10(amplitude/0.5))
		}
	}
}

// However the stream is cut into pieces, the sound is the same and nothing is lost.
func TestResamplePieces(t *testing.T) {
	in := noise(6000, 0.5)
	for _, rates := range [][2]float64{{44100, 48000}, {192000, 8000}, {8000, 192000}, {48000, 48000}} {
		want := resample(newResampler(t, rates[0], rates[1]), in, len(in))
		lookahead := newResampler(t, rates[0], rates[1]).Lookahead()
		n := int(math.Ceil(float64(len(in)-lookahead) * rates[1] / rates[0]))
		if len(want) < n || len(want) > n+1 { // a place on the edge may round to either side
			t.Errorf("%v: %d samples came out, want %d", rates, len(want), n)
		}
		rng := rand.New(rand.NewPCG(7, 8))
		r, rest, got := newResampler(t, rates[0], rates[1]), in, []float32(nil)
		for {
			out := make([]float32, rng.IntN(500))
			piece := rest[:min(len(rest), rng.IntN(1500))]
			consumed, produced := r.Process(piece, out)
			got = append(got, out[:produced]...)
			rest = rest[consumed:]
			if len(rest) == 0 && len(out) > 0 && produced == 0 {
				break
			}
		}
		if len(got) != len(want) || snr(want, got) < 200 {
			t.Errorf("%v: in pieces %d samples, SNR %.1f dB; want %d, all equal", rates, len(got), snr(want, got[:len(want)]), len(want))
		}
	}
}

// With the room that Process asks for, a frame never stays behind: the ingest
// counts on it. Nor does a ratio that is steered all the time click.
func TestResampleSteered(t *testing.T) {
	r := newResampler(t, 48000, 48000)
	in := sine(8*second, 400, SampleRate, 0.5)
	out := make([]float32, FrameSamples+12)
	var got []float32
	rng := rand.New(rand.NewPCG(9, 10))
	expected := 0.0
	for frame := 0; frame*FrameSamples < len(in); frame++ {
		ratio := r.SetRatio(1 + 0.0003*(2*rng.Float64()-1))
		consumed, produced := r.Process(in[frame*FrameSamples:][:FrameSamples], out[:int(FrameSamples*ratio)+2])
		if consumed != FrameSamples {
			t.Fatalf("frame %d: %d samples consumed", frame, consumed)
		}
		expected += ratio * FrameSamples
		got = append(got, out[:produced]...)
	}
	if missing := expected - float64(len(got)); missing < 0 || missing > float64(r.Lookahead())+2 {
		t.Errorf("%d samples came out, want %.1f less at most the lookahead of %d", len(got), expected, r.Lookahead())
	}
	// A click would show in the second difference, which a tone bounds by (2πf/rate)².
	bound := 0.5 * math.Pow(2*math.Pi*400/SampleRate, 2) * 1.02
	for i := 1000; i+1 < len(got); i++ {
		if d := math.Abs(float64(got[i-1] - 2*got[i] + got[i+1])); d > bound {
			t.Fatalf("click at sample %d: second difference %.6f, a tone's is at most %.6f", i, d, bound)
		}
	}
}

func TestSetRatioBounds(t *testing.T) {
	r := newResampler(t, 48000, 48000)
	for _, tt := range []struct{ set, want float64 }{
		{1.001, 1.001}, {math.NaN(), 1.001}, {2, 1.01}, {math.Inf(-1), 0.99}, {0, 0.99}, {1, 1},
	} {
		if got := r.SetRatio(tt.set); got != tt.want {
			t.Errorf("SetRatio(%g) = %g, want %g", tt.set, got, tt.want)
		}
	}
	for _, rates := range [][2]float64{{0, 48000}, {48000, 7999}, {192001, 48000}, {math.NaN(), 48000}, {48000, math.Inf(1)}} {
		if _, err := NewResampler(rates[0], rates[1]); err == nil {
			t.Errorf("NewResampler(%g, %g) gave no error", rates[0], rates[1])
		}
	}
}

func TestResampleAllocations(t *testing.T) {
	r := newResampler(t, 44100, 48000)
	in, out := voice(882), make([]float32, 970)
	if allocs := testing.AllocsPerRun(50, func() { r.Process(in, out) }); allocs != 0 {
		t.Errorf("Process allocates %.1f times, want 0", allocs)
	}
}
