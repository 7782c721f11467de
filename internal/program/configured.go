package program

import (
	"context"
	"errors"
	"flag"
	"fmt"

	"dongthanh/internal/config"
)

// Configured returns a command named name with a flag --config, whose run is given the
// configuration: defaults, then the file, then the environment. Without --config there is no file.
func Configured[T any](name, about string, defaults func() T, run func(ctx context.Context, std IO, cfg T) error) Command {
	return Command{Name: name, About: about, Setup: func(flags *flag.FlagSet) Action {
		path := flags.String("config", "", "the configuration `file`; without it the defaults and the environment hold")
		return func(ctx context.Context, std IO, _ []string) error {
			cfg := defaults()
			if err := config.Load(*path, &cfg); err != nil {
				return err
			}
			return run(ctx, std, cfg)
		}
	}}
}

// Check returns the command "check": it reads the same configuration as Configured, prints every
// fault to std.Out, one a line, and ends with ExitUsage if there is one. With --print it shows the
// value of every key, as the file and the environment leave it; with --defaults what a key is when
// neither says anything.
func Check[T any](defaults func() T) Command {
	const about = "read a configuration and print every fault, one a line"
	return Command{Name: "check", About: about, Setup: func(flags *flag.FlagSet) Action {
		path := flags.String("config", "", "the configuration `file`; without it the defaults and the environment hold")
		all := flags.Bool("print", false, "print the value of every key instead of ok")
		bare := flags.Bool("defaults", false, "print every key with its default, and read nothing")
		return func(_ context.Context, std IO, _ []string) error {
			cfg := defaults()
			if *bare {
				return show(std, &cfg)
			}
			err := config.Load(*path, &cfg)
			var faults config.Faults
			if errors.As(err, &faults) {
				for _, f := range faults {
					fmt.Fprintln(std.Out, f)
				}
				return errFaulty
			}
			if err != nil {
				return err
			}
			if !*all {
				fmt.Fprintln(std.Out, "ok")
				return nil
			}
			return show(std, &cfg)
		}
	}}
}

// show prints the value of every key.
func show[T any](std IO, cfg *T) error {
	for _, line := range config.Show(cfg) {
		if _, err := fmt.Fprintln(std.Out, line); err != nil {
			return fmt.Errorf("print configuration: %w", err)
		}
	}
	return nil
}

// errFaulty ends check with ExitUsage; its faults are printed already.
var errFaulty error = config.Faults{}
