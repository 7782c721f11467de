// Package node is a relay: it joins its upstreams, checks the signature of each media packet once, and feeds the nodes
// beneath it; it passes orders down and membership and reports up. It holds no media key and needs no cgo. Only the
// relay's main and its tests use it.
package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"dongthanh/internal/cluster"
	"dongthanh/internal/control"
	"dongthanh/internal/health"
	"dongthanh/internal/identity"
	"dongthanh/internal/link"
	"dongthanh/internal/logging"
	"dongthanh/internal/mediaclock"
	"dongthanh/internal/onair"
)

// hangs is how long a loop may not come to its turn before the relay counts as hung, so that a watchdog starts it anew: far
// longer than a busy machine needs.
const hangs = 10 * time.Second

const metricsPrefix = "dongthanh_relay_"

// Node is one relay. Make it with New, then Run it once.
type Node struct {
	log      *slog.Logger
	self     identity.Node // its id never changes; zone and name are the wallet's
	wallet   *identity.Wallet
	trust    *identity.Trust
	outcasts *outcasts
	letters  chan letter
	mono     mediaclock.Monotonic
	hub      *cluster.Hub
	links    *link.Links
	pulse    *health.Pulse // of keep
	admin    *health.Server
	table    *onair.Table
	refused  *logging.Dumper // signed objects that were not accepted
	path     atomic.Pointer[[]string]
	repairs  atomic.Pointer[map[uint32]*repairs] // by SSRC; copied on write, for the media path
	onAir    chan struct{}                       // capacity 1: look whether something is on air

	mu      sync.Mutex // guards all below
	enrols  map[uint64]enrolment
	nextRef uint64
	joined  chan struct{} // closed and replaced at each change of the upstreams
}

// New builds a relay from its configuration: it reads the store, counts the start, and checks everything that can be
// checked before a port is bound. A relay that is not enrolled is identity.ErrNotEnrolled.
func New(cfg Config, version string, log *slog.Logger, reg *prometheus.Registry) (*Node, error) {
	creds, err := identity.Load(cfg.Store.Dir)
	if err != nil {
		return nil, fmt.Errorf("store.dir: %w", err)
	}
	if creds.Node.Kind != identity.Relay {
		return nil, fmt.Errorf("store.dir %s: these are the credentials of a %s, not of a relay", cfg.Store.Dir, creds.Node.Kind)
	}
	boot := link.CountBoot(cfg.Store.Dir, time.Now(), log)
	n := &Node{
		log: log, self: creds.Node, mono: mediaclock.NewMonotonic(),
		refused: logging.NewDumper(log, "signed objects not accepted", time.Now),
		onAir:   make(chan struct{}, 1), enrols: map[uint64]enrolment{}, joined: make(chan struct{}),
		wallet: identity.NewWallet(cfg.Store.Dir, creds), letters: make(chan letter, 16),
	}
	n.trust = identity.NewTrust(creds.Roots, n.time)
	if n.outcasts, err = openOutcasts(cfg.Store.Dir, creds.Roots); err != nil {
		log.Error("the upstream will tell them again", "error", err)
	}
	n.admin = health.New(cfg.Admin, n.log, reg)
	n.admin.AddCheck("upstream", n.ready)
	n.pulse = n.admin.AddPulse("the loop of repairs", hangs)
	n.setPath(nil)
	n.repairs.Store(&map[uint32]*repairs{})
	n.table = onair.New(onair.Options{
		Trust: n.trust, Upstreams: len(cfg.Upstreams), Clear: true, Opening: n.opening,
	})
	n.hub, err = cluster.New(cluster.Options{
		Config: cfg.Nodes, Credentials: creds, Path: func() []string { return *n.path.Load() }, Clock: n.clock,
		Up: upward{n}, Revoked: n.outcasts.has, Beat: n.admin.AddPulse("the fan-out", hangs).Beat, Log: n.log, Registerer: reg, Prefix: metricsPrefix,
	})
	if err != nil {
		return nil, err
	}
	n.hub.Revoke(n.outcasts.list())
	n.links, err = link.New(link.Options{
		Upstreams: cfg.Upstreams, Credentials: creds, Boot: boot, Version: version, Events: n.events(),
		Log: n.log, Registerer: reg, Prefix: metricsPrefix, Clock: n.mono,
	})
	if err != nil {
		return nil, err
	}
	if err := n.register(reg); err != nil {
		return nil, err
	}
	return n, nil
}

