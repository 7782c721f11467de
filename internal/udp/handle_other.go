//go:build !linux

package udp

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"time"
)

// instant is how long a write that must not wait may take where the system cannot be told so.
const instant = time.Millisecond

// handle sends single datagrams. On this system a write may wait for a millisecond.
type handle struct{ conn *net.UDPConn }

func newHandle(c *net.UDPConn, _ bool) (*handle, error) { return &handle{conn: c}, nil }

// send sends b, or says why not: ErrFull, or what the system has against it.
func (h *handle) send(b []byte, to netip.AddrPort, oob []byte) error {
	var err error
	for range 2 { // a deadline may also pass while the process has no processor
		if err := h.conn.SetWriteDeadline(time.Now().Add(instant)); err != nil {
			return err
		}
		if _, _, err = h.conn.WriteMsgUDPAddrPort(b, oob, to); !errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
	}
	return ErrFull
}

// room waits a little; the next write waits itself.
func (h *handle) room(t time.Time) { time.Sleep(min(instant, time.Until(t))) }
