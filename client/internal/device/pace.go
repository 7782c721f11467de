package device

import (
	"context"
	"log/slog"
	"math"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"dongthanh/internal/mediaclock"
)

const (
	// blockSamples is what is asked for at once: 10 ms.
	blockSamples = 480
	// lead is how long before it sounds a block is asked for, as a sound card's buffer would: DESIGN §5 allows 40 ms
	// where the delay is 150 ms.
	lead = 20 * time.Millisecond
	// patience is how late a block may be asked for and still be written whole. A sound card pulls by itself while
	// the process waits for a core; a virtual one cannot, and a busy machine shall not be heard. Beyond it the device
	// has run dry, and what it missed is silence. The file may lag by one second at most (INTERFACES §2).
	patience = 900 * time.Millisecond
	// breath is the share of a pause that is left, once, to those who read sockets before blocks are asked for late:
	// what came in time during the pause is then there.
	breath    = 8
	maxBreath = 60 * time.Millisecond
)

// pace asks for blocks in real time by a crystal of its own.
type pace struct {
	rate      float64 // samples a second of the monotonic clock
	now       func() mediaclock.Local
	sleep     func(context.Context, mediaclock.Local)
	log       *slog.Logger
	underruns prometheus.Counter
}

// Ready returns nil: a virtual device can always be played to.
func (p *pace) Ready() error { return nil }

// at returns when sample n sounds if sample 0 sounds at start.
func (p *pace) at(start mediaclock.Local, n int64) mediaclock.Local {
	return start.Add(time.Duration(math.Round(float64(n) / p.rate * 1e9)))
}

// timer returns a function that sleeps until a moment of c, or until ctx ends. Go's timers are up to a millisecond late,
// which costs nothing here: when a sample sounds is reckoned from the clock, not from the awakening. A locked thread
// with clock_nanosleep wakes nearer to its moment on an idle machine, but half a second late on one with nine times
// more to do than cores, where this stays below 200 ms: it must wait for a core twice.
func timer(c mediaclock.Monotonic) func(context.Context, mediaclock.Local) {
	return func(ctx context.Context, until mediaclock.Local) {
		left := until.Sub(c.Now())
		if left <= 0 {
			return
		}
		t := time.NewTimer(left)
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
		}
	}
}

// run asks fill for blocks and hands each to write, in order and without a gap; write may keep nothing of it.
func (p *pace) run(ctx context.Context, start mediaclock.Local, fill func(Block), write func([]int16) error) error {
	b := Block{PCM: make([]int16, blockSamples)}
	behind := false // the block before was asked for late
	for {
		p.sleep(ctx, p.at(start, b.First).Add(-lead))
		if ctx.Err() != nil {
			return nil
		}
		now := p.now()
		late := now.Sub(p.at(start, b.First))
		if late > 0 && !behind {
			p.sleep(ctx, now.Add(min(late/breath, maxBreath)))
			now = p.now()
		}
		behind = late > 0
		b.Played = int64(math.Floor(now.Sub(start).Seconds() * p.rate))
		b.Now = p.at(start, b.Played)
		if now.Sub(p.at(start, b.First)) > patience {
			missed := (b.Played - b.First) / blockSamples * blockSamples
			p.underruns.Inc()
			p.log.Warn("device ran dry", "missed", mediaclock.Samples(missed).Duration())
			clear(b.PCM)
			for range missed / blockSamples {
				if err := write(b.PCM); err != nil {
					return err
				}
			}
			b.First += missed
			continue
		}
		fill(b)
		if err := write(b.PCM); err != nil {
			return err
		}
		b.First += blockSamples
	}
}
