package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"sync"
	"time"

	"dongthanh/client/internal/device"
	"dongthanh/client/internal/loudspeaker"
	"dongthanh/internal/config"
	"dongthanh/internal/control"
	"dongthanh/internal/health"
	"dongthanh/internal/identity"
	"dongthanh/internal/link"
	"dongthanh/internal/logging"
	"dongthanh/internal/mediaclock"
	"dongthanh/internal/program"
)

// settings is the configuration of a loudspeaker (configs/client.yaml).
type settings struct {
	Upstreams []link.Upstream `yaml:"upstreams"`
	Store     store           `yaml:"store"`
	Device    device.Config   `yaml:"device"`
	Admin     health.Config   `yaml:"admin"`
	Log       logging.Config  `yaml:"log"`
}

// store is where the loudspeaker keeps what must outlive it: credentials, zone keys, boot count.
type store struct {
	Dir string `yaml:"dir"`
}

// Validate returns the faults.
func (s store) Validate() []config.Fault {
	if s.Dir == "" {
		return []config.Fault{config.Faultf("dir", "empty; it holds the credentials that client enrol has made")}
	}
	return nil
}

// maxUpstreams is one that is listened to and those that stand by.
const maxUpstreams = 4

// Validate returns the faults.
func (s settings) Validate() []config.Fault {
	if n := len(s.Upstreams); n < 1 || n > maxUpstreams {
		return []config.Fault{config.Faultf("upstreams", "%d, want 1 to %d", n, maxUpstreams)}
	}
	return nil
}

func defaults() settings {
	return settings{
		Upstreams: []link.Upstream{{Control: "wss://localhost:7543"}},
		Store:     store{Dir: "var/client"},
		Device:    device.Default(),
		Admin:     health.Default("127.0.0.1:9091"),
		Log:       logging.Default(),
	}
}

// startJitter spreads the first joins of many loudspeakers that get their power back at once.
const startJitter = 500 * time.Millisecond

// hangs is how long the loudspeaker's loop may not come to its turn before it counts as hung, so that a watchdog starts
// it anew: far longer than a busy machine needs.
const hangs = 10 * time.Second

// play is the command play.
func play(ctx context.Context, std program.IO, s settings) error {
	log := logging.New(std.Err, s.Log.Level)
	credentials, err := identity.Load(s.Store.Dir)
	if err != nil {
		return err
	}
	if credentials.Node.Kind != identity.Client {
		return fmt.Errorf("the credentials in %s are those of a %s", s.Store.Dir, credentials.Node.Kind)
	}
	if err := credentials.Valid(); err != nil {
		log.Warn("sound goes on while upstreams accept it", "error", err)
	}
	reg := health.NewRegistry("client", program.Version())
	admin := health.New(s.Admin, log, reg)
	if err := admin.Listen(); err != nil {
		return err
	}
	clock := mediaclock.NewMonotonic()
	out, err := device.New(device.Options{Config: s.Device, Clock: clock, Log: log, Registerer: reg})
	if err != nil {
		return err
	}
	speaker, err := loudspeaker.New(loudspeaker.Options{
		Credentials: credentials, Upstreams: s.Upstreams, Dir: s.Store.Dir, Device: out, Version: program.Version(),
		Log: log, Registerer: reg, Clock: clock, StartJitter: startJitter, Beat: admin.AddPulse("the loudspeaker's loop", hangs).Beat,
	})
	if err != nil {
		return err
	}
	admin.AddCheck("loudspeaker", speaker.Ready)
	log.Info("loudspeaker", "node", credentials.Node.ID, "name", credentials.Node.Name, "zone", credentials.Node.Zone,
		"device", s.Device.Kind, "admin", admin.Addr().String(), "version", program.Version())
	notify := health.NewNotifier(os.Getenv, os.Getpid(), admin.Alive, log)
	return together(ctx, notify.Run, speaker.Run, admin.Run)
}

// together runs all until ctx ends or one of them does, and returns after the last has ended.
func together(ctx context.Context, all ...func(context.Context) error) error {
	ctx, end := context.WithCancel(ctx)
	defer end()
	faults := make([]error, len(all))
	var wg sync.WaitGroup
	for i, run := range all {
		wg.Go(func() {
			defer end()
			faults[i] = run(ctx)
		})
	}
	wg.Wait()
	return errors.Join(faults...)
}

// enrol is the command enrol.
func enrol() program.Command {
	return program.Command{Name: "enrol", About: "make this loudspeaker's keys and have them certified", Setup: func(flags *flag.FlagSet) program.Action {
		upstream := flags.String("upstream", "", "`url` of a relay or the streamer: wss://host:port")
		token := flags.String("token", "", "the one-time `token` from: streamer token add --kind client")
		dir := flags.String("dir", defaults().Store.Dir, "`folder` to keep the credentials in: store.dir of the configuration")
		return func(ctx context.Context, std program.IO, _ []string) error {
			if *upstream == "" || *token == "" {
				return program.Usagef("enrol needs --upstream and --token")
			}
			node, err := control.EnrolNode(ctx, *upstream, *token, identity.Client, *dir)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(std.Out, "enrolled as %s (%s) in zone %s; credentials are in %s\n", node.ID, node.Name, node.Zone, *dir)
			return err
		}
	}}
}
