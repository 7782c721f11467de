package voice

import (
	"encoding/binary"
	"math"
	"slices"
	"testing"
)

// Below the ceiling, and with nothing switched on, not one bit changes; also again
// after the limiter has worked.
func TestNothingOnChangesNothing(t *testing.T) {
	loud := tone(second/4, 200, 2, 0)
	quiet := speech(second)
	pause := make([]float32, 3*second)
	pcm := slices.Concat(quiet, pause, loud, pause, quiet)
	got := process(New(Options{}), pcm)
	if !slices.Equal(got[:len(quiet)], quiet) {
		t.Error("quiet sound was changed")
	}
	if last := got[len(got)-len(quiet):]; !slices.Equal(last, quiet) {
		t.Error("quiet sound after loud sound was changed")
	}
}

func TestHighPass(t *testing.T) {
	for _, tt := range []struct {
		hz, min, max float64
	}{
		{12.5, -37, -35.5}, {25, -24.6, -23.6}, {50, -12.5, -12}, {100, -3.1, -2.9}, {200, -0.3, -0.2}, {1000, -0.01, 0.01}, {15000, -0.01, 0.01},
	} {
		in := tone(second, tt.hz, 0.3, 0)
		out := process(New(Options{HighPass: true}), in)
		if got := decibels(rms(out[second/5:]) / rms(in[second/5:])); got < tt.min || got > tt.max {
			t.Errorf("%g Hz: %.2f dB, want %g to %g", tt.hz, got, tt.min, tt.max)
		}
	}
	out := process(New(Options{HighPass: true}), slices.Repeat([]float32{0.5}, second))
	if got := rms(out[second/2:]); got > 1e-6 {
		t.Errorf("of a constant %.2g is left", got)
	}
}

func TestGainStart(t *testing.T) {
	for _, tt := range []struct{ set, want float64 }{
		{0, 0}, {6, 6}, {-12, -12}, {100, 30}, {math.Inf(-1), -20}, {math.NaN(), 0},
	} {
		in := tone(second/2, 1000, 0.02, 0)
		out := process(New(Options{GainDB: tt.set}), in)
		if got := decibels(rms(out) / rms(in)); math.Abs(got-tt.want) > 0.01 {
			t.Errorf("GainDB %g: %.2f dB, want %g", tt.set, got, tt.want)
		}
	}
}

// A change of gain is a slope: never a step, never through silence, and it arrives.
func TestGainMovesSlowly(t *testing.T) {
	for _, to := range []float64{20, -20, math.Inf(-1)} {
		p := New(Options{})
		in := slices.Repeat([]float32{0.01}, 2*second) // a constant shows the gain itself
		p.SetGain(to)
		p.SetGain(math.NaN())
		out := process(p, in)
		last := 0.0
		for i, x := range out[:len(in)] {
			db := decibels(float64(x) / 0.01)
			if step := math.Abs(db - last); step > 1.3*gainDBPerS/sampleRate+1e-5 {
				t.Fatalf("to %g dB: step of %.5f dB at sample %d", to, step, i)
			}
			if db < minGainDB-0.01 {
				t.Fatalf("to %g dB: %.2f dB at sample %d", to, db, i)
			}
			last = db
		}
		if want := min(max(to, -20), 30); math.Abs(last-want) > 0.01 {
			t.Errorf("to %g dB: ended at %.2f dB, want %g", to, last, want)
		}
	}
}

func TestLevel(t *testing.T) {
	for _, tt := range []struct {
		name string
		pcm  []float32
		want Level
	}{
		{"silence", make([]float32, second), Silence()},
		{"tone of -20 dB", tone(second, 997, 0.1, 0), Level{RMS: -23.01, Peak: -20, Momentary: -23.01}},
		{"limited", tone(second, 997, 4, 0), Level{RMS: -4.51, Peak: -1.5, Momentary: -4.51}},
		{"200 ms after silence", slices.Concat(make([]float32, second), tone(second/5, 997, 0.1, 0), make([]float32, frameSamples)), Level{RMS: -26.02, Peak: -20, Momentary: -26.02}},
	} {
		p := New(Options{})
		level := Level{}
		for frame := range slices.Chunk(slices.Clone(tt.pcm), frameSamples) {
			level = p.Process(frame)
		}
		if math.Abs(level.RMS-tt.want.RMS) > 0.1 || math.Abs(level.Peak-tt.want.Peak) > 0.05 || math.Abs(level.Momentary-tt.want.Momentary) > 0.1 {
			t.Errorf("%s: %+.2f, want %+.2f", tt.name, level, tt.want)
		}
	}
}

