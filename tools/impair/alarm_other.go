//go:build !linux

package main

import "time"

// alarm is a sleep that ends on time, by the runtime's timers, or by a call.
type alarm struct{ bell chan struct{} }

func newAlarm() (*alarm, error) { return &alarm{bell: make(chan struct{}, 1)}, nil }

// close frees the alarm, once nobody sleeps or rings.
func (a *alarm) close() {}

// hold does nothing here.
func (a *alarm) hold() (release func()) { return func() {} }

// sleep returns at until, or earlier if rung, also if that was before the call. now is the time.
func (a *alarm) sleep(until, now time.Duration) {
	if until == never {
		<-a.bell
		return
	}
	timer := time.NewTimer(until - now)
	defer timer.Stop()
	select {
	case <-a.bell:
	case <-timer.C:
	}
}

// ring ends the present sleep, or the next.
func (a *alarm) ring() {
	select {
	case a.bell <- struct{}{}:
	default:
	}
}
