package ingest

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/pion/ice/v4"
	"github.com/pion/logging"
)

const (
	// maxAddresses bounds the sockets on a machine with very many addresses (bridges of containers).
	maxAddresses = 32
	// socketBuffer holds what comes while the machine is busy: 1 MB is 100 ms of every official of a province at once.
	socketBuffer = 1 << 20
	// portTries bounds the search for a number that is free for both UDP and TCP, where the system may choose it.
	portTries = 16
)

// ports is the one port of all microphones, as an ice.UDPMux and, for who cannot send UDP, an ice.TCPMux: two sockets
// for each local address, so that an answer leaves from the address that was asked. A socket on the wildcard address
// would let the routing table choose, and ICE refuses an answer from elsewhere (RFC 8445 §7.2.5.2.1). Addresses that
// appear later, as a network that comes up after the streamer does, are found by refresh.
type ports struct {
	host   netip.Addr // the one address to listen on, or an unspecified one: IPv4 only, or every family
	any    bool       // listen on every address of the machine
	logger logging.LeveledLogger

	refused atomic.Uint64 // TCP connections beyond the bounds

	mu     sync.Mutex // guards what follows
	port   uint16
	muxes  map[netip.Addr]sockets
	closed bool
}

// sockets are those of one address.
type sockets struct {
	udp *ice.UDPMuxDefault
	tcp *ice.TCPMuxDefault
}

// close closes both, and with them every connection.
func (s sockets) close() error { return errors.Join(s.udp.Close(), s.tcp.Close()) }

// listenPorts opens the port on every address that listen (host:port) means. It fails if none can be had, or if
// another program holds the port on one of them: browsers would reach that one instead.
func listenPorts(listen string, logger logging.LeveledLogger) (*ports, error) {
	addr, err := net.ResolveUDPAddr("udp", listen)
	if err != nil {
		return nil, fmt.Errorf("listen for microphones: %w", err)
	}
	host, _ := netip.AddrFromSlice(addr.IP)
	p := &ports{
		port: uint16(addr.Port), host: host.Unmap(), any: addr.IP == nil || addr.IP.IsUnspecified(),
		logger: logger, muxes: map[netip.Addr]sockets{},
	}
	if err := p.refresh(); err != nil && (len(p.muxes) == 0 || errors.Is(err, syscall.EADDRINUSE)) {
		_ = p.Close()
		return nil, err
	}
	return p, nil
}

// refresh opens the port on addresses that are new, and closes it on those that are gone. The error lists the
// addresses on which it cannot be opened (an IPv6 address that is still being checked, for one); the others work.
func (p *ports) refresh() error {
	want := []netip.Addr{p.host}
	if p.any {
		var err error
		if want, err = localAddresses(p.host.Is4()); err != nil {
			return err
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return net.ErrClosed
	}
	for addr, mux := range p.muxes {
		if mux.udp.IsClosed() || !slices.Contains(want, addr) {
			_ = mux.close() // the address is gone, and with it every connection
			delete(p.muxes, addr)
		}
	}
	var faults []error
	for _, addr := range want {
		if _, ok := p.muxes[addr]; !ok {
			faults = append(faults, p.open(addr))
		}
	}
	if len(want) == 0 {
		return errors.New("listen for microphones: this machine has no address")
	}
	return errors.Join(faults...)
}

// open listens on one address. The caller holds mu.
func (p *ports) open(addr netip.Addr) error {
	udp, tcp, err := listenBoth(netip.AddrPortFrom(addr, p.port))
	for range portTries {
		if p.port != 0 || !errors.Is(err, syscall.EADDRINUSE) {
			break
		}
		udp, tcp, err = listenBoth(netip.AddrPortFrom(addr, 0)) // the number was free for UDP alone
	}
	if err != nil {
		return fmt.Errorf("listen for microphones: %w", err)
	}
	_ = udp.SetReadBuffer(socketBuffer)                       // what the kernel grants is enough
	p.port = udp.LocalAddr().(*net.UDPAddr).AddrPort().Port() // port 0: the first address chooses for all
	p.muxes[addr] = sockets{
		udp: ice.NewUDPMuxDefault(ice.UDPMuxParams{UDPConn: udp, Logger: p.logger}),
		tcp: ice.NewTCPMuxDefault(ice.TCPMuxParams{
			Listener: newConnections(tcp, &p.refused), Logger: p.logger, ReadBufferSize: connectionQueue,
			WriteBufferSize: connectionUnsent, FirstStunBindTimeout: firstCheck, AliveDurationForConnFromStun: firstCheck,
		}),
	}
	return nil
}

// listenBoth opens a port for UDP, and then the same one for TCP.
func listenBoth(addr netip.AddrPort) (*net.UDPConn, *net.TCPListener, error) {
	udp, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(addr))
	if err != nil {
		return nil, nil, err
	}
	addr = netip.AddrPortFrom(addr.Addr(), udp.LocalAddr().(*net.UDPAddr).AddrPort().Port())
	tcp, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(addr))
	if err != nil {
		_ = udp.Close() // nothing came on it yet
		return nil, nil, err
	}
	return udp, tcp, nil
}

