// Package program is what the three main functions have in common: subcommands with flags, exit
// codes, signals and the version.
//
// It decides nothing about what a command does and logs nothing. Only main functions and the
// packages that hand them their commands import it.
package program

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"dongthanh/internal/config"
	"dongthanh/internal/logging"
)

// The exit codes of every program.
const (
	ExitOK     = 0 // a clean end, also after SIGINT or SIGTERM
	ExitFailed = 1 // a failure at run time
	ExitUsage  = 2 // bad usage or configuration
)

// Program is an executable with subcommands. It adds "version" and "help" by itself.
type Program struct {
	Name     string // as in "streamer"
	About    string // one line for the usage text
	Commands []Command
}

// Command is one subcommand.
type Command struct {
	Name  string // one word or two: "serve", "user add"
	Args  string // a word for each argument that must be given besides flags: "NAME"; often empty
	About string // one line for the usage text
	// Setup declares the command's flags and returns what runs once they are parsed. Flags may
	// stand before, between and after the arguments.
	Setup func(flags *flag.FlagSet) Action
}

// Action does a command's work until it is done or ctx ends. args has as many elements as
// Command.Args has words.
//
// The error decides the exit code: nil, or the cancellation of ctx by a signal, is ExitOK;
// config.Faults and what Usagef returns are ExitUsage; any other is ExitFailed. It is printed to
// std.Err, so an Action that returns an error does not print it.
type Action func(ctx context.Context, std IO, args []string) error

// IO is a command's connection to the terminal. Results go to Out, logs and errors to Err.
type IO struct {
	In  io.Reader
	Out io.Writer
	Err io.Writer
}

// usageError is an error of whoever typed the command.
type usageError struct{ text string }

// Error returns what was wrong with the command line.
func (e *usageError) Error() string { return e.text }

// Usagef returns an error that ends the program with ExitUsage.
func Usagef(format string, args ...any) error {
	return &usageError{fmt.Sprintf(format, args...)}
}

// Main runs the process's command line and exits. SIGINT and SIGTERM end the context; a second one
// ends the process at once, for a shutdown that hangs.
func (p Program) Main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	// Whoever reads standard error may hang, and what is logged beside the sound must not wait for them.
	stderr := logging.NewQueue(os.Stderr)
	code := p.Run(ctx, IO{In: os.Stdin, Out: os.Stdout, Err: stderr}, os.Args[1:])
	stderr.Close(time.Second)
	os.Exit(code)
}

// Run runs the command that args (without the program's name) name, and returns the exit code.
func (p Program) Run(ctx context.Context, std IO, args []string) int {
	all := append(slices.Clone(p.Commands), p.versionCommand())
	if len(args) == 0 {
		fmt.Fprint(std.Err, p.usage(all))
		return ExitUsage
	}
	if args[0] == "help" || args[0] == "-h" || args[0] == "-help" || args[0] == "--help" {
		fmt.Fprint(std.Out, p.usage(all))
		return ExitOK
	}
	command, rest, ok := pick(all, args)
	if !ok {
		fmt.Fprintf(std.Err, "%s: unknown command %q\n\n%s", p.Name, strings.Join(args[:1], " "), p.usage(all))
		return ExitUsage
	}
	flags := flag.NewFlagSet(command.Name, flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	action := command.Setup(flags)
	words, err := parse(flags, rest)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(std.Out, p.commandUsage(command, flags))
		return ExitOK
	case err == nil && len(words) != len(strings.Fields(command.Args)):
		err = fmt.Errorf("got %d arguments, want %d", len(words), len(strings.Fields(command.Args)))
	}
	if err != nil {
		fmt.Fprintf(std.Err, "%s %s: %v\n\n%s", p.Name, command.Name, err, p.commandUsage(command, flags))
		return ExitUsage
	}
	return p.exit(ctx, std, action(ctx, std, words))
}

// exit prints err and returns its exit code.
func (p Program) exit(ctx context.Context, std IO, err error) int {
	var faults config.Faults
	var usage *usageError
	switch {
	case err == nil, ctx.Err() != nil && errors.Is(err, context.Canceled):
		return ExitOK
	case errors.As(err, &faults):
		for _, f := range faults {
			fmt.Fprintln(std.Err, f)
			if f.Excerpt() != "" {
				fmt.Fprintln(std.Err, f.Excerpt())
			}
		}
		return ExitUsage
	case errors.As(err, &usage):
		fmt.Fprintf(std.Err, "%s: %v\n", p.Name, err)
		return ExitUsage
	}
	fmt.Fprintf(std.Err, "%s: %v\n", p.Name, err)
	return ExitFailed
}

// pick returns the command that args begin with, and the arguments that follow its name.
func pick(all []Command, args []string) (Command, []string, bool) {
	for _, c := range all {
		words := strings.Fields(c.Name)
		if len(args) >= len(words) && strings.Join(args[:len(words)], " ") == c.Name {
			return c, args[len(words):], true
		}
	}
	return Command{}, nil, false
}

// parse parses flags wherever they stand in args and returns the other words. Everything after
// "--" is a word.
func parse(flags *flag.FlagSet, args []string) (words []string, err error) {
	for {
		if err := flags.Parse(args); err != nil {
			return nil, err
		}
		rest := flags.Args()
		if len(rest) == 0 {
			return words, nil
		}
		if read := len(args) - len(rest); read > 0 && args[read-1] == "--" {
			return append(words, rest...), nil
		}
		words, args = append(words, rest[0]), rest[1:]
	}
}
