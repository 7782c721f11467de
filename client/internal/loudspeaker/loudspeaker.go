// Package loudspeaker is the client's loops: it joins the upstreams, judges and decrypts what comes from them, hands
// it to playout, lets the device pull, asks for what is missing, and reports what it hears. What sounds when is
// decided in playout, what is on air in onair, which upstream is active in link; here is only what ties them together.
//
// Three sides meet in it, and none waits for another: the goroutines that read datagrams put packets into a bounded
// queue; the device's goroutine, which alone touches playout, empties it at each block; control code leaves orders in
// a mailbox that the device looks into without waiting.
package loudspeaker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"dongthanh/client/internal/amp"
	"dongthanh/client/internal/device"
	"dongthanh/client/internal/playout"
	"dongthanh/internal/control"
	"dongthanh/internal/identity"
	"dongthanh/internal/link"
	"dongthanh/internal/logging"
	"dongthanh/internal/mediaclock"
	"dongthanh/internal/onair"
	"dongthanh/internal/wire"
)

// Options are what a Loudspeaker needs. All but StartJitter and Beat are required.
type Options struct {
	Credentials *identity.Credentials
	Upstreams   []link.Upstream
	Dir         string // where the zone keys and the boot count lie
	Device      device.Device
	Version     string // of the software
	Log         *slog.Logger
	Registerer  prometheus.Registerer
	Clock       mediaclock.Monotonic // the same as the device's
	StartJitter time.Duration        // see link.Options
	Beat        func()               // called every 100 ms while the loop of watch and the device come to their turn; may be nil
}

// upstreams is what is used of *link.Links.
type upstreams interface {
	At(local mediaclock.Local) (now mediaclock.Instant, errNS uint32, ok bool)
	Signed(at mediaclock.Instant, local mediaclock.Local)
	OnAir(on bool)
	Report(raw []byte)
	SendActive(m control.Message) bool
	Nack(n wire.NackBody, all bool)
	Resume(r wire.ResumeBody)
	State() link.State
	SetCredentials(c *identity.Credentials)
}

// Loudspeaker is one loudspeaker. Make it with New, run it once.
type Loudspeaker struct {
	options Options
	log     *slog.Logger
	boot    uint32
	wallet  *identity.Wallet
	trust   *identity.Trust
	ring    *identity.Keyring
	table   *onair.Table
	links   upstreams
	run     func(context.Context) error // of links

	// The path of a packet.
	entries  atomic.Pointer[map[uint32]*entry] // by SSRC; published whole, a published map never changes
	queue    *queue
	refused  *logging.Dumper // objects that are not accepted
	rejected [reasons]atomic.Uint64

	// From control code to the device.
	mail   mailbox
	rtt    atomic.Int64 // round trip to the active upstream in ns
	volume atomic.Int32 // hundredths of a decibel
	tone   atomic.Int64 // ns of test tone to begin; 0: none was ordered

	// The device's side; touched by its goroutine only.
	player  *playout.Player
	amp     *amp.Amp
	playing []*entry
	blocks  uint64
	told    []glimpse

	// From the device to the rest.
	frames  [4]atomic.Uint64 // played, repaired, concealed, late
	delay   atomic.Int64     // ns, of what sounds or sounded last
	fault   atomic.Int64     // ns
	stretch atomic.Uint64    // bits of a float64
	filled  atomic.Int64     // mediaclock.Local of the newest block with sound
	asked   atomic.Int64     // the same of any block
	asks    chan ask
	picture picture
	changed chan struct{} // capacity 1: somebody started or ceased to sound

	letters chan control.Message // keys and certificates
	orders  *orders
	untold  atomic.Bool // the streamer is to be told how this loudspeaker is set

	mu     sync.Mutex // guards all below
	onAir  map[*onair.Transmission]*entry
	number uint64 // of the next report; by the goroutine of Run only
}

// New checks the options, counts the start, and registers the metrics.
func New(o Options) (*Loudspeaker, error) {
	l, err := newLoudspeaker(o)
	if err != nil {
		return nil, err
	}
	links, err := link.New(link.Options{
		Upstreams: o.Upstreams, Credentials: o.Credentials, Boot: l.boot, Version: o.Version,
		Events: link.Events{
			Session: l.session, Stop: l.stop, Keys: l.zoneKeys, Certificate: l.certificate, NodeOrder: l.orders.put,
			Joined: func(int, identity.Node) { l.untold.Store(true) },
			Media:  l.media, Beacon: l.beacon, Order: l.order, Positions: l.positions,
		},
		Log: o.Log, Registerer: o.Registerer, Prefix: "dongthanh_client_", Clock: o.Clock, StartJitter: o.StartJitter,
	})
	if err != nil {
		return nil, fmt.Errorf("prepare upstreams: %w", err)
	}
	l.links, l.run = links, links.Run
	return l, nil
}

