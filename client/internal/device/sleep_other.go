//go:build !linux

package device

import (
	"time"

	"dongthanh/internal/mediaclock"
)

// sleepUntil returns a function that sleeps until a moment of c.
func sleepUntil(c mediaclock.Monotonic) func(mediaclock.Local) {
	return func(until mediaclock.Local) { time.Sleep(until.Sub(c.Now())) }
}
