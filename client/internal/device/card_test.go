package device

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"dongthanh/client/internal/alsa"
	"dongthanh/internal/mediaclock"
)

// sim is a sound card in virtual time, with faults that no real one shows on demand. It knows the truth: when each
// frame sounds.
type sim struct {
	t   *testing.T
	now mediaclock.Local

	rate     float64 // frames a second
	behind   int     // frames of latency behind its buffer
	grain    float64 // frames that its pointer moves at once
	stereo   bool    // it has no mono
	silent   bool    // it does not say that it ran dry
	timeless bool    // it takes all at once
	wake     int     // frames that can be written when it wakes who waits; 0: a block
	gone     error   // of every call

	buffer   int
	channels int
	written  int64
	start    mediaclock.Local
	running  bool
	dry      bool

	opened int
	waits  int
	begin  func()
	sound  func(frame int64, at mediaclock.Local, pcm []int16)
}

// played returns how many frames have left the buffer.
func (s *sim) played(t mediaclock.Local) float64 {
	if !s.running {
		return 0
	}
	p := t.Sub(s.start).Seconds() * s.rate
	return math.Floor(p/s.grain) * s.grain
}

// pointer brings the card up to now: it may run dry.
func (s *sim) pointer() {
	for s.running && !s.timeless && s.played(s.now) > float64(s.written) {
		if !s.silent {
			s.running, s.dry = false, true
			return
		}
		s.start = s.start.Add(time.Millisecond) // it makes silence of its own, and all else comes later
	}
}

func (s *sim) avail() int {
	if s.timeless {
		return s.buffer
	}
	return s.buffer - int(float64(s.written)-s.played(s.now))
}

func (s *sim) Configure(rate, channels, buffer, period int) (int, error) {
	if s.stereo && channels != 2 {
		return 0, syscall.EINVAL
	}
	if rate != 48000 || buffer != 1920 || period != 480 {
		s.t.Errorf("wished for %d Hz, %d and %d samples", rate, buffer, period)
	}
	s.buffer, s.channels = buffer, channels
	return buffer, s.Restart()
}

func (s *sim) Restart() error {
	s.written, s.running, s.dry = 0, false, false
	s.begin()
	return s.gone
}

func (s *sim) Start() error {
	s.start, s.running = s.now, true
	return s.gone
}

func (s *sim) Close() {}

func (s *sim) Wait(most time.Duration) error {
	until := s.now.Add(most)
	for s.gone == nil && s.now < until {
		if s.pointer(); s.dry {
			return syscall.EPIPE
		}
		if s.running && s.avail() >= cmp.Or(s.wake, 240) {
			break
		}
		s.now = s.now.Add(100 * time.Microsecond)
	}
	if s.waits++; s.wake > 0 && s.waits > 100_000 {
		s.t.Fatalf("woken %d times in %v", s.waits, time.Duration(s.now))
	} else if s.wake > 0 {
		return s.gone
	}
	s.now = s.now.Add(time.Duration(s.waits*7%13) * 150 * time.Microsecond) // the process comes to its turn a little later
	return s.gone
}

func (s *sim) Status() (alsa.Status, error) {
	s.pointer()
	st := alsa.Status{State: alsa.Prepared, Avail: s.avail()}
	switch {
	case s.dry:
		st.State = alsa.XRun
	case s.running:
		st.State = alsa.Running
		at := s.played(s.now)
		st.Delay = int(math.Round(float64(s.written)-at)) + s.behind
		// The driver stamps the moment at which its pointer moved.
		st.Age = s.now.Sub(s.start.Add(time.Duration(at / s.rate * 1e9)))
	}
	return st, s.gone
}

func (s *sim) Write(frames []int16) (int, error) {
	if s.gone != nil {
		return 0, s.gone
	}
	if s.pointer(); s.dry {
		return 0, syscall.EPIPE
	}
	n := min(len(frames)/s.channels, s.avail())
	if n <= 0 {
		return 0, syscall.EAGAIN
	}
	if s.running && s.sound != nil {
		at := s.start.Add(time.Duration((float64(s.written) + float64(s.behind)) / s.rate * 1e9))
		s.sound(s.written, at, frames[:n*s.channels])
	}
	if !s.timeless {
		s.written += int64(n)
	}
	return n, nil
}

// bench is a card in the simulation, and what becomes of it.
type bench struct {
	*sim
	*card
	log   strings.Builder
	worst float64 // ms: how far what sounded lay from what was said of it
	lies  int     // blocks that lay more than 1 ms off
	asked int64   // samples
	empty int     // blocks without sound
	gaps  []int64 // samples that were left out, at each gap
	last  int64
}

