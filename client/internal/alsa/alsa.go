// Package alsa is libasound, as little of it as a loudspeaker needs: open a PCM to play to, write to it, ask where it
// is, and list what there is. It decides nothing: what a state or an error means, and what to do then, is the caller's,
// package device or the command devices. Beside codec it is the only place with cgo.
package alsa

import "time"

// State is what a PCM does (snd_pcm_state_t).
type State int

// The states that matter to a player, by libasound's numbers.
const (
	Prepared     State = 2
	Running      State = 3
	XRun         State = 4 // it ran dry
	Suspended    State = 7
	Disconnected State = 8
)

// Status is where a PCM is.
type Status struct {
	State State
	Avail int           // frames that can be written
	Delay int           // frames from the one written next to the one that sounds
	Age   time.Duration // how long ago it was so; 0 if the driver does not say
}

// Name is a PCM that the configuration knows.
type Name struct {
	Name  string // to be opened by
	About string // libasound's own words, maybe several lines
}
