package radio

import (
	"io"
	"net"
)

// icy reads the answer of an old SHOUTcast server, "ICY 200 OK", as HTTP. One goroutine reads.
type icy struct {
	net.Conn
	begun bool
	head  []byte // read, and not yet given
}

// Read implements net.Conn.
func (c *icy) Read(p []byte) (int, error) {
	if !c.begun {
		c.begun = true
		c.head = make([]byte, 4)
		n, err := io.ReadFull(c.Conn, c.head)
		if c.head = c.head[:n]; n == 0 {
			return 0, err
		}
		if string(c.head) == "ICY " {
			c.head = []byte("HTTP/1.0 ")
		}
	}
	if len(c.head) > 0 {
		n := copy(p, c.head)
		c.head = c.head[n:]
		return n, nil
	}
	return c.Conn.Read(p)
}
