package voice

import (
	"bytes"
	"math"
	"testing"

	"dongthanh/codec"
	"dongthanh/internal/testkit"
)

// spoken is a Vietnamese sentence by espeak-ng in one of its voices, at 48 kHz, without the silence around it.
func spoken(t testing.TB, voice, text string) []float32 {
	t.Helper()
	pcm, err := codec.ReadWAV(bytes.NewReader(testkit.Speech(t, voice, text)))
	if err != nil {
		t.Fatal(err)
	}
	from, to := 0, len(pcm)
	for from < to && abs(pcm[from]) < 0.001 {
		from++
	}
	for from < to && abs(pcm[to-1]) < 0.001 {
		to--
	}
	return pcm[from:to]
}

// louder brings pcm to a loudness, its peaks bent below full scale as a microphone's amplifier does.
func louder(pcm []float32, lufs float64) []float32 {
	out := make([]float32, len(pcm))
	gain := amplitude(lufs - loudnessOf(pcm))
	for range 20 {
		for i, x := range pcm {
			out[i] = float32(0.98 * math.Tanh(gain*float64(x)/0.98))
		}
		off := lufs - loudnessOf(out)
		if math.Abs(off) < 0.05 {
			break
		}
		gain *= amplitude(off)
	}
	return out
}
