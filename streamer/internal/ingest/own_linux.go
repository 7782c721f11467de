package ingest

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// own opens a second socket on the port of a line-in that is connected to its sender: the kernel then puts the sender's
// datagrams there and nobody else's. Only a process of the same user could share the port so, and only after it was
// bound, so that two line-ins never get the same one.
func own(c *net.UDPConn, from netip.AddrPort) (*net.UDPConn, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	share := func(raw syscall.RawConn) error {
		var refused error
		err := raw.Control(func(fd uintptr) {
			refused = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1) // #nosec G115 -- a file descriptor
		})
		return errors.Join(err, refused)
	}
	if err := share(raw); err != nil {
		return nil, err
	}
	d := net.Dialer{LocalAddr: c.LocalAddr(), Control: func(_, _ string, raw syscall.RawConn) error { return share(raw) }}
	conn, err := d.DialContext(context.Background(), "udp", from.String())
	if err != nil {
		return nil, err
	}
	_ = conn.(*net.UDPConn).SetReadBuffer(lineQueue)
	return conn.(*net.UDPConn), nil
}
