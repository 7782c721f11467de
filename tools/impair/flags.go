package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// settings are the flags, checked.
type settings struct {
	listen, to string
	seed       uint64
	clients    int
	model      model
}

// maxDelay bounds --delay, --jitter and --queue: what is on its way lies in memory.
const maxDelay = time.Minute

// flags declares the flags so that they fill s.
func flags(s *settings) *flag.FlagSet {
	f := flag.NewFlagSet("impair", flag.ContinueOnError)
	f.SetOutput(io.Discard) // parse returns the error; one line is enough
	f.Usage = func() {}
	m := &s.model
	f.StringVar(&s.listen, "listen", "", "`address` for the clients; name the IP if the machine has several")
	f.StringVar(&s.to, "to", "", "`address` of the upstream")
	f.Uint64Var(&s.seed, "seed", 1, "the `seed` of all random numbers")
	f.IntVar(&s.clients, "clients", 4096, "at most so many client addresses at once; further ones are refused")
	f.Float64Var(&m.loss, "loss", 0, "the `share` of packets to lose, 0 to 1, each by itself unless --burst is given")
	f.DurationVar(&m.burst, "burst", 0, "lose by bad periods of this mean `length` in which nothing passes (Gilbert-Elliott in time)")
	f.DurationVar(&m.delay, "delay", 0, "one-way delay, a `span`")
	f.DurationVar(&m.jitter, "jitter", 0, "mean of an exponential `span` added to the delay; order is kept unless --reorder")
	f.BoolVar(&m.reorder, "reorder", false, "let jitter change the order")
	f.Func("rate", "`bits/s` of each direction, IP and UDP headers included: 64k, 1.5M", func(text string) (err error) {
		m.rate, err = parseRate(text)
		return err
	})
	f.DurationVar(&m.queue, "queue", 200*time.Millisecond, "with --rate, what waits at most, as a `span` of the line's time; then the oldest goes")
	f.Float64Var(&m.duplicate, "dup", 0, "the `share` of packets that arrive twice, 0 to 1")
	f.Float64Var(&m.corrupt, "corrupt", 0, "the `share` of packets in which one bit flips, 0 to 1")
	f.Func("blackhole", "`AT+FOR[/EVERY]` since the start, both directions: 10s+1.5s, 3s+1.5s/6s; may be repeated", func(text string) error {
		h, err := parseHole(text)
		m.holes = append(m.holes, h)
		return err
	})
	return f
}

// usage returns the text of --help.
func usage() string {
	var text strings.Builder
	text.WriteString("impair --listen ADDRESS --to ADDRESS [flags]: a UDP proxy that spoils what passes\n")
	f := flags(&settings{})
	f.SetOutput(&text)
	f.PrintDefaults()
	return text.String()
}

// parse reads the command line. Its error is one line; flag.ErrHelp if help was asked for.
func parse(args []string) (settings, error) {
	var s settings
	f := flags(&s)
	if err := f.Parse(args); err != nil {
		return s, err
	}
	m := s.model
	switch {
	case f.NArg() > 0:
		return s, fmt.Errorf("unexpected argument %q", f.Arg(0))
	case s.listen == "" || s.to == "":
		return s, errors.New("--listen and --to are needed")
	case s.clients < 1:
		return s, fmt.Errorf("--clients %d: want at least 1", s.clients)
	case m.burst != 0 && (m.burst < time.Millisecond || m.burst > time.Hour):
		return s, fmt.Errorf("--burst %v: want 1ms to 1h", m.burst)
	}
	for _, x := range []struct {
		name  string
		share float64
	}{{"loss", m.loss}, {"dup", m.duplicate}, {"corrupt", m.corrupt}} {
		if !(x.share >= 0 && x.share <= 1) { // so that NaN is refused
			return s, fmt.Errorf("--%s %v: want 0 to 1", x.name, x.share)
		}
	}
	for _, x := range []struct {
		name string
		span time.Duration
	}{{"delay", m.delay}, {"jitter", m.jitter}, {"queue", m.queue}} {
		if x.span < 0 || x.span > maxDelay {
			return s, fmt.Errorf("--%s %v: want 0 to %v", x.name, x.span, maxDelay)
		}
	}
	return s, nil
}

// parseRate reads bits per second with an optional k or M.
func parseRate(text string) (float64, error) {
	scale := 1.0
	number := text
	if n, ok := strings.CutSuffix(text, "k"); ok {
		number, scale = n, 1e3
	} else if n, ok := strings.CutSuffix(text, "M"); ok {
		number, scale = n, 1e6
	}
	x, err := strconv.ParseFloat(number, 64)
	if x *= scale; err != nil || !(x >= 1000 && x <= 1e11) {
		return 0, errors.New("want bits a second from 1k to 100000M")
	}
	return x, nil
}

// parseHole reads AT+FOR or AT+FOR/EVERY.
func parseHole(text string) (hole, error) {
	at, rest, ok := strings.Cut(text, "+")
	length, every, again := strings.Cut(rest, "/")
	var h hole
	var errs [3]error
	h.at, errs[0] = time.ParseDuration(at)
	h.length, errs[1] = time.ParseDuration(length)
	if again {
		h.every, errs[2] = time.ParseDuration(every)
	}
	if !ok || errors.Join(errs[:]...) != nil || h.at < 0 || h.length <= 0 || again && h.every <= h.length {
		return hole{}, errors.New("want AT+FOR or AT+FOR/EVERY such as 3s+1.5s/6s, EVERY longer than FOR")
	}
	return h, nil
}