// Bind opens every port, so that one in use ends the program before anything else happens. Run does it otherwise.
func (n *Node) Bind(ctx context.Context) error {
	if err := n.admin.Listen(); err != nil {
		return err
	}
	return n.hub.Bind(ctx)
}

// ControlAddr is where downstreams join, once Bind has returned.
func (n *Node) ControlAddr() netip.AddrPort { return n.hub.ControlAddr() }

// Run relays until ctx ends, then returns after the last goroutine has ended. The error is why: the cause of ctx, or
// what failed.
func (n *Node) Run(ctx context.Context) error {
	if err := n.Bind(ctx); err != nil {
		return err
	}
	n.log.Info("relay runs", "node", n.self.ID, "name", n.self.Name, "zone", string(n.self.Zone), "admin", n.admin.Addr().String())
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	var wg sync.WaitGroup
	notify := health.NewNotifier(os.Getenv, os.Getpid(), n.admin.Alive, n.log)
	for _, part := range []func(context.Context) error{notify.Run, n.hub.Run, n.links.Run, n.admin.Run, n.keep, n.takeTrust} {
		wg.Go(func() { end(part(ctx)) })
	}
	wg.Wait()
	n.refused.Stop()
	n.log.Info("relay ended", "cause", context.Cause(ctx))
	return context.Cause(ctx)
}

// now is this moment as package onair wants it.
func (n *Node) now(l mediaclock.Local) onair.Now {
	at, _, ok := n.links.At(l)
	return onair.Now{Local: l, Network: at, Synced: ok}
}

// clock is the network time that is offered to downstreams.
func (n *Node) clock() (mediaclock.Instant, uint32, bool) { return n.links.Now() }

// time is what certificates are judged by: network time, or the machine's as long as there is none.
func (n *Node) time() time.Time {
	if at, _, ok := n.links.Now(); ok {
		return at.Time()
	}
	return time.Now()
}

// setPath takes the hop list of the active upstream and appends this node.
func (n *Node) setPath(upstream []string) {
	path := append(append([]string(nil), upstream...), n.self.ID)
	n.path.Store(&path)
}

// ready says why this relay cannot do its work; it serves its downstreams nonetheless.
func (n *Node) ready(context.Context) error {
	s := n.links.State()
	if s.Active < 0 {
		var faults []error
		for _, u := range s.Upstreams {
			faults = append(faults, fmt.Errorf("%s: %s", u.URL, orElse(u.Fault, "not joined yet")))
		}
		return fmt.Errorf("none is joined; downstreams are still served: %w", errors.Join(faults...))
	}
	if !s.Upstreams[s.Active].Fed {
		return errors.New("the active one has no way to the streamer")
	}
	if _, _, ok := n.links.Now(); !ok {
		return errors.New("network time is not known yet")
	}
	return nil
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// register exports what nobody else does.
func (n *Node) register(reg prometheus.Registerer) error {
	for _, c := range []prometheus.Collector{
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: metricsPrefix + "transmissions", Help: "Transmissions on air at this relay.",
		}, func() float64 { return float64(len(n.table.OnAir())) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: metricsPrefix + "beacons_rejected_total", Help: "Beacons whose signature did not hold.",
		}, func() float64 { return float64(n.table.BadBeacons()) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: metricsPrefix + "objects_rejected_total", Help: "Certificates and stops from control that were not accepted.",
		}, func() float64 { return float64(n.refused.Total()) }),
	} {
		if err := reg.Register(c); err != nil {
			return fmt.Errorf("register metrics of the relay: %w", err)
		}
	}
	return nil
}

// joinedAgain wakes those who wait for an upstream.
func (n *Node) joinedAgain() {
	n.mu.Lock()
	defer n.mu.Unlock()
	close(n.joined)
	n.joined = make(chan struct{})
}

var _ cluster.Upward = upward{}
var _ control.Enroller = upward{}
