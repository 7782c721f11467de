package webcert

import (
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
)

// Names are what a browser may call this machine.
type Names struct {
	Host      string         // the machine's own name, in lower case
	Addresses []netip.Prefix // of its interfaces, loopback included
	Further   []string       // names and addresses that the configuration adds
}

// Here asks the machine for its names and addresses. What it does not tell is missing.
func Here(further []string) Names {
	n := Names{Further: further}
	if host, err := os.Hostname(); err == nil {
		n.Host = strings.ToLower(strings.TrimSuffix(host, "."))
	}
	nets, err := net.InterfaceAddrs()
	if err != nil {
		return n
	}
	for _, a := range nets {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			n.Addresses = append(n.Addresses, p)
		}
	}
	return n
}

// local are the networks that have the same addresses everywhere: RFC 1918, RFC 6598, RFC 4193, loopback, link-local.
var local = []string{
	"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "::1/128", "fc00::/7", "fe80::/10",
}

// all are the names and addresses of a server certificate, sorted, each once. Link-local IPv6 is left out: nobody can
// type it into a browser.
func (n Names) all() []string {
	names := []string{"localhost", "127.0.0.1", "::1"}
	if validName(n.Host) {
		names = append(names, n.Host)
		if !strings.Contains(n.Host, ".") {
			names = append(names, n.Host+".local") // by mDNS, RFC 6762
		}
	}
	for _, p := range n.Addresses {
		if ip := p.Addr().Unmap(); !ip.IsLoopback() && !(ip.Is6() && ip.IsLinkLocalUnicast()) && !ip.IsMulticast() {
			names = append(names, ip.String())
		}
	}
	for _, f := range n.Further {
		names = append(names, canonical(f))
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// domains are the DNS names that an authority made here may vouch for.
func (n Names) domains() []string {
	domains := []string{"localhost", "local"}
	if validName(n.Host) {
		domains = append(domains, n.Host)
	}
	for _, f := range n.Further {
		if f = canonical(f); net.ParseIP(f) == nil {
			domains = append(domains, f)
		}
	}
	slices.Sort(domains)
	return slices.Compact(domains)
}

// ranges are the addresses that an authority made here may vouch for: all local ones, since the machine may move, and
// the networks it stands in.
func (n Names) ranges() []*net.IPNet {
	var ranges []*net.IPNet
	covered := func(ip net.IP) bool {
		return slices.ContainsFunc(ranges, func(r *net.IPNet) bool { return r.Contains(ip) })
	}
	add := func(cidr string) {
		if ip, network, err := net.ParseCIDR(cidr); err == nil && !covered(ip) {
			ranges = append(ranges, network)
		}
	}
	for _, cidr := range local {
		add(cidr)
	}
	for _, p := range n.Addresses {
		if p.Addr().IsGlobalUnicast() {
			add(p.Masked().String())
		}
	}
	for _, f := range n.Further {
		if ip, err := netip.ParseAddr(f); err == nil {
			add(netip.PrefixFrom(ip, ip.BitLen()).String())
		}
	}
	return ranges
}

// canonical is a configured name as certificates write it.
func canonical(name string) string {
	if ip, err := netip.ParseAddr(name); err == nil {
		return ip.Unmap().String()
	}
	return strings.ToLower(strings.TrimSuffix(name, "."))
}

// validName reports whether a name can stand in a certificate: letters, digits and hyphens in parts of at most 63
// (RFC 1123 §2.1). A name with other letters is written in its ASCII form, xn--….
func validName(name string) bool {
	if name == "" || len(name) > 253 {
		return false
	}
	for _, part := range strings.Split(name, ".") {
		if part == "" || len(part) > 63 || part[0] == '-' || part[len(part)-1] == '-' {
			return false
		}
		for _, r := range part {
			if (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_' {
				return false
			}
		}
	}
	last := name[strings.LastIndex(name, ".")+1:]
	return strings.Trim(last, "0123456789") != "" // an address, or one with a slip
}