// The level counts samples, however they are cut into frames.
func TestFramesOfAnyLength(t *testing.T) {
	o := Options{HighPass: true, GainDB: 6, Levelling: LevelVoice, Gate: true}
	whole, parts := New(o), New(o)
	a, b := speech(second), speech(second)
	level := whole.Process(a)
	var last Level
	for i, n := 0, 1; i < len(b); n = n*5%1931 + 1 {
		end := min(len(b), i+n)
		last = parts.Process(b[i:end])
		i = end
	}
	parts.Process(nil)
	differ := max(math.Abs(level.RMS-last.RMS), math.Abs(level.Peak-last.Peak), math.Abs(level.Momentary-last.Momentary))
	if !slices.Equal(a, b) || differ > 1e-9 { // sums of parts differ in their last bits
		t.Errorf("in parts the sound or the level differs: %+v, %+v", level, last)
	}
}

func TestProcessAllocations(t *testing.T) {
	p := New(Options{HighPass: true, GainDB: 6, Levelling: LevelVoice, Gate: true})
	frame := speech(frameSamples)
	if allocs := testing.AllocsPerRun(100, func() { p.Process(frame) }); allocs != 0 {
		t.Errorf("Process allocates %.1f times, want 0", allocs)
	}
}

// Whatever comes in, what goes out is finite, within the ceiling, and heals.
func FuzzProcess(f *testing.F) {
	f.Add([]byte{0, 0, 0xc0, 0x7f, 0, 0, 0x80, 0x7f, 0, 0, 0x80, 0xff, 0xff, 0xff, 0x7f, 0x7f}, 6.0, true) // NaN, ±Inf, the largest
	f.Add([]byte{1, 0, 0, 0, 0, 0, 0x80, 0x3f}, -50.0, false)
	f.Add(make([]byte, 4000), math.NaN(), true)
	quiet := tone(frameSamples, 1000, 0.01, 0) // 20 periods: the frames join
	f.Fuzz(func(t *testing.T, raw []byte, gain float64, highPass bool) {
		p := New(Options{HighPass: highPass, GainDB: gain})
		frame := make([]float32, frameSamples)
		check := func() Level {
			level := p.Process(frame)
			for i, x := range frame {
				if !(abs(x) <= p.limiter.ceiling*1.0001) {
					t.Fatalf("sample %d is %v", i, x)
				}
			}
			for _, v := range []float64{level.RMS, level.Peak, level.Momentary} {
				if !(v >= minDB && v < 20) {
					t.Fatalf("level is %+v", level)
				}
			}
			return level
		}
		for rest := raw; len(rest) >= 4; {
			clear(frame)
			for i := 0; i < frameSamples && len(rest) >= 4; i++ {
				frame[i] = math.Float32frombits(binary.LittleEndian.Uint32(rest))
				rest = rest[4:]
			}
			check()
		}
		for i := range 60 { // 1.2 s: the release from 60 dB of limiting, then a full window
			copy(frame, quiet)
			level := check()
			if want := -43.01 + p.wantDB; i == 59 && math.Abs(level.RMS-want) > 0.2 {
				t.Fatalf("a tone has the level %+v a second later, want %.2f", level, want)
			}
		}
	})
}

func BenchmarkProcess(b *testing.B) {
	for _, bm := range []struct {
		name string
		opts Options
	}{{"microphone", Options{HighPass: true, Levelling: LevelVoice, Gate: true}}, {"line", Options{Levelling: LevelLine}}, {"file", Options{GainDB: 3}}} {
		b.Run(bm.name, func(b *testing.B) {
			p := New(bm.opts)
			sound := slices.Collect(slices.Chunk(speech(2*second), frameSamples))
			frame := make([]float32, frameSamples)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				copy(frame, sound[i%len(sound)])
				p.Process(frame)
			}
		})
	}
}
