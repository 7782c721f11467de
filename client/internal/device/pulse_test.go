package device

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"dongthanh/internal/mediaclock"
	"dongthanh/internal/testkit"
)

// cycle is how many samples the sound of the child takes to repeat: sample n is 1 + n mod cycle, so that one look at a
// recording tells which sample it is.
const cycle = 30_000

func numbered(n int64) int16 { return int16(1 + n%cycle) }

// child plays numbered samples to the default PCM until it is told to end, and prints what the device claims:
// "first n played now" for each block, and "ready" or the reason why not when it changes.
func child() int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	clock := mediaclock.NewMonotonic()
	reg := prometheus.NewRegistry()
	d, err := New(Options{
		Config: Config{Kind: "alsa", Buffer: Default().Buffer}, Clock: clock,
		Log: slog.New(slog.NewTextHandler(os.Stderr, nil)), Registerer: reg,
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	said := ""
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	err = d.Run(ctx, func(b Block) {
		for i := range b.PCM {
			b.PCM[i] = numbered(b.First + int64(i))
		}
		if len(b.PCM) > 0 {
			fmt.Fprintln(out, b.First, len(b.PCM), b.Played, int64(b.Now))
		}
		state := "ready"
		if err := d.Ready(); err != nil {
			state = err.Error()
		}
		if state != said {
			fmt.Fprintln(out, state)
			said = state
		}
		out.Flush()
	})
	families, _ := reg.Gather()
	for _, f := range families {
		for _, m := range f.GetMetric() {
			fmt.Fprintln(out, f.GetName(), m.GetCounter().GetValue()+m.GetGauge().GetValue())
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// claim is what the device said of one block.
type claim struct{ first, n, played, now int64 }

// player is the child as the test sees it.
type player struct {
	*exec.Cmd
	ended chan struct{}

	mu     sync.Mutex // guards all below
	claims []claim
	states []string

	metrics map[string]float64 // once it has ended
}

func newPlayer(t *testing.T, pulse *testkit.Pulse) *player {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &player{Cmd: exec.Command(self), ended: make(chan struct{}), metrics: map[string]float64{}}
	p.Env = append(os.Environ(), "BE_PLAYER=1")
	for _, e := range pulse.Env() {
		p.Env = append(p.Env, e[0]+"="+e[1])
	}
	p.Stderr = t.Output()
	out, err := p.StdoutPipe()
	if err == nil {
		err = p.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	go p.read(out)
	t.Cleanup(func() {
		_ = p.Process.Kill()
		<-p.ended
		_ = p.Wait()
	})
	return p
}

func (p *player) read(out io.Reader) {
	defer close(p.ended)
	for lines := bufio.NewScanner(out); lines.Scan(); {
		var c claim
		var value float64
		name, rest, _ := strings.Cut(lines.Text(), " ")
		p.mu.Lock()
		if _, err := fmt.Sscan(lines.Text(), &c.first, &c.n, &c.played, &c.now); err == nil {
			p.claims = append(p.claims, c)
		} else if _, err := fmt.Sscan(rest, &value); err == nil {
			p.metrics[name] = value
		} else {
			p.states = append(p.states, lines.Text())
		}
		p.mu.Unlock()
	}
}

// so returns the newest state.
func (p *player) so() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.states) == 0 {
		return ""
	}
	return p.states[len(p.states)-1]
}

// samples returns how many samples were asked for so far.
func (p *player) samples() (n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.claims {
		n += c.n
	}
	return n
}

func (p *player) await(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !cond(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited for %s; the player says %q", what, p.so())
		}
	}
}

// stretch is a part of a recording that is unbroken: recorded sample at+k is the device's sample first+k.
type stretch struct {
	at, n int
	first int64
}

// stretches finds what sounds in a recording that begins with a sample of the block since or a later one; all else must
// be silence. Numbers repeat every 0.6 s, so each stretch is taken to lie where the claims expect it, give or take half
// of that.
func (p *player) stretches(t *testing.T, pcm []int16, since claim) (all []stretch) {
	t.Helper()
	for i := 0; i < len(pcm); {
		if pcm[i] == 0 {
			i++
			continue
		}
		s := stretch{at: i, first: int64(pcm[i] - 1)}
		for i < len(pcm) && pcm[i] == numbered(s.first+int64(i-s.at)) {
			i++
		}
		s.n = i - s.at
		if s.n < leastBlock {
			t.Errorf("%d samples in a row at %d of the recording: sound in pieces", s.n, s.at)
		}
		expected := since.first
		if len(all) > 0 {
			expected = all[0].first + int64(s.at-all[0].at)
		}
		s.first += (expected - s.first + cycle/2) / cycle * cycle
		all = append(all, s)
	}
	if len(all) == 0 {
		t.Fatal("nothing sounds")
	}
	return all
}

// shift returns how much later, in ms, sample n sounded at the recorded sample at than the device claimed, up to the
// constant that nobody knows: when the recording began.
func (p *player) shift(t *testing.T, at int, n int64) float64 {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.claims {
		if n >= c.first && n < c.first+c.n {
			return float64(at)/48 - (float64(c.now)/1e6 + float64(n-c.played)/48)
		}
	}
	t.Fatalf("sample %d sounds, and nobody asked for it", n)
	return 0
}

// truthful checks a recording of one life of the server, whose first sound is of the claims from since on. It returns how
// many breaks it has, and how far, in ms, what sounds lies from what the device said.
func (p *player) truthful(t *testing.T, pulse *testkit.Pulse, since claim) (breaks int, off float64) {
	t.Helper()
	all := p.stretches(t, pulse.Heard(), since)
	low, high := math.Inf(1), math.Inf(-1)
	for _, s := range all {
		begin, end := p.shift(t, s.at, s.first), p.shift(t, s.at+s.n-1, s.first+int64(s.n)-1)
		low, high = min(low, begin, end), max(high, begin, end)
		t.Logf("from %.3f s: %.3f s unbroken, %.3f ms off at its beginning, %.3f ms at its end",
			float64(s.at)/48000, float64(s.n)/48000, begin-low, end-low)
	}
	return len(all) - 1, high - low
}

// next returns the claim that comes next.
func (p *player) next(t *testing.T) claim {
	t.Helper()
	n := len(p.claimed())
	p.await(t, "a block", func() bool { return len(p.claimed()) > n })
	return p.claimed()[n]
}

func (p *player) claimed() []claim {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.claims[:len(p.claims):len(p.claims)]
}

func (p *player) signal(t *testing.T, s os.Signal) {
	t.Helper()
	if err := p.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// TestSoundServer plays to a real sound server and records what it plays: before the server is there, while it runs,
// after the player stood still, and after the server crashed.
func TestSoundServer(t *testing.T) {
	pulse := testkit.NewPulse(t)
	p := newPlayer(t, pulse)
	p.await(t, "a reason why nothing sounds", func() bool { return strings.Contains(p.so(), "open: ") })
	t.Logf("without a server: %s", p.so())
	pulse.Start()
	since := p.next(t)
	p.await(t, "to be ready", func() bool { return p.so() == "ready" })
	p.await(t, "two seconds of sound", func() bool { return p.samples() > 2*48000 })
	p.signal(t, syscall.SIGSTOP)
	stopped := len(pulse.Heard())
	p.await(t, "300 ms to pass", func() bool { return len(pulse.Heard()) > stopped+14400 })
	before := p.samples()
	p.signal(t, syscall.SIGCONT)
	p.await(t, "a second of sound after that", func() bool { return p.samples() > before+48000 })
	breaks, off := p.truthful(t, pulse, since)

	pulse.Kill()
	p.await(t, "the player to find the server gone", func() bool { return p.so() != "ready" })
	t.Logf("after the crash: %s", p.so())
	pulse.Start()
	since = p.next(t)
	p.await(t, "to be ready again", func() bool { return p.so() == "ready" })
	before = p.samples()
	p.await(t, "a second of sound", func() bool { return p.samples() > before+48000 })
	more, again := p.truthful(t, pulse, since)
	breaks, off = breaks+more, max(off, again)
	p.signal(t, syscall.SIGTERM)
	<-p.ended
	dry := p.metrics["dongthanh_client_device_underruns_total"]
	if breaks < 1 || dry < 1 {
		t.Errorf("%g underruns counted, %d breaks heard, want at least one", dry, breaks)
	}
	limit := 1.0
	if dry > 1 { // a machine with much more to do than cores: the server itself is late, and what it says of its delay too
		limit = 100
	}
	if off > limit {
		t.Errorf("what sounds lies up to %.3f ms off what the device said, want at most %g", off, limit)
	}
	// The sink goes by the system's clock, so the crystal that playout is shown should not be far from true.
	early, late := p.claimed()[0], p.claimed()[150]
	skew := float64(late.played-early.played)/(float64(late.now-early.now)/1e9)/48000 - 1
	if t.Logf("the card runs %.0f ppm fast by what is said in the first 1.5 s", skew*1e6); math.Abs(skew) > 500e-6 && dry == 1 {
		t.Errorf("the card runs %.0f ppm fast by what is said, want about 0", skew*1e6)
	}
	var ahead []int64
	for _, c := range p.claimed() {
		ahead = append(ahead, c.first-c.played)
	}
	slices.Sort(ahead)
	if mid := ahead[len(ahead)/2] / 48; mid < 20 || mid > 45 { // a busy machine asks for some late
		t.Errorf("half of the blocks are asked for more than %d ms before they sound, want some 40", mid)
	}
	t.Logf("blocks are asked for %d to %d ms before they sound, half of them %d", ahead[0]/48, ahead[len(ahead)-1]/48, ahead[len(ahead)/2]/48)
}
