package web

import (
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	// maxOpen bounds the connections of one listener: a province's officials and their pages, with room; each costs some
	// 50 kB.
	maxOpen = 2048
	// maxOpenOfOne bounds those of one remote address, so that one machine cannot keep the others out. A whole office may
	// share an address behind NAT, and a browser without HTTP/2 opens six. This machine itself is exempt: a proxy on it
	// speaks for everybody.
	maxOpenOfOne = 256
	acceptRest   = 50 * time.Millisecond

	clientHello = 0x16 // the first byte of TLS: a record of the handshake (RFC 8446 §5.1); no method of HTTP begins so
)

// sorter is a listener whose connections speak TLS or plain http on one port: their first byte tells. A connection on
// which none comes in time is closed, those beyond the bounds too. Who accepts gets a *tls.Conn or a plain one.
type sorter struct {
	net.Listener
	tls     *tls.Config
	wait    time.Duration // for the first byte
	refused *prometheus.CounterVec

	ready   chan net.Conn
	ending  chan struct{} // closed by Close
	running sync.WaitGroup
	once    sync.Once

	mu     sync.Mutex // guards what follows
	open   map[*counted]struct{}
	from   map[netip.Addr]int
	max    int
	ofOne  int
	closed bool
}

// sorted takes over l.
func (s *Server) sorted(l net.Listener) *sorter {
	return &sorter{
		Listener: l, tls: s.o.Certificates.TLSConfig(), wait: s.firstWait, refused: s.refused,
		ready: make(chan net.Conn), ending: make(chan struct{}),
		open: map[*counted]struct{}{}, from: map[netip.Addr]int{}, max: s.maxOpen, ofOne: s.maxOfOne,
	}
}

// Accept implements net.Listener. The first call starts what takes connections; Close ends it.
func (s *sorter) Accept() (net.Conn, error) {
	s.once.Do(func() { s.running.Go(s.take) })
	select {
	case conn := <-s.ready:
		return conn, nil
	case <-s.ending:
		return nil, net.ErrClosed
	}
}

// take accepts connections and has each tell what it is. A lack of file descriptors is waited out.
func (s *sorter) take() {
	for {
		conn, err := s.Listener.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			_ = s.stop() // from outside, by whoever owns the listener beneath
			return
		case err != nil:
			select {
			case <-s.ending:
				return
			case <-time.After(acceptRest):
			}
			continue
		}
		if x := s.admit(conn); x != nil {
			s.running.Go(func() { s.sort(x) })
			continue
		}
		_ = conn.Close()
	}
}

// sort waits for the first byte of a connection and hands it on.
func (s *sorter) sort(x *counted) {
	if err := x.peek(s.wait); err != nil {
		s.refused.WithLabelValues("silent").Inc()
		_ = x.Close()
		return
	}
	var conn net.Conn = x
	if x.first == clientHello {
		conn = tls.Server(x, s.tls)
	}
	select {
	case s.ready <- conn:
	case <-s.ending:
		_ = x.Close()
	}
}

// admit counts a connection; nil: there are too many.
func (s *sorter) admit(conn net.Conn) *counted {
	x := &counted{Conn: conn, owner: s, remote: oneMachine(addrOf(conn.RemoteAddr()))}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return nil
	case len(s.open) >= s.max && (!x.remote.IsLoopback() || len(s.open) >= 2*s.max): // whoever fills it locks nobody out here
		s.refused.WithLabelValues("full").Inc()
		return nil
	case s.from[x.remote] >= s.ofOne && !x.remote.IsLoopback():
		s.refused.WithLabelValues("address").Inc()
		return nil
	}
	s.open[x] = struct{}{}
	s.from[x.remote]++
	return x
}

// release ends what admit began; it may be called twice.
func (s *sorter) release(x *counted) {
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

// Close implements net.Listener: it closes what has not told yet what it is, and waits for its goroutines. Connections
// that were handed on belong to the server.
func (s *sorter) Close() error {
	err := s.stop()
	s.running.Wait()
	return err
}

func (s *sorter) stop() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	close(s.ending)
	var silent []*counted
	for x := range s.open {
		if !x.told {
			silent = append(silent, x)
		}
	}
	s.mu.Unlock()
	err := s.Listener.Close()
	for _, x := range silent {
		_ = x.Conn.SetReadDeadline(time.Unix(1, 0)) // frees peek, which closes it
	}
	return err
}

// counted is a connection that its sorter counts, and whose first byte was read before the rest.
type counted struct {
	net.Conn
	owner  *sorter
	remote netip.Addr
	told   bool // the first byte has come; guarded by the owner's mutex
	first  byte
	unread bool // the first byte was not yet given to the reader, of which there is one
}

// peek reads the first byte.
func (x *counted) peek(wait time.Duration) error {
	if err := x.Conn.SetReadDeadline(time.Now().Add(wait)); err != nil {
		return err
	}
	x.owner.mu.Lock()
	closed := x.owner.closed
	x.owner.mu.Unlock()
	if closed { // whose deadline may have come before ours
		return net.ErrClosed
	}
	var b [1]byte
	if _, err := x.Conn.Read(b[:]); err != nil {
		return err
	}
	x.owner.mu.Lock()
	x.told = true
	x.owner.mu.Unlock()
	x.first, x.unread = b[0], true
	return x.Conn.SetReadDeadline(time.Time{})
}

// Read implements net.Conn.
func (x *counted) Read(b []byte) (int, error) {
	if x.unread && len(b) > 0 {
		b[0], x.unread = x.first, false
		return 1, nil
	}
	return x.Conn.Read(b)
}

// CloseWrite ends our half: net/http does so before it closes on a request that it has not read whole, since the answer
// would be lost otherwise.
func (x *counted) CloseWrite() error {
	if c, ok := x.Conn.(*net.TCPConn); ok {
		return c.CloseWrite()
	}
	return nil
}

// Close implements net.Conn.
func (x *counted) Close() error {
	x.owner.release(x)
	return x.Conn.Close()
}

// addrOf is the address of a TCP endpoint; the zero address of any other.
func addrOf(a net.Addr) netip.Addr {
	if tcp, ok := a.(*net.TCPAddr); ok {
		return tcp.AddrPort().Addr().Unmap().WithZone("")
	}
	return netip.Addr{}
}

// oneMachine is what connections of one machine have in common: an IPv6 network gives each of its machines as many
// addresses as it likes (RFC 8981), so the network counts.
func oneMachine(a netip.Addr) netip.Addr {
	if p, err := a.Prefix(64); err == nil && a.Is6() && a.IsGlobalUnicast() {
		return p.Addr()
	}
	return a
}
