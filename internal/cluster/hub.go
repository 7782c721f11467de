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
	"net"

	"dongthanh/internal/control"
	"dongthanh/internal/packet"
	"dongthanh/internal/signed"
	"dongthanh/internal/wire"
)

// Transmission is a transmission on air, verified by the owner.
type Transmission struct {
	Cert   signed.SessionCert
	Raw    []byte // the certificate as it was signed
	Issuer []byte // the issuer's certificate, DER
}

// Hub is the downstream side of one node. All methods may be called from any goroutine, before Run and after it too.
type Hub struct {
	options Options
}

// New checks the options, binds the sockets and registers the metrics. Nothing is served before Run.
func New(o Options) (*Hub, error) { return &Hub{options: o}, nil }

// Run serves until ctx ends, then returns after the last goroutine has ended. The sockets are closed.
func (h *Hub) Run(ctx context.Context) error { <-ctx.Done(); return context.Cause(ctx) }

// ControlAddr is where the control port listens; MediaAddr where datagrams do (of the first family).
func (h *Hub) ControlAddr() net.Addr { return nil }

// MediaAddr is the local address of the datagram socket's first family.
func (h *Hub) MediaAddr() net.Addr { return nil }

// Open announces a transmission to the downstreams it is meant for and begins to feed them. Opening it again changes
// nothing; one that was stopped stays closed.
func (h *Hub) Open(t *Transmission) {}

// Media copies a verified packet into the ring and sends it to every active subscriber of its transmission. It
// allocates nothing, takes no lock that control code holds, and keeps nothing of p.
func (h *Hub) Media(p packet.Packet) {}

// Beacon keeps a verified beacon for newcomers and passes its body on, under each flow's own tag, to active and
// standby subscribers. It keeps nothing of b or body and never waits.
func (h *Hub) Beacon(b wire.BeaconBody, body []byte) {}

// Stop passes a verified stop on: by control to all, and ten times in a second as a datagram to the subscribers of
// its transmissions, whose media ends at once.
func (h *Hub) Stop(raw []byte, s signed.Stop, issuer []byte) {}

// Close ends a transmission: nothing of it is kept but the memory of a stop.
func (h *Hub) Close(id packet.TransmissionID) {}

// Deliver passes key envelopes down to the downstream that has their node beneath it. It reports whether there is
// one; otherwise they are dropped, and whoever sent them sends them again when the node appears.
func (h *Hub) Deliver(k control.Keys) bool { return false }

// PathChanged tells the downstreams that Options.Path answers anew.
func (h *Hub) PathChanged() {}

// Members returns everything beneath this node: one entry for each node and the node it is connected to (Via), however
// many routes it is known by.
func (h *Hub) Members() []control.Member { return nil }

// Resync sends the whole picture upwards anew: after a (re)join, or when an upstream asks for it.
func (h *Hub) Resync() {}

// Received counts n datagrams that the node has read from its upstreams.
func (h *Hub) Received(n int) {}

// Dropped counts a datagram that the node dropped before it came to the Hub. reason must be one of a fixed, small
// set: it is a label.
func (h *Hub) Dropped(reason string) {}