// number returns the port's number.
func (p *ports) number() uint16 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.port
}

// localAddresses are the machine's addresses that a browser may reach: loopback too, for a browser on the machine
// itself, but no link-local ones, which need a zone that a candidate cannot carry.
func localAddresses(only4 bool) ([]netip.Addr, error) {
	nets, err := net.InterfaceAddrs()
	if err != nil {
		return nil, fmt.Errorf("find local addresses: %w", err)
	}
	var addrs []netip.Addr
	for _, n := range nets {
		prefix, err := netip.ParsePrefix(n.String())
		if err != nil {
			continue
		}
		addr := prefix.Addr().Unmap()
		if addr.IsLinkLocalUnicast() || addr.IsMulticast() || (only4 && !addr.Is4()) || slices.Contains(addrs, addr) {
			continue
		}
		addrs = append(addrs, addr)
	}
	return addrs[:min(len(addrs), maxAddresses)], nil
}

// GetListenAddresses implements ice.UDPMux.
func (p *ports) GetListenAddresses() []net.Addr {
	p.mu.Lock()
	defer p.mu.Unlock()
	addrs := make([]net.Addr, 0, len(p.muxes))
	for _, mux := range p.muxes {
		addrs = append(addrs, mux.udp.LocalAddr())
	}
	return addrs
}

// GetConn implements ice.UDPMux.
func (p *ports) GetConn(ufrag string, addr net.Addr) (net.PacketConn, error) {
	udp, ok := addr.(*net.UDPAddr)
	if !ok {
		return nil, fmt.Errorf("find socket of %v: not a UDP address", addr)
	}
	p.mu.Lock()
	mux, ok := p.muxes[udp.AddrPort().Addr().Unmap()]
	p.mu.Unlock()
	if !ok {
		return nil, fmt.Errorf("find socket of %v: %w", addr, net.ErrClosed)
	}
	return mux.udp.GetConn(ufrag, addr)
}

// GetConnByUfrag implements ice.TCPMux. The error of an address on which the port is not open keeps it out of answers.
func (p *ports) GetConnByUfrag(ufrag string, isIPv6 bool, local net.IP) (net.PacketConn, error) {
	addr, _ := netip.AddrFromSlice(local)
	p.mu.Lock()
	mux, ok := p.muxes[addr.Unmap()]
	p.mu.Unlock()
	if !ok {
		return nil, fmt.Errorf("find socket of %v: %w", local, net.ErrClosed)
	}
	return mux.tcp.GetConnByUfrag(ufrag, isIPv6, local)
}

// RemoveConnByUfrag implements ice.UDPMux and ice.TCPMux.
func (p *ports) RemoveConnByUfrag(ufrag string) {
	for _, mux := range p.all() {
		mux.udp.RemoveConnByUfrag(ufrag)
		mux.tcp.RemoveConnByUfrag(ufrag)
	}
}

// Close closes every socket.
func (p *ports) Close() error {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	var faults []error
	for _, mux := range p.all() {
		faults = append(faults, mux.close())
	}
	return errors.Join(faults...)
}

func (p *ports) all() []sockets {
	p.mu.Lock()
	defer p.mu.Unlock()
	var all []sockets
	for _, mux := range p.muxes {
		all = append(all, mux)
	}
	return all
}
