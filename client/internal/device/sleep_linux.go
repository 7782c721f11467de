package device

import (
	"errors"

	"golang.org/x/sys/unix"

	"dongthanh/internal/mediaclock"
)

// sleepUntil returns a function that sleeps until a moment of c. Go's timers are late by up to a millisecond, a
// thread's own sleep by a tenth of that.
func sleepUntil(c mediaclock.Monotonic) func(mediaclock.Local) {
	return func(until mediaclock.Local) {
		var now unix.Timespec
		if unix.ClockGettime(unix.CLOCK_MONOTONIC, &now) != nil {
			return
		}
		left := until.Sub(c.Now())
		if left <= 0 {
			return
		}
		to := unix.NsecToTimespec(now.Nano() + int64(left))
		for errors.Is(unix.ClockNanosleep(unix.CLOCK_MONOTONIC, unix.TIMER_ABSTIME, &to, nil), unix.EINTR) {
		}
	}
}
