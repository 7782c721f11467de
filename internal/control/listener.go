package control

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"dongthanh/internal/identity"
)

// What one peer may send, in bytes: a relay tells of all its members at once, an honest node whispers otherwise. More is
// read later, so that one node cannot keep a processor busy with tiny frames.
const (
	readRate  = 2 << 20 // a second
	readDepth = 8 << 20
)

// conn is a socket beneath TLS. It knows who is at the other end once the handshake has proved it.
type conn struct {
	net.Conn
	addr netip.Addr
	s    *Server
	once sync.Once

	// Written by the handshake, before anybody else sees the connection.
	known bool
	peer  identity.Node
	cert  *x509.Certificate

	read bucket // touched by the one goroutine that reads
}

// Read paces a peer that sends more than any honest node.
func (c *conn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.read.refill(time.Now(), readRate)
	if c.read.spent += float64(n); c.read.spent > readDepth {
		// What is above is read off in time: 16 kB, one TLS record, take 8 ms.
		time.Sleep(time.Duration((c.read.spent - readDepth) / readRate * float64(time.Second)))
	}
	return n, err
}

// Close gives the place among the strangers back.
func (c *conn) Close() error {
	c.release()
	return c.Conn.Close()
}

func (c *conn) release() {
	c.once.Do(func() {
		c.s.mu.Lock()
		defer c.s.mu.Unlock()
		c.s.admission.release(time.Now(), c.addr)
		delete(c.s.raw, c)
	})
}

// handshake proves who is at the other end and hands the connection to http, or ends it. The peer learns no more than a
// TLS alert; the precise reason is ours to log.
func (s *Server) handshake(ctx context.Context, c *conn) {
	own := s.own.Load()
	config := own.ServerTLS()
	config.VerifyConnection = func(cs tls.ConnectionState) (err error) {
		if len(cs.PeerCertificates) == 0 {
			return nil // it enrols, or is refused by http
		}
		c.peer, c.cert, err = identity.Peer(cs, own.Time(), own.Roots)
		c.known = err == nil
		return err
	}
	t := tls.Server(c, config)
	ctx, cancel := context.WithTimeout(ctx, handshakeWithin)
	defer cancel()
	if err := t.HandshakeContext(ctx); err != nil {
		s.failed(c, handshakeReason(err), fmt.Errorf("handshake: %w", err))
		linger(c)
		return
	}
	if !s.queue.put(ctx, t) {
		_ = c.Close() // we are closing down, or http is stuck
	}
}

// handshakeReason is the metric's label.
func handshakeReason(err error) string {
	var network net.Error
	switch r := identity.Reason(err); {
	case r != "other":
		return r
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &network) && network.Timeout():
		return "timeout"
	case strings.Contains(err.Error(), "unsupported versions"):
		return "tls_version"
	case errors.Is(err, io.EOF), errors.Is(err, net.ErrClosed):
		return "left"
	}
	return "handshake"
}

// linger closes so that the alert arrives: closing with unread bytes makes the kernel send a reset, which may overtake
// it.
func linger(c *conn) {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok && half.CloseWrite() == nil && c.SetReadDeadline(time.Now().Add(time.Second)) == nil {
		_, _ = io.CopyN(io.Discard, c.Conn, 16<<10) // whatever it is
	}
	_ = c.Close() // it failed already
}

// queue is the listener that http serves from: connections whose handshake is done.
type queue struct {
	ready chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newQueue() *queue { return &queue{ready: make(chan net.Conn), done: make(chan struct{})} }

func (q *queue) put(ctx context.Context, c net.Conn) bool {
	select {
	case q.ready <- c:
		return true
	case <-q.done:
	case <-ctx.Done():
	}
	return false
}

// Accept implements net.Listener.
func (q *queue) Accept() (net.Conn, error) {
	select {
	case c := <-q.ready:
		return c, nil
	case <-q.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (q *queue) Close() error {
	q.once.Do(func() { close(q.done) })
	return nil
}

// Addr implements net.Listener.
func (q *queue) Addr() net.Addr { return &net.TCPAddr{} }
