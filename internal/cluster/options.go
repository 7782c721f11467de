package cluster

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"dongthanh/internal/config"
	"dongthanh/internal/control"
	"dongthanh/internal/identity"
	"dongthanh/internal/mediaclock"
	"dongthanh/internal/udp"
	"dongthanh/internal/wire"
)

// Config is the part of a program's configuration that says where its downstreams connect: `nodes:` in
// streamer.yaml and relay.yaml.
type Config struct {
	Control string `yaml:"control"` // TCP address of the control port, such as ":7443"
	Media   string `yaml:"media"`   // UDP address of the datagrams, such as ":7444"; without a host both families
	Public  string `yaml:"public"`  // host or host:port to hand out for datagrams behind NAT; empty: where control came
}

// Validate returns every fault (config.Validator).
func (c Config) Validate() (faults []config.Fault) {
	if err := config.CheckListen(c.Control); err != nil {
		faults = append(faults, config.Faultf("control", "%v", err))
	}
	if err := config.CheckListen(c.Media); err != nil {
		faults = append(faults, config.Faultf("media", "%v", err))
	}
	if c.Public != "" {
		if err := c.checkPublic(); err != nil {
			faults = append(faults, config.Faultf("public", "%v", err))
		}
	}
	return faults
}

// checkPublic returns what is wrong with the address to hand out.
func (c Config) checkPublic() error {
	if strings.Contains(c.Public, "/") {
		return fmt.Errorf("%q is neither a host nor host:port; leave out what stands before and behind slashes", c.Public)
	}
	address := c.advertised(1)
	if err := config.CheckDial(address); err != nil {
		return err
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		if ip.IsUnspecified() || ip.IsMulticast() || ip.Zone() != "" {
			return fmt.Errorf("%q is not an address that a loudspeaker could reach", host)
		}
		return nil
	}
	if strings.Contains(host, ":") {
		return fmt.Errorf("%q is neither a host nor host:port", c.Public)
	}
	return nil
}

// advertised is the address for datagrams that a Welcome names, where port is the one they really come to. An empty
// host means the control connection's.
func (c Config) advertised(port uint16) string {
	if _, _, err := net.SplitHostPort(c.Public); err == nil {
		return c.Public
	}
	return net.JoinHostPort(strings.Trim(c.Public, "[]"), strconv.Itoa(int(port)))
}

// Upward is where the Hub turns towards the streamer: a relay sends on its links, the streamer keeps its picture of
// the nodes. Apart from Nack and Enrol the methods are called from one goroutine, in order, and none but Enrol may
// block.
type Upward interface {
	// Changes says what changed beneath this node since the last call: at most 128 members, which fit into one
	// message. With Full set it is the beginning of the whole picture, whose rest follows in further calls.
	Changes(c control.Changes)
	// Digest sums up everything that Changes has said so far. It comes every 30 s.
	Digest(d control.Digest)
	// Reports passes on at most 64 signed.Report objects, unaltered and unverified. The callee may keep them.
	Reports(raw [][]byte)
	// Nack asks for packets that a downstream misses and the ring does not hold, or holds in a copy whose tag a
	// loudspeaker found altered (BadTag). It is called from the goroutines that read datagrams, already
	// suppressed: once for all downstreams, and for each packet at most ten times a second.
	Nack(n wire.NackBody)
	// Enrol forwards a request for a certificate; it may take as long as ctx allows. Its error may be a
	// *control.Refused.
	Enrol(ctx context.Context, r control.EnrolRequest) (*control.EnrolResponse, error)
}

// Options is what a Hub needs from its owner. All but Prefix, Revoked and Beat are required.
type Options struct {
	Config      Config
	Credentials *identity.Credentials
	// Path gives the node ids from the streamer down to this node itself; it must not block. Its elements must not
	// change later.
	Path func() []string
	// Clock is network time as this node has it, its estimated error, and whether it has it at all. It is asked
	// right after a ping is read and right before the pong is sent; it must not block.
	Clock      func() (now mediaclock.Instant, errNS uint32, synced bool)
	Up         Upward
	Revoked    func(id string) bool // nodes no longer served: refused, and cut within 5 s; nil: nobody; must not block
	Beat       func()               // called every 100 ms, with no lock held, while the Hub can still come to its turn; may be nil
	Log        *slog.Logger
	Registerer prometheus.Registerer
	Prefix     string // of the metrics' names; empty: "dongthanh_relay_"

	lease udp.Lease // zero: udp.DefaultLease; tests are in more of a hurry
}