// simulate plays on a simulated card for so long, and holds what it says of its samples to the truth.
func simulate(t *testing.T, s *sim, length time.Duration, at func(b *bench)) *bench {
	t.Helper()
	b := &bench{sim: s}
	s.t, s.grain = t, max(s.grain, 1)
	if s.rate == 0 {
		s.rate = mediaclock.Rate
	}
	ctx, cancel := context.WithCancel(t.Context())
	b.card = &card{
		name: "sim", buffer: 1920, now: func() mediaclock.Local { return s.now },
		sleep:     func(_ context.Context, until mediaclock.Local) { s.now = max(s.now, until); at(b) },
		log:       slog.New(slog.NewTextHandler(&b.log, nil)),
		underruns: prometheus.NewCounter(prometheus.CounterOpts{Name: "underruns"}),
	}
	b.card.open = func(string) (pcm, error) {
		s.opened++
		if s.gone != nil {
			return nil, fmt.Errorf("%w (said so)", s.gone)
		}
		return s, nil
	}
	var current Block
	s.sound = func(_ int64, sounds mediaclock.Local, pcm []int16) {
		if current.PCM == nil {
			return // silence before it is settled
		}
		said := current.Now.Add(time.Duration(float64(current.First-current.Played) / s.rate * 1e9))
		off := math.Abs(sounds.Sub(said).Seconds() * 1e3)
		if b.worst = max(b.worst, off); off > 1 {
			b.lies++
		}
		for i := range pcm {
			if pcm[i] != numbered(current.First+int64(i/s.channels)) {
				t.Fatalf("sample %d of the block from %d is %d on the card", i, current.First, pcm[i])
			}
		}
		current.PCM = nil
	}
	s.begin = func() { current.PCM = nil }
	b.card.run(ctx, func(block Block) {
		if s.now > mediaclock.Local(length) {
			cancel()
		}
		if block.First < b.last {
			t.Fatalf("a block from %d after one up to %d", block.First, b.last)
		}
		if late := s.now.Sub(block.Now); late < 0 || late > time.Millisecond {
			t.Fatalf("Now is %v ago", late)
		}
		at(b)
		if len(block.PCM) == 0 {
			b.empty++
			return
		}
		if b.asked > 0 && block.First > b.last {
			b.gaps = append(b.gaps, block.First-b.last)
		}
		b.last = block.First + int64(len(block.PCM))
		b.asked += int64(len(block.PCM))
		for i := range block.PCM {
			block.PCM[i] = numbered(block.First + int64(i))
		}
		current = block
	})
	return b
}

func quiet(*bench) {}

// TestCardFollows plays on cards with crystals and pointers of several kinds: what is said of each sample is true, and
// the rate is learned.
func TestCardFollows(t *testing.T) {
	for _, tc := range []struct {
		name string
		sim  sim
	}{
		{"true", sim{}},
		{"fast", sim{rate: 48000 * (1 + 300e-6)}},
		{"slow", sim{rate: 48000 * (1 - 300e-6)}},
		{"with a converter behind it", sim{behind: 300}},
		{"whose pointer moves by 5 ms", sim{grain: 240, rate: 48000 * (1 + 100e-6)}},
		{"without mono", sim{stereo: true}},
		{"that wakes us before a block fits", sim{wake: 90}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := simulate(t, &tc.sim, 30*time.Second, quiet)
			if b.worst > 0.3 {
				t.Errorf("samples sound up to %.3f ms off what was said", b.worst)
			}
			if got := b.line.rate/tc.sim.rate - 1; math.Abs(got) > 2e-6 {
				t.Errorf("the rate was learned with an error of %.1f ppm", got*1e6)
			}
			if got := float64(b.asked) / 48000; got < 29.5 || got > 30.1 || len(b.gaps) > 0 || testutil.ToFloat64(b.underruns) > 0 {
				t.Errorf("%.2f s of 30 asked for with %d gaps and %g underruns", got, len(b.gaps), testutil.ToFloat64(b.underruns))
			}
			if err := b.Ready(); err != nil {
				t.Error(err)
			}
		})
	}
}

// once returns a function that acts when the time has come, once.
func once(when time.Duration, act func(b *bench)) func(*bench) {
	done := false
	return func(b *bench) {
		if !done && b.sim.now >= mediaclock.Local(when) {
			done = true
			act(b)
		}
	}
}

