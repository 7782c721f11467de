// Command demo is what make run runs: the whole product on one machine, enrolled for real, with a spoken
// announcement played through the whole tree and a table of what each loudspeaker heard. It then waits until it is
// told to end and leaves no process behind.
package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
)

// marker tells a directory that the demo may wipe from any other.
const marker = ".dongthanh-demo"

// maxSpeakers bounds the processes of one machine; their administration ports lie above 9100.
const maxSpeakers = 400

// userName is the demo's one official.
const userName = "canbo"

// options are make run's variables.
type options struct {
	port     int
	speakers int
	dir      string
	redisURL string
	announce bool
}

func main() {
	o, err := readOptions(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "make run:", err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if err := demo(ctx, o); err != nil && ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, "make run:", err)
		stop()
		os.Exit(1)
	}
}

// readOptions reads the flags and speaks of make run's variables, since those are what people set.
func readOptions(args []string) (options, error) {
	var o options
	within := func(to *int, variable string, most int) func(string) error {
		return func(text string) error {
			n, err := strconv.Atoi(text)
			if err != nil || n < 1 || n > most {
				return fmt.Errorf("%s=%s: want a number from 1 to %d", variable, text, most)
			}
			*to = n
			return nil
		}
	}
	var wrong error // as it was said, without what flag puts around it
	keep := func(set func(string) error) func(string) error {
		return func(text string) error {
			wrong = set(text)
			return wrong
		}
	}
	flags := flag.NewFlagSet("demo", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	o.port, o.speakers, o.announce = 8080, 6, true
	flags.Func("port", "port of the console", keep(within(&o.port, "PORT", 65535)))
	flags.Func("speakers", "number of virtual loudspeakers", keep(within(&o.speakers, "SPEAKERS", maxSpeakers)))
	flags.StringVar(&o.dir, "dir", "var/run-demo", "directory of the demo; wiped at start")
	flags.StringVar(&o.redisURL, "redis-url", "", "redis://…; empty: embedded")
	flags.BoolFunc("announce", "play the announcement", keep(func(text string) (err error) {
		if o.announce, err = strconv.ParseBool(text); err != nil {
			return fmt.Errorf("ANNOUNCE=%s: want 0 or 1", text)
		}
		return nil
	}))
	if err := flags.Parse(args); err != nil {
		return o, cmp.Or(wrong, err)
	}
	return o, nil
}

// demo runs everything until ctx ends or whoever started us is gone.
func demo(ctx context.Context, o options) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	gone := parentGone(ctx)
	go func() { // ends with ctx: parentGone closes or answers
		<-gone
		cancel()
	}()
	parts := plan(o)
	if err := portsFree(parts, o); err != nil {
		return err
	}
	if err := prepare(o.dir); err != nil {
		return err
	}
	procs := newProcesses()
	defer procs.close()
	access, err := bringUp(ctx, procs, parts)
	if err != nil {
		return err
	}
	if err := writeProcesses(procs, o.dir); err != nil {
		return err
	}
	fmt.Printf("make run: streamer, relays and %d loudspeakers are up\n", o.speakers)
	if o.announce {
		fmt.Println("make run: playing the announcement to all of them; it lasts 10 s")
		if err := announce(ctx, access, parts); err != nil {
			return err
		}
	}
	fmt.Printf("READY console=http://localhost:%d user=%s password=%s token=%s dir=%s pid=%d\n",
		o.port, userName, access.password, access.token, o.dir, os.Getpid())
	<-ctx.Done()
	return nil
}

// portsFree finds a port that somebody else has before anything is started.
func portsFree(parts []part, o options) error {
	tcp := []int{o.port, webrtcPort}
	udp := []int{webrtcPort}
	for _, p := range parts {
		tcp = append(tcp, p.Admin)
		if p.Control != 0 {
			tcp, udp = append(tcp, p.Control), append(udp, p.Media)
		}
	}
	if slices.Contains(tcp[1:], o.port) {
		return fmt.Errorf("PORT=%d belongs to another part of the demo: choose another", o.port)
	}
	for _, port := range tcp {
		if err := portFree("127.0.0.1", port); err != nil {
			return busy(port, "TCP", port == o.port, err)
		}
	}
	if err := portFree("::1", o.port); errors.Is(err, syscall.EADDRINUSE) { // a machine may have no IPv6
		return busy(o.port, "TCP", true, err)
	}
	for _, port := range udp {
		c, err := net.ListenPacket("udp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			return busy(port, "UDP", false, err)
		}
		_ = c.Close() // it was only asked for
	}
	return nil
}

