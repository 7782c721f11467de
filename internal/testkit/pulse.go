package testkit

import (
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// Pulse is a PulseAudio server of its own whose only sink, mono at 48 kHz, goes nowhere, and a recording of what that
// sink plays. The recorder also keeps the sink's pace even: a null sink that nobody hears takes seconds at once.
type Pulse struct {
	tb     testing.TB
	dir    string
	server *exec.Cmd
	parec  *exec.Cmd
	wg     sync.WaitGroup

	mu    sync.Mutex // guards all below
	pcm   []int16
	odd   []byte
	start time.Time // when the first sample sounded, at the latest
}

// NewPulse prepares a server that Start starts. Without PulseAudio the test is skipped, except in CI. Everything ends
// with the test.
func NewPulse(tb testing.TB) *Pulse {
	tb.Helper()
	for _, name := range []string{"pulseaudio", "parec"} {
		if _, err := exec.LookPath(name); err != nil {
			if os.Getenv("CI") != "" {
				tb.Fatalf("%s is needed in CI: %v", name, err)
			}
			tb.Skipf("%s is not installed", name)
		}
	}
	dir, err := os.MkdirTemp("", "pulse") // a socket's path must be short
	if err != nil {
		tb.Fatal(err)
	}
	p := &Pulse{tb: tb, dir: dir}
	tb.Cleanup(func() {
		p.Kill()
		if err := os.RemoveAll(dir); err != nil {
			tb.Error(err)
		}
	})
	return p
}

// Env is what a program needs in its environment to find this server, and no other: NAME, value.
func (p *Pulse) Env() [][2]string {
	return [][2]string{
		{"PULSE_SERVER", "unix:" + p.socket()}, {"XDG_RUNTIME_DIR", p.dir}, {"HOME", p.dir}, {"PULSE_COOKIE", filepath.Join(p.dir, "cookie")},
	}
}

func (p *Pulse) socket() string { return filepath.Join(p.dir, "native") }

// Start starts the server and a new recording, and returns once sound, so far silence, is recorded.
func (p *Pulse) Start() {
	p.tb.Helper()
	p.mu.Lock()
	p.pcm, p.odd, p.start = nil, nil, time.Time{}
	p.mu.Unlock()
	p.server = p.command("pulseaudio", "-n", "--daemonize=no", "--exit-idle-time=-1", "--use-pid-file=no", "--disable-shm=yes",
		"--realtime=no", "--high-priority=yes", // as it is by default
		"-L", "module-native-protocol-unix socket="+p.socket()+" auth-anonymous=1",
		"-L", "module-null-sink sink_name=spk rate=48000 channels=1 format=s16le")
	var log Journal
	p.server.Stderr = &log
	if err := p.server.Start(); err != nil {
		p.tb.Fatal(err)
	}
	p.wait("the server's socket", &log, func() bool { _, err := os.Stat(p.socket()); return err == nil })
	p.parec = p.command("parec", "-d", "spk.monitor", "--latency-msec=10", "--rate=48000", "--channels=1", "--format=s16le", "--raw")
	out, err := p.parec.StdoutPipe()
	if err == nil {
		err = p.parec.Start()
	}
	if err != nil {
		p.tb.Fatal(err)
	}
	p.wg.Go(func() {
		b := make([]byte, 1<<14)
		for {
			n, err := out.Read(b)
			p.take(b[:n], time.Now())
			if err != nil {
				return
			}
		}
	})
	p.wait("a recording", &log, func() bool { return len(p.Heard()) > 4800 })
}

// take appends what was recorded up to a moment.
func (p *Pulse) take(b []byte, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.odd = append(p.odd, b...)
	for ; len(p.odd) > 1; p.odd = p.odd[2:] {
		p.pcm = append(p.pcm, int16(binary.LittleEndian.Uint16(p.odd))) // #nosec G115 -- the bits of a sample
	}
	// The quickest of all reads tells best when the first sample sounded.
	began := now.Add(-time.Duration(len(p.pcm)) * time.Second / 48000)
	if p.start.IsZero() || began.Before(p.start) {
		p.start = began
	}
}

// Heard returns a copy of what was recorded since Start: mono at 48 kHz.
func (p *Pulse) Heard() []int16 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]int16(nil), p.pcm...)
}

// Began returns when the first sample of the recording sounded; it is some milliseconds late, by what lies in pipes.
func (p *Pulse) Began() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.start
}

// Process returns the server's process, for signals.
func (p *Pulse) Process() *os.Process { return p.server.Process }

// Kill ends the server as a crash would, and the recording.
func (p *Pulse) Kill() {
	for _, c := range []*exec.Cmd{p.server, p.parec} {
		if c != nil {
			_ = c.Process.Kill()
		}
	}
	p.wg.Wait()
	for _, c := range []*exec.Cmd{p.server, p.parec} {
		if c != nil {
			_ = c.Wait() // killed
		}
	}
	p.server, p.parec = nil, nil
	_ = os.Remove(p.socket())
}

func (p *Pulse) command(name string, args ...string) *exec.Cmd {
	c := exec.Command(name, args...)
	c.Env = os.Environ()
	for _, e := range p.Env() {
		c.Env = append(c.Env, e[0]+"="+e[1])
	}
	return c
}

func (p *Pulse) wait(what string, log *Journal, cond func() bool) {
	p.tb.Helper()
	for end := time.Now().Add(10 * time.Second); !cond(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			p.tb.Fatalf("waited for %s of PulseAudio, which says:\n%s", what, log)
		}
	}
}
