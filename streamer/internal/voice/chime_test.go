package voice

import (
	"math"
	"slices"
	"testing"
)

// The chime is as loud as what follows it, passes the limiter untouched, and neither begins nor ends with a click.
func TestChime(t *testing.T) {
	pcm := Chime()
	if len(pcm) != ChimeFrames*frameSamples {
		t.Fatalf("%d samples, want %d", len(pcm), ChimeFrames*frameSamples)
	}
	if got := loudnessOf(pcm); math.Abs(got-Target) > 0.05 {
		t.Errorf("%.2f LUFS, want %g", got, Target)
	}
	if got := decibels(truePeak(pcm)); got > ceilingDB {
		t.Errorf("%.2f dBTP, want at most %g", got, ceilingDB)
	}
	if !slices.Equal(through(New(Options{HighPass: true, GainDB: 12}), pcm), pcm) {
		t.Error("a Processor changes it")
	}
	for _, end := range []int{0, len(pcm) - 1} {
		if pcm[end] != 0 {
			t.Errorf("sample %d is %g, want 0", end, pcm[end])
		}
	}
	for name, part := range map[string][]float32{"beginning": pcm[:24], "end": pcm[len(pcm)-480:]} {
		for _, x := range part {
			if abs(x) > 0.03 {
				t.Errorf("the %s reaches %.3f", name, x)
				break
			}
		}
	}
	again := Chime()
	again[100] = 1
	if !slices.Equal(Chime(), pcm) {
		t.Error("two chimes differ")
	}
}

// through is process for what is only limited.
func through(p *Processor, pcm []float32) []float32 {
	out := append(slices.Clone(pcm), make([]float32, p.Delay())...)
	for frame := range slices.Chunk(out, frameSamples) {
		p.Through(frame)
	}
	return out[p.Delay():]
}
