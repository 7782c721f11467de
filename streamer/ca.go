package main

import (
	"context"
	"flag"
	"fmt"
	"time"

	"dongthanh/internal/config"
	"dongthanh/internal/program"
	"dongthanh/streamer/internal/webcert"
)

// caCommand tells a technician what officials compare before they install the authority's certificate, and makes the
// authority if the streamer has not run yet.
func caCommand() program.Command {
	return program.Command{Name: "ca", About: "print the https authority's certificate file and its fingerprints", Setup: func(flags *flag.FlagSet) program.Action {
		path := flags.String("config", "", "the streamer's configuration `file`")
		return func(_ context.Context, std program.IO, _ []string) error {
			cfg := defaults()
			if err := config.Load(*path, &cfg); err != nil {
				return err
			}
			if cfg.HTTP.TLS.Cert != "" {
				return fmt.Errorf("http.tls.cert is set: browsers see %s, and no authority of the streamer's own", cfg.HTTP.TLS.Cert)
			}
			a, err := webcert.OpenAuthority(cfg.Store.https(), webcert.Here(cfg.HTTP.TLS.Names), time.Now())
			if err != nil {
				return err
			}
			long, short := webcert.Fingerprints(a.Certificate.Raw)
			_, err = fmt.Fprintf(std.Out, "file     %s\nname     %s\nends     %s\nSHA-256  %s\nSHA-1    %s\n",
				a.Path, a.Certificate.Subject.CommonName, a.Certificate.NotAfter.Format(time.DateOnly), long, short)
			return err
		}
	}}
}
