package main

import (
	"context"
	"fmt"
	"io"
	"time"
)

// fuzz runs each fuzz target of the module for TIME. What breaks a target stays in its testdata,
// where the next go test runs it.
func fuzz(ctx context.Context, env func(string) string, out io.Writer) (bool, error) {
	each, err := duration(env("TIME"), 30*time.Second)
	if err != nil {
		return false, err
	}
	targets, err := find(ctx, "Fuzz", "")
	if err != nil {
		return false, err
	}
	var failed int
	for _, t := range targets {
		fmt.Fprintf(out, "\n%s of %s for %v\n", t.name, t.pkg, each)
		cmd := command(ctx, "test", "-run", "^$", "-fuzz", "^"+t.name+"$", "-fuzztime", each.String(), t.pkg)
		cmd.Stdout = out
		if err := cmd.Run(); err != nil {
			if ctx.Err() != nil {
				return false, fmt.Errorf("run %s: interrupted", t.name)
			}
			fmt.Fprintf(out, "FAIL\t%s of %s: %v\n", t.name, t.pkg, err)
			failed++
		}
	}
	fmt.Fprintf(out, "\n%d passed, %d failed\n", len(targets)-failed, failed)
	return failed == 0 && len(targets) > 0, nil
}
