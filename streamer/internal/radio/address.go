package radio

import (
	"net/netip"
	"slices"

	"dongthanh/internal/config"
)

// Config says what may be rebroadcast.
type Config struct {
	// Allow are networks (CIDR) that addresses may lead to although they are not public: a radio server in one's own
	// house. Whoever may begin a session can then make the streamer fetch from there.
	Allow []string `yaml:"allow"`
}

// Validate reports every fault.
func (c Config) Validate() (faults []config.Fault) {
	for i, s := range c.Allow {
		if _, err := netip.ParsePrefix(s); err != nil {
			faults = append(faults, config.Faultf("allow."+itoa(i), "%q is no network as 192.168.1.0/24", s))
		}
	}
	return faults
}

func prefixes(list ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(list))
	for i, s := range list {
		out[i] = netip.MustParsePrefix(s)
	}
	return out
}

var (
	// special4 is what of IPv4 leads to no public host: the IANA registry of special addresses (RFC 6890), multicast and
	// what is reserved.
	special4 = prefixes(
		"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
		"192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24",
		"198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
	)
	// Of IPv6 only global unicast is public (RFC 4291), without what tunnels to IPv4 (Teredo and 6to4, whose inside is not
	// seen), what is for documents, and what is special (RFC 6890).
	global6  = netip.MustParsePrefix("2000::/3")
	special6 = prefixes("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")
	// nat64 leads to the IPv4 address in its last four bytes (RFC 6052).
	nat64 = netip.MustParsePrefix("64:ff9b::/96")
)

// public reports whether an address is one of the open Internet.
func public(ip netip.Addr) bool {
	ip = ip.Unmap()
	if nat64.Contains(ip) {
		b := ip.As16()
		ip = netip.AddrFrom4([4]byte(b[12:]))
	}
	holds := func(p netip.Prefix) bool { return p.Contains(ip) }
	switch {
	case ip.Zone() != "":
		return false
	case ip.Is4():
		return !slices.ContainsFunc(special4, holds)
	}
	return global6.Contains(ip) && !slices.ContainsFunc(special6, holds)
}

// permitted reports whether the streamer may fetch from an address.
func (r *Radio) permitted(ip netip.Addr) bool {
	return public(ip) || slices.ContainsFunc(r.allow, func(p netip.Prefix) bool { return p.Contains(ip.Unmap()) })
}
