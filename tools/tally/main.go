// Command tally runs the Go tests, fuzz targets, soak tests and benchmarks of this module for make,
// and closes with an honest count. It decides nothing about what a test does, and is not part of
// the product.
//
//	tally test          go vet, all tests with -race, allocation tests once more without
//	tally fuzz          each fuzz target for TIME (30s)
//	tally soak          the tests named TestSoak… with SOAK set to TIME (10m)
//	tally bench         benchmarks named NAME (all), in the form that INTERFACES names; FAST=1 is short
//
// Its settings come from the environment, as make exports them. It exits 0 if all passed, 1 if not.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:], os.Getenv, os.Stdout))
}

// run runs one mode and returns the exit code.
func run(ctx context.Context, args []string, env func(string) string, out io.Writer) int {
	modes := map[string]func(context.Context, func(string) string, io.Writer) (bool, error){
		"test": test, "fuzz": fuzz, "soak": soak, "bench": bench,
	}
	if len(args) != 1 || modes[args[0]] == nil {
		fmt.Fprintln(os.Stderr, "usage: tally test|fuzz|soak|bench")
		return 2
	}
	ok, err := modes[args[0]](ctx, env, out)
	switch {
	case err != nil:
		fmt.Fprintf(os.Stderr, "tally %s: %v\n", args[0], err)
		return 1
	case !ok:
		return 1
	}
	return 0
}

// command returns a go command that a signal interrupts rather than kills, so that the tests can
// clean up what they started.
func command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Stderr = os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 20 * time.Second
	return cmd
}

// duration returns the duration in text, or standard if text is empty.
func duration(text string, standard time.Duration) (time.Duration, error) {
	if text == "" {
		return standard, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 {
		return 0, fmt.Errorf("TIME=%s is not a span of time such as 30s or 10m", text)
	}
	return d, nil
}
