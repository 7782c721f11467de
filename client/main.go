// Command client is a loudspeaker: it joins a relay, plays what is meant for its zone in step with its neighbours, and
// reports what it hears.
package main

import "dongthanh/internal/program"

func main() {
	program.Program{
		Name:  "client",
		About: "a loudspeaker: plays what is on air for its zone",
		Commands: []program.Command{
			program.Configured("play", "play until told to end", defaults, play),
			program.Check(defaults),
			enrol(),
			devices(),
		},
	}.Main()
}
