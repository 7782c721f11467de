// Command relay copies sound from its upstreams to the loudspeakers and relays beneath it.
package main

import (
	"context"
	"flag"
	"fmt"

	"dongthanh/internal/control"
	"dongthanh/internal/health"
	"dongthanh/internal/identity"
	"dongthanh/internal/logging"
	"dongthanh/internal/program"
	"dongthanh/relay/internal/node"
)

func main() {
	program.Program{
		Name:  "relay",
		About: "copies sound from its upstreams to the loudspeakers and relays beneath it",
		Commands: []program.Command{
			program.Configured("serve", "run the relay until it is told to end", node.Default, serve),
			program.Check(node.Default),
			{Name: "enrol", About: "make this machine's keys and have them certified by a one-time token", Setup: enrol},
		},
	}.Main()
}

// serve runs the relay.
func serve(ctx context.Context, std program.IO, cfg node.Config) error {
	version := program.Version()
	n, err := node.New(cfg, version, logging.New(std.Err, cfg.Log.Level), health.NewRegistry("relay", version))
	if err != nil {
		return err
	}
	return n.Run(ctx)
}

// enrol gets credentials.
func enrol(flags *flag.FlagSet) program.Action {
	upstream := flags.String("upstream", "", "control port of a relay or of the streamer, wss://host:port (`URL`)")
	token := flags.String("token", "", "the one-time `TOKEN` that streamer token add has printed")
	dir := flags.String("dir", node.Default().Store.Dir, "where keys and certificate go: store.dir of the configuration (`DIR`)")
	return func(ctx context.Context, std program.IO, _ []string) error {
		if *upstream == "" || *token == "" {
			return program.Usagef("enrol: --upstream and --token must be given")
		}
		who, err := control.EnrolNode(ctx, *upstream, *token, identity.Relay, *dir)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(std.Out, "enrolled as %s %q in zone %s, keys in %s\n", who.ID, who.Name, who.Zone, *dir)
		return err
	}
}
