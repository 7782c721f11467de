package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"text/tabwriter"
	"time"

	"dongthanh/internal/logging"
	"dongthanh/internal/program"
	"dongthanh/internal/zone"
	"dongthanh/streamer/internal/store"
)

func nodeList() program.Command {
	return program.Command{Name: "node list", About: "list relays and loudspeakers", Setup: func(flags *flag.FlagSet) program.Action {
		everyone := flags.Bool("all", false, "those that were removed too")
		return withStore(flags, func(ctx context.Context, std program.IO, _ Config, st *store.Store, _ []string) error {
			list, err := st.Nodes(ctx)
			if err != nil {
				return err
			}
			w := tabwriter.NewWriter(std.Out, 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "ID\tKIND\tNAME\tZONE\tENROLLED\tCERTIFICATE UNTIL\tSTATE")
			for _, n := range list {
				if n.Kind != store.NodeStreamer && (*everyone || n.Revoked.IsZero()) {
					fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", n.ID, n.Kind, n.Name, n.Zone, day(n.Enrolled), day(n.NotAfter), nodeState(n, time.Now()))
				}
			}
			return w.Flush()
		})
	}}
}

func nodeState(n store.Node, now time.Time) string {
	switch {
	case !n.Revoked.IsZero():
		return "removed " + day(n.Revoked)
	case now.After(n.NotAfter):
		return "expired"
	}
	return "good"
}

func nodeMove() program.Command {
	return program.Command{Name: "node move", Args: "ID", About: "give a relay or loudspeaker another zone or name", Setup: func(flags *flag.FlagSet) program.Action {
		place := flags.String("zone", "", "its new `ZONE`; without this flag it stays where it is")
		name := flags.String("name", "", "its new `NAME`; without this flag it keeps the old one")
		return withStore(flags, func(ctx context.Context, std program.IO, cfg Config, st *store.Store, args []string) error {
			if !flagSet(flags, "zone") && !flagSet(flags, "name") {
				return program.Usagef("node move needs --zone or --name")
			}
			n, err := st.Node(ctx, args[0])
			if err != nil {
				return err
			}
			if flagSet(flags, "zone") {
				if n.Zone, err = zone.Parse(*place); err != nil {
					return program.Usagef("--zone: %v", err)
				}
			}
			if flagSet(flags, "name") {
				n.Name = *name
			}
			i, err := openIssuer(ctx, cfg, st, logging.New(std.Err, slog.LevelWarn))
			if err != nil {
				return err
			}
			if n, err = i.Move(ctx, n.ID, n.Zone, n.Name); err != nil {
				return err
			}
			_, err = fmt.Fprintf(std.Out, "%s (%s) belongs to zone %s; it is told within seconds of being connected\n", n.ID, n.Name, n.Zone)
			return err
		})
	}}
}

func nodeRemove() program.Command {
	return program.Command{Name: "node remove", Args: "ID", About: "end the trust in a relay or loudspeaker for good; only a new token lets it in again", Setup: func(flags *flag.FlagSet) program.Action {
		return withStore(flags, func(ctx context.Context, _ program.IO, _ Config, st *store.Store, args []string) error {
			n, err := st.Node(ctx, args[0])
			if err != nil {
				return err
			}
			if n.Kind == store.NodeStreamer {
				return program.Usagef("node remove %s: this is the streamer itself", n.ID)
			}
			return st.RevokeNode(ctx, n.ID, time.Now())
		})
	}}
}
