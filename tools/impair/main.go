// Command impair stands between UDP clients and one upstream and spoils what passes, in both
// directions alike: loss, bursts of loss, delay, jitter, a narrow line, copies, flipped bits, black
// holes. It is for tests and benchmarks, knows nothing of what it carries, and is not part of the
// product.
//
//	impair --listen 127.0.0.1:7600 --to 127.0.0.1:7544 --loss 0.2 --burst 80ms --delay 30ms --jitter 5ms --seed 1
//
// Each direction is one line that all clients share, with random numbers of its own drawn from the
// seed: packets that come at the same times meet the same fate. A client's address has a socket of
// its own towards the upstream, like behind a NAT, and is forgotten after 60 s of silence.
//
// Once a second and at the end it prints a JSON line with counts since the start; "late" are those
// sent more than 1 ms after their time, and so says how far the tool itself can be believed. It exits
// 0 after SIGINT or SIGTERM, 1 if it fails, 2 if its flags are wrong.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run runs the proxy until ctx ends and returns the exit code.
func run(ctx context.Context, args []string, out, errs io.Writer) int {
	s, err := parse(args)
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprint(out, usage())
		return 0
	}
	if err != nil {
		fmt.Fprintf(errs, "impair: %v\n", err)
		return 2
	}
	p, err := open(ctx, s)
	if err != nil {
		fmt.Fprintf(errs, "impair: %v\n", err)
		return 1
	}
	fmt.Fprintf(errs, "impair: listening on %v for %v\n", p.addr(), p.to)
	if err := p.run(ctx, out, errs); err != nil {
		fmt.Fprintf(errs, "impair: %v\n", err)
		return 1
	}
	return 0
}
