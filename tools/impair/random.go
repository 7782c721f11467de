package main

import (
	"crypto/sha256"
	"encoding/binary"
	"math"
	"math/rand/v2"
	"time"
)

// never is later than any time.
const never = time.Duration(math.MaxInt64)

// stream returns the random numbers called name of a seed. Each purpose has its own, so that one
// flag does not change what another one draws, and near seeds are as unlike as far ones.
func stream(seed uint64, name string) *rand.Rand {
	sum := sha256.Sum256(binary.BigEndian.AppendUint64([]byte(name), seed))
	return rand.New(rand.NewPCG(binary.BigEndian.Uint64(sum[:8]), binary.BigEndian.Uint64(sum[8:16])))
}

// exponential draws a span of the given mean.
func exponential(r *rand.Rand, mean float64) time.Duration {
	return time.Duration(min(r.ExpFloat64()*mean, 1<<61)) // leaves room to be added to a time
}

// bursts is a channel that is good or bad for exponential periods (Gilbert-Elliott, in time rather
// than in packets: packets of 20 and of 40 ms see the same channel).
type bursts struct {
	random            *rand.Rand
	goodMean, badMean float64 // ns
	bad               bool
	until             time.Duration // of the present period
}

// newBursts returns a channel that is bad for the share loss of all time, mean long at a time. It
// starts in the steady state.
func newBursts(random *rand.Rand, loss float64, mean time.Duration) *bursts {
	b := &bursts{random: random, badMean: float64(mean), until: never, bad: loss >= 1}
	if loss > 0 && loss < 1 {
		b.goodMean = b.badMean * (1 - loss) / loss
		b.bad = random.Float64() < loss
		b.until = b.period()
	}
	return b
}

// period draws the length of the present period.
func (b *bursts) period() time.Duration {
	if b.bad {
		return exponential(b.random, b.badMean)
	}
	return exponential(b.random, b.goodMean)
}

// at reports whether the channel is bad at now, which never goes back.
func (b *bursts) at(now time.Duration) bool {
	for now >= b.until {
		b.bad = !b.bad
		b.until += b.period()
	}
	return b.bad
}