// TestCardRunsDry: each way to lose sound is counted once, and after it samples sound when it is said that they do.
func TestCardRunsDry(t *testing.T) {
	for _, tc := range []struct {
		name   string
		sim    sim
		act    func(b *bench)
		missed time.Duration // at least
		lies   int           // blocks at most of which something wrong is said: what was on its way
	}{
		{"the process stood still", sim{rate: 48005}, func(b *bench) { b.sim.now = b.sim.now.Add(300 * time.Millisecond) }, 250 * time.Millisecond, 0},
		{"and the card does not say so", sim{silent: true}, func(b *bench) { b.sim.now = b.sim.now.Add(300 * time.Millisecond) }, 250 * time.Millisecond, 1},
		{"a little late", sim{silent: true}, func(b *bench) { b.sim.now = b.sim.now.Add(42 * time.Millisecond) }, 0, 1},
		{"suspended", sim{}, func(b *bench) { b.sim.running, b.sim.dry = false, true }, 0, 0},
		{"a sound server moved it to another card", sim{}, func(b *bench) { b.behind += 960 }, 0, 12},
	} {
		t.Run(tc.name, func(t *testing.T) {
			late := 0.0
			hit := once(10*time.Second, tc.act)
			forget := once(10400*time.Millisecond, func(b *bench) { late, b.worst = b.worst, 0 })
			b := simulate(t, &tc.sim, 20*time.Second, func(b *bench) { hit(b); forget(b) })
			if got := testutil.ToFloat64(b.underruns); got != 1 || len(b.gaps) != 1 {
				t.Fatalf("%g underruns and gaps of %v samples, want one each:\n%s", got, b.gaps, &b.log)
			}
			if gap := mediaclock.Samples(b.gaps[0]).Duration(); gap < tc.missed || gap > tc.missed+400*time.Millisecond {
				t.Errorf("%v was left out, want little more than %v", gap, tc.missed)
			}
			if late > 25+float64(tc.missed.Milliseconds()) || b.worst > 0.3 { // the block on its way when it happened is off too
				t.Errorf("samples sounded up to %.3f ms off what was said, after it up to %.3f ms", late, b.worst)
			}
			if b.lies > tc.lies {
				t.Errorf("%d blocks were said to sound when they did not, want at most %d", b.lies, tc.lies)
			}
			if b.opened != 1 || b.Ready() != nil {
				t.Errorf("opened %d times, %v", b.opened, b.Ready())
			}
		})
	}
}

// TestCardAway: a card that cannot be had is tried again for ever, time passes meanwhile, and nothing is said twice.
func TestCardAway(t *testing.T) {
	for _, tc := range []struct {
		name     string
		from, to time.Duration
		gone     error
		want     string
	}{
		{"busy at the start", 0, 7 * time.Second, syscall.EBUSY, "another program has taken the sound card"},
		{"unplugged", 5 * time.Second, 12 * time.Second, syscall.ENODEV, "was unplugged"},
		{"driver broken", 5 * time.Second, 12 * time.Second, syscall.EIO, "input/output error"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := &sim{rate: 48000 * (1 + 50e-6)}
			said := ""
			lose := once(tc.from, func(b *bench) { s.gone = tc.gone })
			look := once(tc.to-time.Second, func(b *bench) {
				if err := b.Ready(); err != nil {
					said = err.Error()
				}
				s.gone = nil
			})
			b := simulate(t, s, 20*time.Second, func(b *bench) { lose(b); look(b) })
			if !strings.Contains(said, tc.want) || !strings.HasPrefix(said, "sound card sim: ") {
				t.Errorf("meanwhile not ready for %q, want %q", said, tc.want)
			}
			if err := b.Ready(); err != nil {
				t.Errorf("with the card back: %v", err)
			}
			if away := 20 - float64(b.asked)/48000; away < 5.9 || away > 9.5 {
				t.Errorf("nothing was asked for during %.2f s of 20", away)
			}
			if b.empty < 50 || b.empty > 100 {
				t.Errorf("%d blocks without sound, want ten a second while it was away", b.empty)
			}
			if b.worst > 0.3 {
				t.Errorf("samples sound up to %.3f ms off what was said", b.worst)
			}
			if n := strings.Count(b.log.String(), "level=WARN"); n > 2 {
				t.Errorf("%d warnings:\n%s", n, &b.log)
			}
		})
	}
}

// TestCardThatKeepsNoTime: what takes all at once is no card, and must not take the processor either.
func TestCardThatKeepsNoTime(t *testing.T) {
	b := simulate(t, &sim{timeless: true}, 10*time.Second, quiet)
	if err := b.Ready(); b.asked > 0 || err == nil || !strings.Contains(err.Error(), "faster than it can be heard") {
		t.Errorf("%d samples asked for, %v", b.asked, err)
	}
}

// TestRealNull opens ALSA's own null through libasound: it is there, and keeps no time.
func TestRealNull(t *testing.T) {
	defer goleak.VerifyNone(t)
	clock := mediaclock.NewMonotonic()
	ctx, cancel := context.WithCancel(t.Context())
	d, err := New(Options{
		Config: Config{Kind: "alsa", Path: "null", Buffer: Default().Buffer}, Clock: clock,
		Log: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry(),
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Run(ctx, func(b Block) {
		if len(b.PCM) > 0 {
			t.Error("asked for sound")
		}
		if err := d.Ready(); err != nil && strings.Contains(err.Error(), "faster than it can be heard") || clock.Now() > mediaclock.Local(10*time.Second) {
			cancel()
		}
	}); err != nil {
		t.Error(err)
	}
	if err := d.Ready(); err == nil || !strings.Contains(err.Error(), "faster than it can be heard") {
		t.Errorf("Ready = %v", err)
	}
}
