// Package udp is the datagram side of a node that others connect to: the sockets, which know by which of the node's
// own addresses a datagram came, and the table of flows, which decides whom it is from and where its answers go.
//
// The table is pure: time and datagram come in, a verdict goes out. Nothing here reads a clock, logs or starts a
// goroutine, and nothing is sized by a number that a stranger wrote.
package udp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// Path is the way between a node's address and ours, both of which a NAT on the way looks at: an answer from another
// local address than the one that was pinged does not come through.
type Path struct {
	Remote netip.AddrPort
	Local  netip.Addr // ours; invalid where the system does not tell, and the system then chooses
}

const (
	// trafficClass is DSCP EF (46, RFC 3246) in the upper six bits.
	trafficClass = 46 << 2
	// bufferBytes is asked for in each direction (facts: perf.md §7); the kernel grants what its limits allow.
	bufferBytes = 4 << 20
	// patience is how long an answer waits for room in the socket's buffer.
	patience = 20 * time.Millisecond
	// maxSources bounds the remembered source addresses; a machine has a handful, loopback 2^24.
	maxSources = 256
	// portTries is how often two families look for a port that is free in both, where any will do.
	portTries = 16
)

// Socket is a UDP port in one or both families. Media and answers go through two handles on each kernel socket, so that
// an answer that waits for room never holds up media. Read is for one goroutine a family, all else for any.
type Socket struct {
	halves []*half
	// sources holds, for each local address we answered from, the control message that makes the kernel use it.
	// Copied on write, so that the media path takes no lock.
	sources atomic.Pointer[map[netip.Addr][]byte]
}

// half is one family's socket.
type half struct {
	conn    *net.UDPConn // reads
	answers *handle      // Write; conn's own
	media   *handle      // WriteTo and Room; a second handle
	v6      bool
	oob     []byte // of the one reader
}

// Listen opens addr, such as ":7444" (both families, or only the one that the machine has) or "127.0.0.1:0". The
// sockets mark what they send as voice (DSCP EF), never fragment it, and have large buffers where they are granted.
func Listen(ctx context.Context, addr string) (*Socket, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("listen for datagrams on %q: %w", addr, err)
	}
	tries := 1
	if port == "0" {
		tries = portTries
	}
	for ; ; tries-- {
		s, err := listen(ctx, host, port)
		if err == nil || tries <= 1 || !errors.Is(err, syscall.EADDRINUSE) {
			return s, err
		}
	}
}

func listen(ctx context.Context, host, port string) (*Socket, error) {
	s := &Socket{}
	s.sources.Store(&map[netip.Addr][]byte{})
	var first error
	for _, network := range []string{"udp4", "udp6"} {
		h, err := listenHalf(ctx, network, net.JoinHostPort(host, port))
		switch {
		case err == nil:
			s.halves = append(s.halves, h)
			port = strconv.Itoa(int(h.local().Port())) // the second family takes the first one's port
		case len(s.halves) > 0 && errors.Is(err, syscall.EADDRINUSE):
			_ = s.Close()
			return nil, fmt.Errorf("listen for datagrams: %w", err)
		case first == nil || errors.Is(err, syscall.EADDRINUSE) || errors.Is(err, os.ErrPermission):
			first = err
		}
	}
	if len(s.halves) == 0 {
		return nil, fmt.Errorf("listen for datagrams: %w", first)
	}
	return s, nil
}

