package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"dongthanh/internal/config"
	"dongthanh/internal/logging"
	"dongthanh/internal/program"
	"dongthanh/internal/signed"
	"dongthanh/streamer/internal/backup"
	"dongthanh/streamer/internal/session"
	"dongthanh/streamer/internal/store"
)

func backupCommand() program.Command {
	return program.Command{Name: "backup", Args: "FILE", About: "write database, keys and settings into one new file; the streamer may be running", Setup: func(flags *flag.FlagSet) program.Action {
		path := flags.String("config", "", "the streamer's configuration `file`")
		audio := flags.Bool("audio", false, "uploaded sound files too")
		recordings := flags.Bool("recordings", false, "recordings of past sessions too")
		secret := flags.String("passphrase-file", "", "seal it with the first line of this `file`")
		return func(ctx context.Context, std program.IO, args []string) error {
			cfg := defaults()
			if err := config.Load(*path, &cfg); err != nil {
				return err
			}
			passphrase, err := passphraseOf(*secret)
			if err != nil {
				return err
			}
			if _, err := os.Stat(filepath.Join(cfg.Store.Dir, store.Database)); err != nil { // opening would make an empty one
				return fmt.Errorf("back up: there is no store: %w", err)
			}
			st, err := store.Open(ctx, cfg.Store.Dir, logging.New(std.Err, slog.LevelWarn))
			if err != nil {
				return err
			}
			err = backup.Write(ctx, backup.Options{
				Dir: cfg.Store.Dir, Store: st, Audio: *audio, Recordings: *recordings, Passphrase: passphrase,
				Version: program.Version(), Now: time.Now,
			}, args[0])
			if err = errors.Join(err, st.Close()); err != nil {
				return err
			}
			if passphrase == "" {
				fmt.Fprintf(std.Err, "WARNING: %s holds the root's key: whoever reads it can speak on every loudspeaker. Keep it locked away, or seal it with --passphrase-file.\n", args[0])
			}
			_, err = fmt.Fprintln(std.Out, args[0])
			return err
		}
	}}
}

func restoreCommand() program.Command {
	return program.Command{Name: "restore", Args: "FILE", About: "make the store, which must be empty, of a backup", Setup: func(flags *flag.FlagSet) program.Action {
		path := flags.String("config", "", "the streamer's configuration `file`")
		secret := flags.String("passphrase-file", "", "open a sealed backup with the first line of this `file`")
		return func(ctx context.Context, std program.IO, args []string) error {
			cfg := defaults()
			if err := config.Load(*path, &cfg); err != nil {
				return err
			}
			passphrase, err := passphraseOf(*secret)
			if err != nil {
				return err
			}
			var classes []string
			for c := signed.ClassNormal; c <= signed.ClassEmergency; c++ {
				classes = append(classes, session.ClassName(c))
			}
			if err := backup.Restore(ctx, args[0], cfg.Store.Dir, passphrase, classes, time.Now()); err != nil {
				return err
			}
			_, err = fmt.Fprintf(std.Out, "restored into %s: start the streamer. Never run the old one beside it. Enrolment tokens not used at the time of the backup are void; people sign in anew.\n", cfg.Store.Dir)
			return err
		}
	}}
}

func passphraseOf(path string) (string, error) {
	if path == "" {
		return "", nil
	}
	return backup.ReadPassphrase(path)
}
