//go:build !linux

package udp

import (
	"net/netip"
	"syscall"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// control has nothing to set where the options are not known.
func control(_, _ string, _ syscall.RawConn) error { return nil }

// destination finds our own address in the control messages of a datagram.
func destination(oob []byte, v6 bool) netip.Addr {
	if v6 {
		var m ipv6.ControlMessage
		if err := m.Parse(oob); err != nil {
			return netip.Addr{}
		}
		a, _ := netip.AddrFromSlice(m.Dst)
		return a
	}
	var m ipv4.ControlMessage
	if err := m.Parse(oob); err != nil {
		return netip.Addr{}
	}
	a, _ := netip.AddrFromSlice(m.Dst)
	return a.Unmap()
}