// newLoudspeaker is New without the links.
func newLoudspeaker(o Options) (*Loudspeaker, error) {
	if err := identity.MakeDir(o.Dir); err != nil {
		return nil, fmt.Errorf("prepare folder %s: %w", o.Dir, err)
	}
	boot := link.CountBoot(o.Dir, time.Now(), o.Log)
	ring, err := identity.OpenKeyring(o.Dir, o.Credentials)
	if err != nil {
		return nil, err
	}
	kept := openSettings(o.Dir, o.Credentials.Node.ID, o.Log)
	l := &Loudspeaker{
		options: o, log: o.Log, boot: boot, ring: ring, wallet: identity.NewWallet(o.Dir, o.Credentials),
		queue:   newQueue(),
		refused: logging.NewDumper(o.Log, "signed objects refused", time.Now),
		player:  playout.New(),
		amp:     amp.New(kept.Volume),
		asks:    make(chan ask, 64),
		changed: make(chan struct{}, 1),
		letters: make(chan control.Message, 16),
		onAir:   map[*onair.Transmission]*entry{},
		number:  uint64(boot) << 40,
	}
	l.trust = identity.NewTrust(o.Credentials.Roots, l.time)
	l.table = onair.New(onair.Options{Trust: l.trust, Upstreams: len(o.Upstreams)})
	l.entries.Store(&map[uint32]*entry{})
	l.volume.Store(kept.Volume)
	if l.orders, err = newOrders(kept, o.Registerer); err != nil {
		return nil, err
	}
	if err := l.newMetrics(o.Registerer); err != nil {
		return nil, err
	}
	return l, nil
}

// time is what certificates are judged by: network time, or the wall clock before there is any.
func (l *Loudspeaker) time() time.Time {
	if l.links != nil {
		if now, _, ok := l.links.At(l.options.Clock.Now()); ok {
			return now.Time()
		}
	}
	return l.options.Credentials.Time()
}

// node is who this loudspeaker is now.
func (l *Loudspeaker) node() identity.Node { return l.wallet.Credentials().Node }

// now is the moment at as the table wants it.
func (l *Loudspeaker) now(at mediaclock.Local) onair.Now {
	n, _, ok := l.links.At(at)
	return onair.Now{Local: at, Network: n, Synced: ok}
}

// Run plays until ctx ends, and returns after everything it started has ended. It returns nil, or what made the device
// fail.
func (l *Loudspeaker) Run(ctx context.Context) error {
	defer l.refused.Stop()
	outer := ctx
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := l.options.Device.Run(ctx, l.fill); err != nil {
			end(err)
			return
		}
		end(errors.New("the device ended"))
	})
	wg.Go(func() { end(l.run(ctx)) })
	wg.Go(func() { l.ask(ctx) })
	wg.Go(func() { l.takeLetters(ctx) })
	wg.Go(func() { l.takeOrders(ctx) })
	l.watch(ctx)
	wg.Wait()
	if outer.Err() != nil {
		return nil
	}
	return context.Cause(ctx)
}

// Ready tells why the loudspeaker could not sound now, nil if it could.
func (l *Loudspeaker) Ready(context.Context) error {
	now := l.options.Clock.Now()
	if err := l.options.Device.Ready(); err != nil {
		return err
	}
	if l.stalled(now) {
		return errors.New("the device does not ask for sound")
	}
	if l.links.State().Active < 0 {
		return errors.New("no upstream is joined")
	}
	if _, _, ok := l.links.At(now); !ok {
		return errors.New("network time is not known")
	}
	return nil
}

// stalled reports that the device has not asked for sound for a while: nothing can be heard.
func (l *Loudspeaker) stalled(now mediaclock.Local) bool {
	last := mediaclock.Local(l.filled.Load())
	return last == 0 || now.Sub(last) > time.Second
}

// ask sends requests for missing packets, so that the device never waits for a socket.
func (l *Loudspeaker) ask(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case a := <-l.asks:
			if a.resume {
				l.links.Resume(wire.ResumeBody{SSRC: a.nack.SSRC, From: a.nack.Base})
			} else {
				l.links.Nack(a.nack, a.all)
			}
		}
	}
}

// ask is what an upstream is to be asked for: a NACK, or a RESUME from nack.Base on.
type ask struct {
	nack   wire.NackBody
	all    bool
	resume bool
}
