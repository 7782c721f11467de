package device

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"dongthanh/client/internal/alsa"
	"dongthanh/internal/mediaclock"
)

// pcm is what a card uses of *alsa.PCM; tests show it faults that no real one shows on demand.
type pcm interface {
	Configure(rate, channels, buffer, period int) (int, error)
	Write([]int16) (int, error)
	Wait(time.Duration) error
	Status() (alsa.Status, error)
	Start() error
	Restart() error
	Close()
}

// card plays to an ALSA PCM. A PCM that cannot be had, or is lost, is tried again for ever: a loudspeaker outlives a
// sound card that is unplugged for a while. Until then Ready tells why nothing sounds.
type card struct {
	name      string
	buffer    int // frames wished for
	open      func(name string) (pcm, error)
	now       func() mediaclock.Local
	sleep     func(context.Context, mediaclock.Local)
	log       *slog.Logger
	underruns prometheus.Counter

	trouble atomic.Pointer[string] // why nothing can sound; nil if it can
	delay   atomic.Int64           // ns from the newest block's request to its sound

	// By the goroutine that plays only.
	line line
	next int64            // one past the newest sample that was asked for
	told mediaclock.Local // when fill was last called
}

const (
	// retryFirst and retryMost are how long a PCM that cannot be had is left alone, doubled each time.
	retryFirst = 250 * time.Millisecond
	retryMost  = time.Second
	// beat is how often fill is called while nothing can sound, so that time passes all the same.
	beat = 100 * time.Millisecond
	// lastWord is how long a call into libasound may take to come back when the program ends; one that waits for a sound
	// server that hangs never does.
	lastWord = 3 * time.Second
)

// newCard returns a card that is not open yet.
func newCard(o Options, underruns prometheus.Counter) (*card, error) {
	name := o.Config.Path
	if name == "" {
		name = "default"
	}
	c := &card{
		name: name, buffer: int(mediaclock.SamplesIn(o.Config.Buffer)),
		open: func(name string) (pcm, error) { return alsa.Open(name) },
		now:  o.Clock.Now, sleep: timer(o.Clock), log: o.Log.With("card", name), underruns: underruns,
	}
	c.doubt(errors.New("not open yet"))
	err := o.Registerer.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "dongthanh_client_device_delay_seconds",
		Help: "From the request of a block to its sound: the sound card's buffer, and what lies behind it.",
	}, func() float64 { return time.Duration(c.delay.Load()).Seconds() }))
	if err != nil {
		return nil, fmt.Errorf("register metrics of the device: %w", err)
	}
	return c, nil
}

// doubt makes Ready tell err.
func (c *card) doubt(err error) {
	text := fmt.Sprintf("sound card %s: %v", c.name, err)
	c.trouble.Store(&text)
}

// Ready tells why nothing can sound.
func (c *card) Ready() error {
	if text := c.trouble.Load(); text != nil {
		return errors.New(*text)
	}
	return nil
}

// Run plays until ctx ends; a card that fails is tried again and ends nothing.
func (c *card) Run(ctx context.Context, fill func(Block)) error {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		c.run(ctx, fill)
	}()
	<-ctx.Done()
	select {
	case <-ended:
		return nil
	case <-time.After(lastWord): // the only goroutine that nobody can wait for: it is inside libasound
		return fmt.Errorf("close sound card %s: libasound does not come back; a sound server hangs", c.name)
	}
}

func (c *card) run(ctx context.Context, fill func(Block)) {
	runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine, its priority with it
	if !alsa.Urgent() {
		c.log.Info("no right to a higher priority (nice -11): a busy machine may be heard")
	}
	c.line = line{at: c.now(), rate: mediaclock.Rate}
	said := ""
	pause := retryFirst
	for ctx.Err() == nil {
		played, err := c.session(ctx, fill)
		if ctx.Err() != nil {
			return
		}
		if played {
			said, pause = "", retryFirst
		}
		c.doubt(err)
		if text := err.Error(); text != said { // not the same again every few seconds
			said = text
			c.log.Warn("sound card cannot be played to; trying again until it can", "error", err)
		}
		for until := c.now().Add(pause); c.now() < until && ctx.Err() == nil; {
			c.pass(fill)
			c.sleep(ctx, min(until, c.now().Add(beat)))
		}
		pause = min(2*pause, retryMost)
	}
}

// session opens the PCM and plays until ctx ends or something fails that only opening it again may mend. played says
// that something could be heard.
func (c *card) session(ctx context.Context, fill func(Block)) (played bool, err error) {
	p, err := c.open(c.name)
	if err != nil {
		return false, fmt.Errorf("open: %w", plain(err))
	}
	defer p.Close()
	s := stream{card: c, pcm: p, fill: fill, channels: 1}
	s.buffer, err = p.Configure(mediaclock.Rate, 1, c.buffer, c.buffer/4)
	if err != nil { // a card by its hardware name may have no mono
		s.channels = 2
		if s.buffer, err = p.Configure(mediaclock.Rate, 2, c.buffer, c.buffer/4); err != nil {
			return false, fmt.Errorf("%w; plughw: instead of hw: converts what a card cannot do", err)
		}
	}
	if s.buffer < 2*leastBlock {
		return false, fmt.Errorf("a buffer of %d samples is too small", s.buffer)
	}
	for {
		err := s.start(ctx)
		if err != nil || ctx.Err() != nil {
			return played, plain(err)
		}
		if !played {
			c.log.Info("sound card plays", "buffer", mediaclock.Samples(s.buffer).Duration(), "channels", s.channels)
		}
		played = true
		c.trouble.Store(nil)
		err = s.play(ctx)
		if !errors.Is(err, errDry) {
			return true, plain(err)
		}
		c.doubt(err)
		c.underruns.Inc()
		if err := p.Restart(); err != nil {
			return true, plain(err)
		}
	}
}

// pass lets time pass without sound, if fill has not been called for a while.
func (c *card) pass(fill func(Block)) {
	now := c.now()
	if now.Sub(c.told) < beat {
		return
	}
	c.told = now
	b := c.moment(now)
	b.First = max(c.next, b.Played)
	fill(b)
}

// moment returns a block without sound that says what sounds now.
func (c *card) moment(now mediaclock.Local) Block {
	played := int64(math.Floor(c.line.of(now)))
	return Block{Played: played, Now: c.line.when(played)}
}

// plain adds what an errno of libasound means to a technician.
func plain(err error) error {
	for errno, text := range map[syscall.Errno]string{
		syscall.ENOENT:       "there is no such sound card; client devices lists those there are",
		syscall.ENXIO:        "there is no such sound card; client devices lists those there are",
		syscall.ENODEV:       "the sound card is not there, or was unplugged",
		syscall.EBUSY:        "another program has taken the sound card",
		syscall.EACCES:       "this user may not play; add it to the group audio",
		syscall.ECONNREFUSED: "the sound server does not answer",
		syscall.EHOSTDOWN:    "the sound server does not answer",
	} {
		if errors.Is(err, errno) {
			return fmt.Errorf("%s: %w", text, err)
		}
	}
	return err
}
