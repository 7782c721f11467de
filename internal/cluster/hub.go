// Package cluster is the downstream side of a node: whom it feeds and what it knows of everything beneath it. The
// streamer and each relay run one Hub. It accepts control connections, binds each node's datagrams to its address,
// copies verified media to those whose loudspeakers a transmission is meant for, answers NACK and RESUME from the
// ring, passes beacons, stops and keys down and membership and reports up.
//
// It verifies no media and holds no media key: its owner hands it only what has been verified. What decides is in
// packages udp, fanout and topology; here are the loops.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"dongthanh/internal/control"
	"dongthanh/internal/fanout"
	"dongthanh/internal/identity"
	"dongthanh/internal/logging"
	"dongthanh/internal/mediaclock"
	"dongthanh/internal/packet"
	"dongthanh/internal/topology"
	"dongthanh/internal/udp"
)

// Hub is the downstream side of one node. All methods may be called from any goroutine, before Run and after it too.
type Hub struct {
	o       Options
	self    identity.Node
	clock   mediaclock.Monotonic
	m       *metrics
	faults  *logging.Dumper // of the sockets
	server  *control.Server
	socket  atomic.Pointer[udp.Socket] // nil before Bind
	engine  atomic.Pointer[fanout.Engine]
	streams atomic.Pointer[map[uint32]*stream] // by SSRC; copied on write, for the media path

	wake    chan struct{}   // holds one: the publisher has work
	letters chan letter     // to the courier
	tasks   sync.WaitGroup  // goroutines that answer one message
	running context.Context // Run's; the accept goroutines live no longer

	mu      sync.Mutex // guards all below; the media path never takes it
	flows   *udp.Flows[*downstream]
	live    map[string]*downstream   // with a control connection, by node id
	orphans map[*downstream]struct{} // without one, but their datagrams still come
	picture *topology.Picture
	open    map[packet.TransmissionID]*stream
	stops   []*order     // oldest first
	revoked []Revocation // oldest first
	news    []errand     // for the publisher
	reports [][]byte     // to go up
	bound   int          // flows with a proved address
}

// Bounds of queues and tables. What is lost when one is full stands where it is filled.
const (
	maxDownstreams = 20_000 // connected to one node; 2.5 MB of addresses
	maxStreams     = 1024   // open at once: each commune of a province at five in the morning, and room
	maxErrands     = 8192
	maxLetters     = 256
	maxReports     = 4096
	maxStops       = 256
)

// New checks the options and registers the metrics: packets_received_total, packets_sent_total,
// packets_dropped_total{reason}, subscribers and retransmissions_total, with the prefix.
func New(o Options) (*Hub, error) {
	if o.Prefix == "" {
		o.Prefix = "dongthanh_relay_"
	}
	if o.lease == (udp.Lease{}) {
		o.lease = udp.DefaultLease()
	}
	m, err := newMetrics(o.Prefix, o.Registerer)
	if err != nil {
		return nil, err
	}
	h := &Hub{
		o: o, self: o.Credentials.Node, clock: mediaclock.NewMonotonic(), m: m,
		faults: logging.NewDumper(o.Log, "datagrams not read or sent", time.Now),
		wake:   make(chan struct{}, 1), letters: make(chan letter, maxLetters),
		flows: udp.NewFlows[*downstream](newCookie),
		live:  map[string]*downstream{}, orphans: map[*downstream]struct{}{},
		picture: topology.NewPicture(), open: map[packet.TransmissionID]*stream{},
	}
	h.streams.Store(&map[uint32]*stream{})
	h.server, err = control.NewServer(control.ServerOptions{
		Listen: o.Config.Control, Key: "nodes.control", Credentials: o.Credentials,
		Accept: h.accept, Enroller: o.Up, Revoked: o.Revoked,
		Log: o.Log, Registerer: o.Registerer, Prefix: o.Prefix,
	})
	if err != nil {
		return nil, fmt.Errorf("make control port: %w", err)
	}
	return h, nil
}

// Bind opens the two ports, so that their addresses are known before Run. Run binds if Bind was not called.
func (h *Hub) Bind(ctx context.Context) error {
	if h.socket.Load() != nil {
		return nil
	}
	s, err := udp.Listen(ctx, h.o.Config.Media)
	if err != nil {
		return fmt.Errorf("nodes.media: %w", err)
	}
	if err := h.server.Bind(ctx); err != nil {
		_ = s.Close()
		return err
	}
	var e fanout.Engine = fanout.NewPortable(s)
	h.engine.Store(&e)
	h.socket.Store(s)
	return nil
}

// ControlAddr is where the control port listens; the zero value before Bind.
func (h *Hub) ControlAddr() netip.AddrPort {
	if h.socket.Load() == nil {
		return netip.AddrPort{}
	}
	return h.server.Addr()
}

// MediaAddr is where datagrams are read, of the first family; the zero value before Bind.
func (h *Hub) MediaAddr() netip.AddrPort {
	if s := h.socket.Load(); s != nil {
		return s.Addr()
	}
	return netip.AddrPort{}
}

// Run serves until ctx ends or a part fails, and returns after the last goroutine has ended, the ports closed. The
// error is why it ended: context.Cause of ctx, or the part's. It can be called once.
func (h *Hub) Run(ctx context.Context) error {
	if err := h.Bind(ctx); err != nil {
		return err
	}
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	h.running = ctx
	socket := h.socket.Load()
	h.o.Log.Info("feeding downstreams", slog.String("control", h.ControlAddr().String()),
		slog.String("media", h.MediaAddr().String()), slog.String("engine", (*h.engine.Load()).Name()))

	var wg sync.WaitGroup
	run := func(part string, f func(context.Context) error) {
		wg.Go(func() {
			if err := f(ctx); err != nil && ctx.Err() == nil {
				end(fmt.Errorf("%s: %w", part, err))
			} else {
				end(nil)
			}
		})
	}
	run("control port", h.server.Run)
	for family := range socket.Families() {
		run("read datagrams", func(context.Context) error { return h.read(socket, family) })
	}
	run("publish", h.publisher)
	run("carry", h.courier)
	run("keep", h.keeper)
	<-ctx.Done()
	err := socket.Close() // frees the blocked reads
	wg.Wait()
	h.tasks.Wait()
	h.faults.Stop()
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		return cause
	}
	if err != nil {
		return fmt.Errorf("close datagram sockets: %w", err)
	}
	return context.Cause(ctx)
}

// Received counts n datagrams that the node has read from its upstreams.
func (h *Hub) Received(n int) { h.m.received.Add(float64(n)) }

// Dropped counts a datagram that the node dropped before it came to the Hub. reason must be one of a fixed, small
// set: it is a label.
func (h *Hub) Dropped(reason string) { h.m.dropped.WithLabelValues(reason).Inc() }

// poke wakes the publisher.
func (h *Hub) poke() {
	select {
	case h.wake <- struct{}{}:
	default: // it is awake already, and will see what is new
	}
}
