package jitter

const (
	// A proportional-integral controller, critically damped (integralGain = gain²/4): an error of 5 ms asks for
	// 1000 ppm, two cents of pitch, and is gone in a quarter of a minute. Half of the gain let a clock that is off by
	// 1000 ppm drain the buffer before it was found out.
	gain         = 0.2  // per second
	integralGain = 0.01 // per second squared

	// Each of the two parts stays within 2000 ppm: together 7 cents at the very most, on a slope of seconds, which
	// nobody hears in speech. A browser's clock is off by 200 ppm at worst in practice.
	partLimit = 0.002

	smoothing  = 0.02 / 1.0 // a frame over the time constant of 1 s that evens out the jitter of the pulling clock
	errorLimit = 0.05       // seconds; more than that is no drift
	frameTime  = 0.02       // seconds
)

// follower decides how much faster than nominal the buffer is played, so that the delay stays at its target while
// the sender's clock drifts against ours.
type follower struct {
	smooth   float64 // error of the delay in seconds, smoothed
	integral float64 // the sender's clock against ours, as far as known: +0.0001 is 100 ppm fast
}

// step takes the error of the delay in seconds (positive: too long) once a frame and returns the correction of the
// speed: +0.001 plays 1000 ppm faster.
func (f *follower) step(err float64) float64 {
	f.smooth += smoothing * (clamp(err, errorLimit) - f.smooth)
	p := clamp(gain*f.smooth, partLimit)
	if p > -partLimit && p < partLimit { // a saturated controller must not wind up
		f.integral = clamp(f.integral+integralGain*f.smooth*frameTime, partLimit)
	}
	return p + f.integral
}

func clamp(x, limit float64) float64 { return min(max(x, -limit), limit) }
