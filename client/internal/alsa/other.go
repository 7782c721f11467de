//go:build !linux

package alsa

import (
	"errors"
	"time"
)

// errHere is all there is to say where there is no ALSA.
var errHere = errors.New("ALSA is on Linux only")

// PCM cannot be had here.
type PCM struct{}

// Urgent does nothing.
func Urgent() bool { return false }

// Open fails.
func Open(string) (*PCM, error) { return nil, errHere }

// Names fails.
func Names() ([]Name, error) { return nil, errHere }

// Configure fails.
func (*PCM) Configure(_, _, _, _ int) (int, error) { return 0, errHere }

// Write fails.
func (*PCM) Write([]int16) (int, error) { return 0, errHere }

// Wait fails.
func (*PCM) Wait(time.Duration) error { return errHere }

// Status fails.
func (*PCM) Status() (Status, error) { return Status{}, errHere }

// Start fails.
func (*PCM) Start() error { return errHere }

// Restart fails.
func (*PCM) Restart() error { return errHere }

// Close does nothing.
func (*PCM) Close() {}
