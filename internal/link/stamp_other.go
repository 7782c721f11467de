//go:build !linux

package link

import (
	"net"
	"time"
)

const oobLen = 0

// stamp does nothing here: a datagram counts from when it was read.
func stamp(*net.UDPConn) {}

func readStamped(c *net.UDPConn, b, _ []byte) (n int, waited time.Duration, err error) {
	n, err = c.Read(b)
	return n, 0, err
}
