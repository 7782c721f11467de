package link

import (
	"encoding/binary"
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// oobLen holds the one control message that is asked for.
const oobLen = 64

// maxWait is the longest time that a datagram may have lain in the socket's buffer; what looks longer is a step of the
// wall clock, by which the kernel stamps.
const maxWait = time.Second

// stamp has the kernel note when each datagram came. On a machine with more to do than processors the reader wakes up
// milliseconds later, which network time would take for the length of the way. Where it is refused, reading times
// have to do.
func stamp(c *net.UDPConn) {
	raw, err := c.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1)
	})
}

// readStamped reads a datagram and returns how long it had been there. It allocates nothing.
func readStamped(c *net.UDPConn, b, oob []byte) (n int, waited time.Duration, err error) {
	n, oobn, _, _, err := c.ReadMsgUDPAddrPort(b, oob)
	if err != nil {
		return 0, 0, err
	}
	now := time.Now().UnixNano()
	h, data, _, err := unix.ParseOneSocketControlMessage(oob[:oobn])
	if err != nil || h.Level != unix.SOL_SOCKET || h.Type != unix.SCM_TIMESTAMPNS {
		return n, 0, nil
	}
	var at int64
	switch len(data) {
	case 16: // two words of 64 bits
		at = int64(binary.NativeEndian.Uint64(data))*int64(time.Second) + int64(binary.NativeEndian.Uint64(data[8:]))
	case 8: // of 32
		at = int64(binary.NativeEndian.Uint32(data))*int64(time.Second) + int64(binary.NativeEndian.Uint32(data[4:]))
	default:
		return n, 0, nil
	}
	if waited = time.Duration(now - at); waited < 0 || waited > maxWait {
		waited = 0
	}
	return n, waited, nil
}
