package main

import (
	"fmt"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// alarm is a sleep that ends on time or by a call. The runtime's timers wake up to 1 ms late on an
// idle machine, since epoll_wait counts in ms; ppoll counts in ns.
type alarm struct{ fd int } // an eventfd

func newAlarm() (*alarm, error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("open eventfd: %w", err)
	}
	return &alarm{fd: fd}, nil
}

// close frees the alarm, once nobody sleeps or rings.
func (a *alarm) close() { _ = unix.Close(a.fd) }

// hold gives the caller's goroutine a thread of its own whose sleeps the kernel does not stretch to
// save power (by 50 µs usually). The caller calls what it returns at the end.
func (a *alarm) hold() (release func()) {
	runtime.LockOSThread()
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1000, 0, 0, 0) // ns; best effort
	return func() {
		_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 0, 0, 0, 0) // the default again
		runtime.UnlockOSThread()
	}
}

// sleep returns at until, or earlier if rung, also if that was before the call. now is the time.
func (a *alarm) sleep(until, now time.Duration) {
	var timeout *unix.Timespec
	if until != never {
		t := unix.NsecToTimespec(int64(max(until-now, 0)))
		timeout = &t
	}
	fds := []unix.PollFd{{Fd: int32(a.fd), Events: unix.POLLIN}}
	if n, err := unix.Ppoll(fds, timeout, nil); err == nil && n > 0 {
		var count [8]byte
		_, _ = unix.Read(a.fd, count[:])
	} // an interrupted sleep is a short one
}

// ring ends the present sleep, or the next.
func (a *alarm) ring() {
	_, _ = unix.Write(a.fd, []byte{1, 0, 0, 0, 0, 0, 0, 0}) // any number but zero; fails only when it rings already
}
