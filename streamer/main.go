// Command streamer takes the voice of an official, makes the packets that loudspeakers play, and runs the
// management around it: console, API, enrolment and the picture of all nodes.
package main

import "dongthanh/internal/program"

func main() { commands().Main() }

// commands is the program with all that it can be told.
func commands() program.Program {
	return program.Program{
		Name:  "streamer",
		About: "takes the voice of an official and sends it to the loudspeakers",
		Commands: []program.Command{
			program.Configured("serve", "run the streamer until it is told to end", defaults, serve),
			program.Check(defaults),
			caCommand(),
			userAdd(),
			zoneImport(),
			tokenAdd(),
			tokenList(),
			tokenRevoke(),
			backupCommand(),
			restoreCommand(),
			nodeList(),
			nodeMove(),
			nodeRemove(),
		},
	}
}
