package ingest

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"dongthanh/internal/config"
	"dongthanh/internal/mediaclock"
)

const (
	maxLines = 64 // open at once, as microphones

	// lineSilence of a sender ends its line-in; anything shorter is a gap of sound. A sender that holds back silence
	// (DTX) still sends every 400 ms, and a mixer that is started anew has another source, which is not this one.
	lineSilence = 10 * time.Second

	// lineQueue is what the kernel may hold for one socket: a flood of small datagrams fills the usual 208 kB in 3 ms.
	lineQueue = 1 << 20
)

// ErrLineAddress says that no port could be opened for a line-in: none of the range is free, or this machine has no
// address towards the sender's network.
var ErrLineAddress = errors.New("no address for a line-in")

// LineConfig says where line-ins are opened. Each has a port of its own while its session lasts.
type LineConfig struct {
	// Listen is the address for senders that are not on this machine; empty: the one from which their network is
	// reached. Senders on this machine find their port on loopback.
	Listen string `yaml:"listen"`
	// Ports is a range as "5004-5067"; empty: any free port.
	Ports string `yaml:"ports"`
}

// Validate reports every fault.
func (c LineConfig) Validate() (faults []config.Fault) {
	if c.Listen != "" {
		if ip, err := netip.ParseAddr(c.Listen); err != nil || ip.IsMulticast() || ip.IsUnspecified() || ip.Zone() != "" {
			faults = append(faults, config.Faultf("listen", "%q is not an address of this machine that a sender could send to", c.Listen))
		}
	}
	if _, _, err := c.ports(); err != nil {
		faults = append(faults, config.Faultf("ports", "%v", err))
	}
	return faults
}

// ports returns the range, 0 to 0 if any port will do.
func (c LineConfig) ports() (first, last uint16, err error) {
	if c.Ports == "" {
		return 0, 0, nil
	}
	from, to, ok := strings.Cut(c.Ports, "-")
	a, err1 := strconv.ParseUint(strings.TrimSpace(from), 10, 16)
	b, err2 := strconv.ParseUint(strings.TrimSpace(to), 10, 16)
	if !ok || err1 != nil || err2 != nil || a == 0 || a > b {
		return 0, 0, fmt.Errorf("%q is no range of ports, as 5004-5067", c.Ports)
	}
	return uint16(a), uint16(b), nil
}

// LineOptions say who may send to a line-in.
type LineOptions struct {
	From netip.Prefix // the sender's network; invalid: this machine
	SRTP bool         // only with a key, which SDP tells
}

// Local reports whether only this machine may send.
func (o LineOptions) Local() bool {
	return !o.From.IsValid() || o.From.Addr().IsLoopback() && (o.From.Bits() >= 8 && o.From.Addr().Is4() || o.From.Bits() == 128)
}

// networks are those whose datagrams are looked at.
func (o LineOptions) networks() []netip.Prefix {
	if !o.From.IsValid() {
		return []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
	}
	return []netip.Prefix{o.From.Masked()}
}

// bind opens the sockets of a line-in, one for each family that may send, on one port.
func (c LineConfig) bind(o LineOptions) ([]*net.UDPConn, netip.AddrPort, error) {
	ips, err := c.addresses(o)
	if err != nil {
		return nil, netip.AddrPort{}, err
	}
	first, last, err := c.ports()
	if err != nil {
		return nil, netip.AddrPort{}, err
	}
	n := int(last) - int(first) + 1
	start := rand.IntN(n) // #nosec G404 -- nobody need be kept from guessing a port
	for i := range n {
		conns, at, e := bindAll(ips, first+uint16((start+i)%n)) // #nosec G115 -- within the range
		if e == nil {
			return conns, at, nil
		}
		err = e
	}
	return nil, netip.AddrPort{}, fmt.Errorf("%w: %w", ErrLineAddress, err)
}

