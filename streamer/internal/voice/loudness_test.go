package voice

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func loudnessOf(pcm []float32) float64 {
	l := NewLoudness()
	for part := range slices.Chunk(pcm, 1777) {
		l.Add(part)
	}
	return l.Integrated()
}

// at is a 997 Hz tone of so many LUFS: full scale in one channel is -3.01.
func at(lufs float64, seconds float64) []float32 {
	return tone(int(seconds*second), 997, math.Pow(10, (lufs+3.01)/20), 0)
}

// The cases of EBU Tech 3341 table 1, in one channel and half as long.
func TestIntegrated(t *testing.T) {
	for _, tt := range []struct {
		name string
		pcm  []float32
		want float64
		tol  float64
	}{
		{"nothing", nil, NoLoudness, 0},
		{"silence", make([]float32, second), NoLoudness, 0},
		{"below the absolute gate", at(-75, 5), NoLoudness, 0},
		{"full scale", tone(5*second, 997, 1, 0), -3.01, 0.05},
		{"case 1", at(-23, 10), -23, 0.05},
		{"case 2", at(-33, 10), -33, 0.05},
		{"case 3: quiet parts are gated", slices.Concat(at(-36, 5), at(-23, 30), at(-36, 5)), -23, 0.1},
		{"case 4: silence is gated", slices.Concat(at(-72, 5), at(-36, 5), at(-23, 30), at(-36, 5), at(-72, 5)), -23, 0.1},
		{"case 5: near parts are not", slices.Concat(at(-26, 10), at(-20, 10.05), at(-26, 10)), -23, 0.1},
		{"a chime of 300 ms", at(-20, 0.3), -20, 0.2},
		{"a click", []float32{0.5}, -20, 30},
		{"NaN is silence", slices.Concat(at(-23, 10), slices.Repeat([]float32{float32(math.NaN())}, 10), at(-23, 10)), -23, 0.1},
	} {
		if got := loudnessOf(tt.pcm); math.Abs(got-tt.want) > tt.tol || math.IsNaN(got) {
			t.Errorf("%s: %.2f LUFS, want %.2f", tt.name, got, tt.want)
		}
	}
}

func TestIntegratedGoesOn(t *testing.T) {
	l := NewLoudness()
	l.Add(at(-40, 5))
	if got := l.Integrated(); math.Abs(got+40) > 0.05 {
		t.Errorf("%.2f LUFS, want -40", got)
	}
	l.Add(at(-20, 5))
	if got := l.Integrated(); math.Abs(got+20) > 0.2 {
		t.Errorf("%.2f LUFS after louder sound, want -20", got)
	}
}

func TestIntegratedAgreesWithFFmpeg(t *testing.T) {
	for _, tt := range []struct {
		name string
		pcm  []float32
	}{
		{"speech with pauses", speech(10 * second)},
		{"quiet speech, then noise", slices.Concat(speech(5*second), make([]float32, 3*second), noise(4*second, 0.02))},
		{"low tone", tone(5*second, 60, 0.5, 0)},
		{"high tone", tone(5*second, 6000, 0.3, 0)},
		{"loud noise", noise(3*second, 1)},
	} {
		said := ffmpegOn(t, tt.pcm, "ebur128=metadata=1,ametadata=print:key=lavfi.r128.I:file=-")
		last := said[strings.LastIndex(said, "lavfi.r128.I=")+len("lavfi.r128.I="):]
		last, _, _ = strings.Cut(last, "\n")
		want, err := strconv.ParseFloat(strings.TrimSpace(last), 64)
		if err != nil {
			t.Fatalf("no loudness in what ffmpeg says: %s", said)
		}
		if got := loudnessOf(tt.pcm); math.Abs(got-want) > 0.1 {
			t.Errorf("%s: %.3f LUFS, ffmpeg says %.3f", tt.name, got, want)
		}
	}
}

func BenchmarkLoudness(b *testing.B) {
	pcm := speech(10 * second)
	b.ReportAllocs()
	for b.Loop() {
		loudnessOf(pcm)
	}
	b.ReportMetric(10*float64(b.N)/b.Elapsed().Seconds(), "x-realtime")
}
