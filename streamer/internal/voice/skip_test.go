package voice

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// What need not be searched for peaks leaves as if it had been.
func TestLimiterSkips(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	fast, slow := newLimiter(), newLimiter()
	slow.safe = -1
	skipped := 0
	for range 4000 {
		part := noise(1+rng.IntN(2*limitSamples), 1.2*rng.Float64()*rng.Float64())
		rng.Shuffle(len(part), func(i, j int) { part[i], part[j] = part[j], part[i] })
		same := slices.Clone(part)
		if fast.isSafe(part) {
			skipped++
		}
		fast.limit(part)
		slow.limit(same)
		if !slices.Equal(part, same) {
			t.Fatal("the sound differs")
		}
	}
	if skipped < 400 || skipped > 3600 {
		t.Errorf("%d of 4000 parts are skipped: the test shows little", skipped)
	}
	if fast.safe < 0.25 {
		t.Errorf("samples up to %.3f are safe: hardly any speech is", fast.safe)
	}
}
