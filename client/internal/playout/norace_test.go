//go:build !race

package playout

const raceOn = false
