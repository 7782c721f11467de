// Package link is a node's upstream side: a control connection and a flow of datagrams to each upstream, network time
// from them, and the choice which one is active while the others stand by. Relays, loudspeakers and the swarm use it.
//
// It verifies no media and no signed object: what comes is handed to Options.Events as it is, and package onair judges
// it. What decides (picker, backoff) is pure; here are the loops.
package link

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"dongthanh/internal/clock"
	"dongthanh/internal/control"
	"dongthanh/internal/identity"
	"dongthanh/internal/mediaclock"
	"dongthanh/internal/wire"
)

// Upstream is where an upstream is reached: an element of `upstreams:`.
type Upstream struct {
	Control string `yaml:"control"` // wss://host:port
	Media   string `yaml:"media"`   // host:port; empty: as the upstream says
}

// Events are what the owner is told. Upstreams are numbered as in Options.Upstreams. Nil functions are left out. None
// may block: those of control messages hold up that upstream's control channel, those of datagrams its sound. Several
// upstreams call at the same time.
type Events struct {
	// Control messages as they came. Nothing in them is verified.
	Session    func(m control.Session, from int)
	Stop       func(m control.Stop, from int)
	Keys       func(m control.Keys, from int)
	Resync     func(from int)                         // send all members again
	EnrolReply func(m control.EnrolReply, from int)   // to an Enrol that was sent to upstream from
	Joined     func(from int, upstream identity.Node) // a relay sends all its members then

	// Path is the hop list of the active upstream, from the streamer down to it, whenever it changed; nil while there
	// is no active upstream.
	Path func(path []string)
	// State tells what State returns, whenever it changed.
	State func(State)

	// Datagrams, on the goroutine that reads that upstream's socket; raw and body are valid until the function returns.
	Media  func(raw []byte, at mediaclock.Local, from int) // first byte that of RTP; its sender's address is the upstream's
	Beacon func(b wire.BeaconBody, body []byte, at mediaclock.Local, from int)
	Order  func(stop []byte, from int) // a STOP datagram: a signed.Stop

	// Positions tells what is on air and where each transmission goes on: one ResumeBody each, From being the highest
	// index accepted plus one. It is asked when another upstream becomes active.
	Positions func() []wire.ResumeBody
}

// Options are what Links need. Credentials, Log and Registerer are required.
type Options struct {
	Upstreams   []Upstream // the first is preferred
	Credentials *identity.Credentials
	Boot        uint32 // from NextBoot
	Version     string // of the software
	Events      Events
	Log         *slog.Logger
	Registerer  prometheus.Registerer
	Prefix      string // of the metrics' names: "dongthanh_relay_" or "dongthanh_client_"
	Clock       mediaclock.Monotonic
	StartJitter time.Duration // the first dial comes after a random part of this: many nodes get their power back at once
}

// UpstreamState is what is known of one upstream.
type UpstreamState struct {
	URL    string
	Node   identity.Node // zero before the first join
	Joined bool          // the control connection stands
	Alive  bool          // and its pongs come
	Fed    bool          // it has a way to the streamer itself
	Active bool
	Path   []string
	RTT    time.Duration // lowest of the last minute
	Fault  string        // why the last attempt failed, one line; empty while joined
}

// State is a picture of all upstreams.
type State struct {
	Active    int // -1: none
	Upstreams []UpstreamState
}

// Links are a node's upstreams. Safe for concurrent use.
type Links struct {
	options Options
}

var errSkeleton = errors.New("not written yet")

// New checks the options and registers the metrics: failovers_total, clock_offset_seconds (how far the offered time is
// from where the active upstream's time is believed to be), clock_error_seconds (bound of its error),
// clock_steps_total, upstreams_joined and upstream_datagrams_rejected_total{reason}, each with the prefix.
func New(o Options) (*Links, error) { return &Links{options: o}, nil }

// Run keeps the connections until ctx ends, and returns after the last goroutine has ended. An upstream that cannot be
// reached is tried for ever.
func (l *Links) Run(ctx context.Context) error { return errSkeleton }

// Now returns network time, the bound of its error, and whether it is known at all.
func (l *Links) Now() (now mediaclock.Instant, errNS uint32, ok bool) { return 0, 0, false }

// Line returns the line by which network time runs now, for whoever converts many moments at once; ok as of Now.
func (l *Links) Line() (n clock.Line, ok bool) { return clock.Line{}, false }

// Signed takes the time of a beacon whose signature held and that came at l: it bounds what an upstream can make of
// network time.
func (l *Links) Signed(at mediaclock.Instant, local mediaclock.Local) {}

// OnAir says whether sound depends on this node: pings come every second instead of every 15 s, and network time is
// slewed instead of stepped.
func (l *Links) OnAir(on bool) {}

// Send queues m to every joined upstream.
func (l *Links) Send(m control.Message) {}

// SendActive queues m to the active upstream and reports whether there is one.
func (l *Links) SendActive(m control.Message) bool { return false }

// SendTo queues m to one upstream and reports whether it is joined.
func (l *Links) SendTo(i int, m control.Message) bool { return false }

// Report sends a signed.Report to the active upstream.
func (l *Links) Report(raw []byte) {}

// Nack asks the active upstream for packets; all: every upstream that answers (a gap of 220 ms or more, a bad tag).
func (l *Links) Nack(n wire.NackBody, all bool) {}

// Resume asks every upstream that answers for all packets of a transmission from an index on: after a gap of three
// packets and 30 ms, or where a certificate came and no packet followed within 150 ms. A standby that delivers while
// the active upstream stays silent becomes active; otherwise it is muted again after a few seconds.
func (l *Links) Resume(r wire.ResumeBody) {}

// State returns a picture of all upstreams.
func (l *Links) State() State { return State{Active: -1} }
