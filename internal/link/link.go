// Package link is a node's upstream side: a control connection and a flow of datagrams to each upstream, network time
// from them, and the choice which one is active while the others stand by. Relays, loudspeakers and the swarm use it.
//
// It verifies no media and no signed object: what comes is handed to Options.Events as it is, and package onair judges
// it. What decides (picker, backoff) is pure; here are the loops.
package link

import (
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

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
	Session     func(m control.Session, from int)
	Stop        func(m control.Stop, from int)
	Keys        func(m control.Keys, from int)
	NodeOrder   func(m control.Order, from int)
	Certificate func(m control.Certificate, from int)
	Revoked     func(m control.Revoked, from int)
	Resync      func(from int)                         // send all members again
	EnrolReply  func(m control.EnrolReply, from int)   // to an Enrol that was sent to upstream from
	Joined      func(from int, upstream identity.Node) // a relay sends all its members then

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
	Boot        uint32 // from CountBoot
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
