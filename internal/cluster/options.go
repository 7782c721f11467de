package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"dongthanh/internal/control"
	"dongthanh/internal/identity"
	"dongthanh/internal/mediaclock"
	"dongthanh/internal/wire"
)

// Config is the part of a program's configuration that says where its downstreams connect: `nodes:` in
// streamer.yaml and relay.yaml.
type Config struct {
	Control string `yaml:"control"` // TCP address of the control port, such as ":7443"
	Media   string `yaml:"media"`   // UDP address of the datagrams, such as ":7444"; without a host both families
	Public  string `yaml:"public"`  // host or host:port to hand out for datagrams behind NAT; empty: where control came
}

// Validate reports every fault at once.
func (c Config) Validate() error {
	var faults []error
	for _, a := range []struct{ key, value string }{{"control", c.Control}, {"media", c.Media}} {
		if _, port, err := net.SplitHostPort(a.value); err != nil {
			faults = append(faults, fmt.Errorf("nodes.%s: %q is not host:port or :port", a.key, a.value))
		} else if n, err := strconv.ParseUint(port, 10, 16); err != nil {
			faults = append(faults, fmt.Errorf("nodes.%s: port %q is not 0 to 65535", a.key, port))
		} else if n == 0 && c.Public != "" {
			faults = append(faults, fmt.Errorf("nodes.%s: port 0 cannot stand behind a public address", a.key))
		}
	}
	return errors.Join(faults...)
}

// Upward is where the Hub turns towards the streamer: a relay sends on its links, the streamer keeps its picture of
// the nodes. Apart from Enrol the methods are called from one goroutine, in order, and must not block.
type Upward interface {
	// Changes says what changed beneath this node since the last call. With Full set it is the beginning of the
	// whole picture, whose rest may follow in further calls.
	Changes(c control.Changes)
	// Digest sums up everything that Changes has said so far. It comes every 30 s.
	Digest(d control.Digest)
	// Reports passes on signed.Report objects, unaltered and unverified. The callee may keep them.
	Reports(raw [][]byte)
	// Nack asks for packets that a downstream misses and the ring does not hold, or holds in a copy whose tag a
	// loudspeaker found altered (BadTag). It is called from the goroutines that read datagrams, already
	// suppressed: once for all downstreams, and for each packet at most ten times a second.
	Nack(n wire.NackBody)
	// Enrol forwards a request for a certificate; it may take as long as ctx allows.
	Enrol(ctx context.Context, r control.EnrolRequest) (*control.EnrolResponse, error)
}

// Options is what a Hub needs from its owner. All but Prefix and Version are required.
type Options struct {
	Config      Config
	Credentials *identity.Credentials
	Path        func() []string // node ids from the streamer down to this node itself; must not block
	// Clock is network time as this node has it, its estimated error, and whether it has it at all. It is asked
	// right after a ping is read and right before the pong is sent; it must not block.
	Clock      func() (now mediaclock.Instant, errNS uint32, synced bool)
	Up         Upward
	Log        *slog.Logger
	Registerer prometheus.Registerer
	Prefix     string // of the metrics' names; empty: "dongthanh_relay_"
	Version    string // of the software
}
