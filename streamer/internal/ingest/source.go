// Package ingest takes sound in from outside and hands it on as PCM: the microphone of a browser over WebRTC, and
// uploaded files. Whatever the outside does, the streamer's clock pulls one frame of 20 ms after another and never
// waits.
//
// It is the only package that may import pion/webrtc. It decides nothing about sessions and never changes the sound's
// level: that is voice's work. Package session pulls from its sources, package api signals its microphones.
package ingest

import (
	"errors"
	"fmt"

	"dongthanh/internal/mediaclock"
)

const frameSamples = mediaclock.FrameSamples

// Source is a stream of mono sound at 48 kHz, pulled by the streamer's clock one frame of 20 ms at a time. Read is
// called from one goroutine, the other methods from any.
type Source interface {
	// Read fills frame, 960 samples in [-1,1] that stay the caller's, and never blocks: what is missing is concealed or
	// silent, so that the stream is never shortened. io.EOF says that the sound has ended; any other error says that
	// the source failed. With an error the frame is silence, and every later call returns the same error.
	Read(frame []float32) error
	// Started is closed when the first real sound can be read.
	Started() <-chan struct{}
	// Done is closed when the source has ended or failed. What it still holds can be read.
	Done() <-chan struct{}
	// Close ends the source and waits for its goroutines. Read then gives what a microphone still holds, or nothing,
	// and io.EOF. It may be called twice, and from several goroutines.
	Close() error
}

// errFrame says that Read was given something that is no frame.
func errFrame(n int) error { return fmt.Errorf("read frame: %d samples, want %d", n, frameSamples) }

// readPCM fills pcm from r, and returns what there was before an error.
func readPCM(r PCM, pcm []float32) (n int, err error) {
	for n < len(pcm) && err == nil {
		var k int
		k, err = r.Read(pcm[n:])
		n += k
		if k == 0 && err == nil {
			err = errors.New("read sound: no progress")
		}
	}
	return n, err
}
