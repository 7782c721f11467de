package voice

import (
	"math"
	"slices"
	"testing"
)

// A long pause is lowered by 14 dB and no more, a short one not at all, and the first consonant after it comes whole.
func TestGate(t *testing.T) {
	words := [][]float32{}
	for _, word := range []string{"Kính thưa bà con", "Phát thanh", "Sông Hồng", "Trạm y tế"} { // k, f, s, tʂ come softly
		words = append(words, scaled(spoken(t, "vi", word), -20))
	}
	pcm := scaled(words[0], -20)
	var starts []int
	for _, w := range slices.Concat(words, words) {
		pcm = append(pcm, silence(2)...)
		starts = append(starts, len(pcm))
		pcm = append(pcm, w...)
	}
	pcm = mix(pcm, hiss(3, -60))
	open, gated := microphone, microphone
	open.Gate = false
	_, want := follow(open, pcm)
	did, got := follow(gated, pcm)
	if least := slices.Min(did.gate); math.Abs(least+gateRangeDB) > 0.01 {
		t.Errorf("the gate goes to %.2f dB, want -%d", least, gateRangeDB)
	}
	for n, at := range starts {
		if n == 0 {
			continue // it has heard too little of the background to close
		}
		const ms = millisecond
		for _, part := range [][2]int{{0, 10}, {10, 40}, {40, 100}} {
			from, to := at+part[0]*ms, at+part[1]*ms
			if lost := decibels(rms(want[from:to]) / rms(got[from:to])); lost > 1.5 {
				t.Errorf("word %d: %.1f dB are lost of its ms %d to %d", n, lost, part[0], part[1])
			}
		}
		if lowered := decibels(rms(want[at-500*ms:at-20*ms]) / rms(got[at-500*ms:at-20*ms])); math.Abs(lowered-gateRangeDB) > 0.5 {
			t.Errorf("the pause before word %d is %.1f dB lower, want %d", n, lowered, gateRangeDB)
		}
	}
	closings := 0
	for i := 1; i < len(did.gate); i++ {
		if did.gate[i] < 0 && did.gate[i-1] == 0 {
			closings++
		}
	}
	if closings > len(starts) {
		t.Errorf("the gate closes %d times in %d pauses", closings, len(starts))
	}
}

// What is loud is no background, however steady.
func TestGateStaysOpen(t *testing.T) {
	for name, pcm := range map[string][]float32{
		"a tone of -46 dB": tone(5*second, 1000, 0.005, 0), "a whisper": louder(spoken(t, "vi+whisper", sentence), -45), "loud hiss": hiss(5, -45),
	} {
		if did, _ := follow(microphone, pcm); slices.Min(did.gate) < 0 {
			t.Errorf("%s: the gate goes to %.1f dB", name, slices.Min(did.gate))
		}
	}
}
