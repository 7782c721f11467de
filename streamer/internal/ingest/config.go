package ingest

import (
	"net/netip"
	"strconv"

	"dongthanh/internal/config"
)

// Config says where browsers reach the streamer with their microphones.
type Config struct {
	// Listen is the one port of all microphones, as address:port. Without an address it is opened on every address of
	// the machine, loopback included.
	Listen string `yaml:"listen"`
	// PublicIPs are addresses under which the port is reached from outside where the machine does not have them itself
	// (port forwarding, 1:1 NAT). They are offered to browsers beside the machine's own.
	PublicIPs []string `yaml:"public_ips"`
}

// DefaultConfig listens on port 8082 of every address.
func DefaultConfig() Config { return Config{Listen: ":8082"} }

// Validate reports every fault.
func (c Config) Validate() []config.Fault {
	var faults []config.Fault
	if err := config.CheckListen(c.Listen); err != nil {
		faults = append(faults, config.Faultf("listen", "%v", err))
	}
	for i, s := range c.PublicIPs {
		path := "public_ips." + strconv.Itoa(i)
		ip, err := netip.ParseAddr(s)
		switch {
		case err != nil:
			faults = append(faults, config.Faultf(path, "%q is not an IP address", s))
		case ip.IsUnspecified() || ip.IsMulticast() || ip.Zone() != "":
			faults = append(faults, config.Faultf(path, "%q is not an address that a browser could reach", s))
		}
	}
	return faults
}