// bindAll opens one port on each address; only the first has to be there.
func bindAll(ips []netip.Addr, port uint16) (conns []*net.UDPConn, at netip.AddrPort, err error) {
	for i, ip := range ips {
		conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(ip, port)))
		if err != nil {
			if i == 0 {
				return nil, at, err
			}
			continue // a machine without IPv6, or a port that another program has there
		}
		if i == 0 {
			at = netip.AddrPortFrom(ip, conn.LocalAddr().(*net.UDPAddr).AddrPort().Port())
			port = at.Port()
		}
		_ = conn.SetReadBuffer(lineQueue) // less is only less
		conns = append(conns, conn)
	}
	return conns, at, nil
}

// addresses are those to listen on, the first being the one to tell.
func (c LineConfig) addresses(o LineOptions) ([]netip.Addr, error) {
	switch {
	case !o.From.IsValid():
		return []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}, nil
	case o.Local():
		if o.From.Addr().Is4() {
			return []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1})}, nil
		}
		return []netip.Addr{netip.IPv6Loopback()}, nil
	case c.Listen != "":
		ip, err := netip.ParseAddr(c.Listen)
		return []netip.Addr{ip}, err
	}
	ip, err := towards(o.From)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrLineAddress, err)
	}
	return []netip.Addr{ip}, nil
}

// towards returns the address from which this machine reaches a network. Nothing is sent.
func towards(p netip.Prefix) (netip.Addr, error) {
	to := p.Masked().Addr()
	if !p.IsSingleIP() {
		to = to.Next()
	}
	if p.Bits() == 0 { // everybody: the way to everywhere (addresses for documents, RFC 5737 and RFC 3849)
		if to = netip.MustParseAddr("192.0.2.1"); p.Addr().Is6() {
			to = netip.MustParseAddr("2001:db8::1")
		}
	}
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(to, 9)))
	if err != nil {
		return netip.Addr{}, err
	}
	defer conn.Close()
	return conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap().WithZone(""), nil
}

// Lines opens line-ins and counts what comes to them.
type Lines struct {
	cfg     LineConfig
	log     *slog.Logger
	now     func() mediaclock.Local
	silence time.Duration
	judged  func(verdict) // if set, is told of each datagram once it was dealt with
	reg     prometheus.Registerer
	metrics lineCollector

	mu     sync.Mutex // guards what follows; never held while media flows
	open   map[*Line]bool
	past   lineTotals
	closed bool
}

// NewLines registers the metrics of line-ins, which Close removes again. No port is opened yet.
func NewLines(cfg LineConfig, log *slog.Logger, reg prometheus.Registerer) (*Lines, error) {
	l := &Lines{
		cfg: cfg, log: log, now: mediaclock.NewMonotonic().Now, silence: lineSilence, reg: reg,
		open: map[*Line]bool{}, past: newLineTotals(),
	}
	l.metrics = newLineCollector(l)
	if err := reg.Register(l.metrics); err != nil {
		return nil, fmt.Errorf("register metrics of line-ins: %w", err)
	}
	return l, nil
}

// Open opens a line-in; the caller closes it. Errors wrap ErrLineAddress, ErrTooMany or ErrClosed.
func (l *Lines) Open(o LineOptions) (*Line, error) {
	line, err := newLine(l, o)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.closed:
		err = ErrClosed
	case len(l.open) >= maxLines:
		err = ErrTooMany
	}
	if err != nil {
		for _, c := range line.conns {
			_ = c.Close()
		}
		return nil, fmt.Errorf("open line-in: %w", err)
	}
	l.open[line] = true
	for _, c := range line.conns {
		line.running.Go(func() { line.receive(c) })
	}
	line.running.Go(line.watch)
	return line, nil
}

// give keeps what a line counted that has ended.
func (l *Lines) give(line *Line) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.open, line)
	l.past.add(line)
	l.past.ended[line.Reason()]++
}

// Close ends every line-in and returns when their ports are free.
func (l *Lines) Close() error {
	l.mu.Lock()
	l.closed = true
	open := make([]*Line, 0, len(l.open))
	for line := range l.open {
		open = append(open, line)
	}
	l.mu.Unlock()
	for _, line := range open {
		_ = line.Close()
	}
	l.reg.Unregister(l.metrics)
	return nil
}
