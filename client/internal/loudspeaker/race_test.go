//go:build race

package loudspeaker

const raceOn = true
