//go:build race

package origin

const raceOn = true