func listenHalf(ctx context.Context, network, addr string) (*half, error) {
	lc := net.ListenConfig{Control: control}
	pc, err := lc.ListenPacket(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	h := &half{conn: pc.(*net.UDPConn), v6: network == "udp6", oob: make([]byte, 128)}
	if err := h.openHandles(); err != nil {
		_ = h.conn.Close()
		return nil, fmt.Errorf("open a second handle on %s: %w", addr, err)
	}
	// The rest is best effort: a smaller buffer or an unmarked packet is no reason for silence.
	_ = h.conn.SetReadBuffer(bufferBytes)
	_ = h.conn.SetWriteBuffer(bufferBytes)
	if h.v6 {
		p := ipv6.NewPacketConn(h.conn)
		_ = p.SetControlMessage(ipv6.FlagDst, true)
		_ = p.SetTrafficClass(trafficClass)
	} else {
		p := ipv4.NewPacketConn(h.conn)
		_ = p.SetControlMessage(ipv4.FlagDst, true)
		_ = p.SetTOS(trafficClass)
	}
	return h, nil
}

func (h *half) openHandles() (err error) {
	if h.answers, err = newHandle(h.conn, h.v6); err != nil {
		return err
	}
	f, err := h.conn.File()
	if err != nil {
		return err
	}
	pc, err := net.FilePacketConn(f) // another duplicate; f itself is done with
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	h.media, err = newHandle(pc.(*net.UDPConn), h.v6)
	return err
}

func (h *half) local() netip.AddrPort { return h.conn.LocalAddr().(*net.UDPAddr).AddrPort() }

// Families is the number of families that are open: 1 or 2.
func (s *Socket) Families() int { return len(s.halves) }

// Addr is the address the first family listens on.
func (s *Socket) Addr() netip.AddrPort { return s.halves[0].local() }

// Read waits for a datagram of the given family (0 … Families−1) and puts it into b, which the caller owns. A
// datagram longer than b fills it. After Close the error is net.ErrClosed.
func (s *Socket) Read(family int, b []byte) (n int, p Path, err error) {
	h := s.halves[family]
	n, oobn, _, from, err := h.conn.ReadMsgUDPAddrPort(b, h.oob)
	if err != nil {
		return 0, Path{}, err
	}
	p.Remote = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
	p.Local = destination(h.oob[:oobn], h.v6)
	if p.Local.IsLinkLocalUnicast() && h.v6 {
		p.Local = p.Local.WithZone(from.Addr().Zone())
	}
	return n, p, nil
}

// Write sends an answer from p.Local to p.Remote. It waits 20 ms at most for room in the socket's buffer; if there is
// none, the error is ErrFull.
func (s *Socket) Write(b []byte, p Path) error {
	h := s.half(p.Remote.Addr())
	if h == nil {
		return errFamily
	}
	err := h.answers.send(b, p.Remote, s.source(p.Local))
	if err != nil && errors.Is(err, ErrFull) {
		h.answers.room(time.Now().Add(patience))
		err = h.answers.send(b, p.Remote, s.source(p.Local))
	}
	return err
}

// WriteTo sends b to remote from the address local at once or not at all; local may be invalid: then the system
// chooses. It allocates nothing but for the first datagram from a local address, and never waits: ErrFull says that
// there is no room in the socket's buffer.
func (s *Socket) WriteTo(b []byte, remote netip.AddrPort, local netip.Addr) error {
	h := s.half(remote.Addr())
	if h == nil {
		return errFamily
	}
	return h.media.send(b, remote, s.source(local))
}

// Room waits until WriteTo may find room for a datagram to remote, but not beyond t.
func (s *Socket) Room(remote netip.AddrPort, t time.Time) {
	if h := s.half(remote.Addr()); h != nil {
		h.media.room(t)
	}
}

// ErrFull says that the socket's buffer has no room. It is EAGAIN, so that whoever sends through an interface knows it.
const ErrFull = syscall.EAGAIN

// half returns the socket of a's family, nil if it is not open.
func (s *Socket) half(a netip.Addr) *half {
	for _, h := range s.halves {
		if h.v6 == a.Is6() {
			return h
		}
	}
	return nil
}

// errFamily is one value: it may come once a packet.
var errFamily = errors.New("no socket of the destination's family")

// source returns the control message that makes the kernel send from local; nil lets it choose.
func (s *Socket) source(local netip.Addr) []byte {
	if !local.IsValid() {
		return nil
	}
	known := *s.sources.Load()
	if oob, ok := known[local]; ok {
		return oob
	}
	oob := sourceMessage(local)
	if len(known) < maxSources {
		more := make(map[netip.Addr][]byte, len(known)+1)
		for a, m := range known {
			more[a] = m
		}
		more[local] = oob
		s.sources.Store(&more) // one of two that race is lost and made again
	}
	return oob
}

func sourceMessage(local netip.Addr) []byte {
	ip := net.IP(local.AsSlice())
	if local.Is4() {
		return (&ipv4.ControlMessage{Src: ip}).Marshal()
	}
	m := ipv6.ControlMessage{Src: ip}
	if zone := local.Zone(); zone != "" {
		if i, err := net.InterfaceByName(zone); err == nil {
			m.IfIndex = i.Index
		}
	}
	return m.Marshal()
}

// Close closes the sockets and frees blocked reads.
func (s *Socket) Close() error {
	var errs []error
	for _, h := range s.halves {
		errs = append(errs, h.conn.Close(), h.media.conn.Close())
	}
	return errors.Join(errs...)
}
