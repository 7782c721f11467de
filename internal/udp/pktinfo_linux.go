package udp

import (
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// control sets, before the socket is bound, that nothing is fragmented on the way: all our datagrams fit any path, and
// the kernel then saves a search for an IP id in each packet (facts: perf.md §1, −10 %).
func control(_, _ string, c syscall.RawConn) error {
	return c.Control(func(fd uintptr) {
		// Best effort, each on the family that has it.
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DO)
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_DO)
	})
}

// destination finds our own address in the control messages of a datagram, without an allocation.
func destination(oob []byte, v6 bool) netip.Addr {
	for len(oob) > 0 {
		h, data, rest, err := unix.ParseOneSocketControlMessage(oob)
		if err != nil {
			return netip.Addr{}
		}
		switch {
		case !v6 && h.Level == unix.IPPROTO_IP && h.Type == unix.IP_PKTINFO && len(data) >= unix.SizeofInet4Pktinfo:
			return netip.AddrFrom4([4]byte(data[8:12])) // struct in_pktinfo: ifindex, spec_dst, addr
		case v6 && h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_PKTINFO && len(data) >= unix.SizeofInet6Pktinfo:
			return netip.AddrFrom16([16]byte(data[:16]))
		}
		oob = rest
	}
	return netip.Addr{}
}
