package ingest

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// maxConnections bounds the TCP connections of one address: every microphone may try some at once, since a browser
	// tries each of its own addresses.
	maxConnections = 4 * maxMicrophones
	// maxConnectionsOfOne bounds those from one remote address, so that one machine cannot keep the others out. Behind a NAT
	// a whole office shares an address.
	maxConnectionsOfOne = maxConnections / 4

	firstCheck = 3 * time.Second // a connection that has not sent a check by then is nobody's microphone
	acceptRest = 100 * time.Millisecond

	// connectionQueue are packets that wait for ICE to read them; then TCP slows the sender down.
	connectionQueue = 32
	// connectionUnsent are bytes to a browser that does not read, beyond which packets are dropped: they are checks and
	// reports, which must not hold up the others.
	connectionUnsent = 64 << 10
)

// connections is a listener for ICE over TCP (RFC 6544) that outsiders cannot exhaust. Connections beyond the bounds are
// refused, the newest first, since those that are there may carry sound. Closing it closes what it has accepted, so
// that nobody waits for a connection on which nothing comes.
type connections struct {
	net.Listener
	max, ofOne int
	refused    *atomic.Uint64

	mu     sync.Mutex // guards what follows
	open   map[*connection]struct{}
	from   map[netip.Addr]int
	closed bool
	ending chan struct{} // closed with closed
}

func newConnections(l net.Listener, refused *atomic.Uint64) *connections {
	return &connections{
		Listener: l, max: maxConnections, ofOne: maxConnectionsOfOne, refused: refused,
		open: map[*connection]struct{}{}, from: map[netip.Addr]int{}, ending: make(chan struct{}),
	}
}

// Accept implements net.Listener. It returns an error only once the listener is closed: pion would stop for good when
// the machine is short of file descriptors for a moment.
func (s *connections) Accept() (net.Conn, error) {
	for {
		conn, err := s.Listener.Accept()
		switch {
		case err == nil:
			if x := s.admit(conn); x != nil {
				return x, nil
			}
			s.refused.Add(1)
			_ = conn.Close()
			continue
		case errors.Is(err, net.ErrClosed):
			return nil, err
		}
		select {
		case <-s.ending:
			return nil, net.ErrClosed
		case <-time.After(acceptRest):
		}
	}
}

// admit counts a connection; nil: there are too many.
func (s *connections) admit(conn net.Conn) *connection {
	x := &connection{Conn: conn, owner: s}
	if remote, ok := conn.RemoteAddr().(*net.TCPAddr); ok {
		x.remote = remote.AddrPort().Addr().Unmap()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || len(s.open) >= s.max || s.from[x.remote] >= s.ofOne {
		return nil
	}
	s.open[x] = struct{}{}
	s.from[x.remote]++
	return x
}

// release ends what admit began; it may be called twice.
func (s *connections) release(x *connection) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.open[x]; !ok {
		return
	}
	delete(s.open, x)
	if s.from[x.remote]--; s.from[x.remote] == 0 {
		delete(s.from, x.remote)
	}
}

// Close implements net.Listener; it may be called twice.
func (s *connections) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	close(s.ending)
	open := make([]*connection, 0, len(s.open))
	for x := range s.open {
		open = append(open, x)
	}
	s.mu.Unlock()
	err := s.Listener.Close()
	for _, x := range open {
		_ = x.Close()
	}
	return err
}

// connection is a connection that its listener counts.
type connection struct {
	net.Conn
	owner  *connections
	remote netip.Addr
}

// Close implements net.Conn.
func (x *connection) Close() error {
	x.owner.release(x)
	return x.Conn.Close()
}