func portFree(host string, port int) error {
	l, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(port)))
	if err != nil {
		return err
	}
	return l.Close() // it was only asked for
}

func busy(port int, network string, console bool, err error) error {
	if !errors.Is(err, syscall.EADDRINUSE) {
		return err
	}
	if console {
		return fmt.Errorf("%s port %d is in use: end the program that has it, or choose another with make run PORT=…", network, port)
	}
	return fmt.Errorf("%s port %d is in use: end the program that has it (another make run?)", network, port)
}

// prepare makes the demo's directory anew. It wipes only what a demo made.
func prepare(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if len(entries) > 0 {
		if _, err := os.Stat(filepath.Join(dir, marker)); err != nil {
			return fmt.Errorf("DIR=%s holds something that is not a demo's: choose another or empty it", dir)
		}
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, marker), []byte("make run wipes this directory at start\n"), 0o600)
}

// bringUp enrols and starts every part: the streamer, then each level of the tree below it.
func bringUp(ctx context.Context, procs *processes, parts []part) (access, error) {
	for _, p := range parts {
		if err := p.writeConfig(); err != nil {
			return access{}, err
		}
	}
	streamer := parts[0]
	cli := []string{filepath.Join("bin", "streamer")}
	config := []string{"--config", streamer.config()}
	a := access{port: streamer.Port, password: password()}
	if _, err := run(ctx, "", append(append(cli, "zone", "import", filepath.Join("configs", "demo", "zones.csv")), config...)...); err != nil {
		return a, err
	}
	if err := startAll(ctx, procs, parts[:1]); err != nil {
		return a, err
	}
	if _, err := run(ctx, a.password+"\n", append(append(cli, "user", "add", userName, "--role", "officer", "--zone", "31"), config...)...); err != nil {
		return a, err
	}
	var err error
	if a.token, err = run(ctx, "", append(append(cli, "token", "add", "--kind", "api", "--name", "make run", "--role", "officer", "--zone", "31"), config...)...); err != nil {
		return a, err
	}
	for _, level := range [][]part{parts[1:2], parts[2:4], parts[4:]} {
		if err := enrolAll(ctx, streamer, level); err != nil {
			return a, err
		}
		if err := startAll(ctx, procs, level); err != nil {
			return a, err
		}
	}
	return a, a.waitOnline(ctx, len(parts)-1)
}

// enrolAll enrols parts at their preferred upstream, which forwards the request up the tree.
func enrolAll(ctx context.Context, streamer part, parts []part) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(4)
	for _, p := range parts {
		group.Go(func() error {
			token, err := run(ctx, "", filepath.Join("bin", "streamer"), "token", "add", "--config", streamer.config(),
				"--kind", p.Program, "--name", p.Name, "--zone", p.Zone)
			if err != nil {
				return err
			}
			_, err = run(ctx, "", filepath.Join("bin", p.Program), "enrol",
				"--upstream", fmt.Sprintf("https://127.0.0.1:%d", p.Upstreams[0]), "--token", token, "--dir", p.store())
			return err
		})
	}
	return group.Wait()
}

// startAll starts parts and waits until each is ready.
func startAll(ctx context.Context, procs *processes, parts []part) error {
	var started []*process
	for _, p := range parts {
		r, err := procs.start(p)
		if err != nil {
			return err
		}
		started = append(started, r)
	}
	for _, r := range started {
		if err := r.ready(ctx); err != nil {
			return err
		}
	}
	return nil
}

// writeProcesses tells scripts which process is which.
func writeProcesses(procs *processes, dir string) error {
	type entry struct {
		Name  string   `json:"name"`
		Pid   int      `json:"pid"`
		Admin string   `json:"admin"`
		Args  []string `json:"args"`
	}
	var list []entry
	for _, r := range procs.running {
		list = append(list, entry{r.part.Name, r.cmd.Process.Pid, r.part.admin(), r.part.args()})
	}
	b, err := json.MarshalIndent(list, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "processes.json"), append(b, '\n'), 0o600)
}

// password draws a password that a person can read aloud.
func password() string {
	return strings.ToLower(rand.Text())[:20]
}

// announceWait bounds the announcement, which lasts 10 s.
const announceWait = time.Minute
