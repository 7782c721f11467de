package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	// maxDatagram is the longest that passes; ours have at most 548 bytes.
	maxDatagram = 4096
	// bufferBytes is asked for in the socket of the clients; the kernel grants what its limits allow.
	bufferBytes = 4 << 20
	// every is how often counts are printed and silent clients looked for.
	every = time.Second
)

// proxy is the sockets and the two lines between them.
type proxy struct {
	to       netip.AddrPort
	listen   *net.UDPConn
	start    time.Time
	up, down *direction
	lastFail atomic.Pointer[error] // since the last line
	readers  sync.WaitGroup        // of the clients' sockets

	mu      sync.Mutex // guards the rest
	clients clients
	ended   bool
}

// open binds the address for the clients.
func open(ctx context.Context, s settings) (*proxy, error) {
	to, err := net.ResolveUDPAddr("udp", s.to)
	if err != nil {
		return nil, fmt.Errorf("resolve upstream %s: %w", s.to, err)
	}
	lc := net.ListenConfig{}
	pc, err := lc.ListenPacket(ctx, "udp", s.listen)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", s.listen, err)
	}
	p := &proxy{
		to: to.AddrPort(), listen: pc.(*net.UDPConn), start: time.Now(),
		clients: clients{limit: s.clients, byAddr: map[netip.AddrPort]*client{}},
	}
	_ = p.listen.SetReadBuffer(bufferBytes) // best effort
	_ = p.listen.SetWriteBuffer(bufferBytes)
	p.up = &direction{name: "up", send: func(x *packet) error {
		_, err := x.client.conn.Write(x.data)
		if errors.Is(err, syscall.ECONNREFUSED) { // of an earlier packet: this one is not sent yet
			_, err = x.client.conn.Write(x.data)
		}
		return err
	}}
	p.down = &direction{name: "down", send: func(x *packet) error {
		_, err := p.listen.WriteToUDPAddrPort(x.data, x.client.addr)
		return err
	}}
	for _, d := range []*direction{p.up, p.down} {
		d.now, d.fault, d.until = p.now, p.fault, awake
		d.line = newLine(s.model, s.seed, d.name)
		if d.alarm, err = newAlarm(); err != nil {
			p.close()
			return nil, err
		}
	}
	return p, nil
}

// close frees what open opened.
func (p *proxy) close() {
	_ = p.listen.Close()
	for _, d := range []*direction{p.up, p.down} {
		if d.alarm != nil {
			d.alarm.close()
		}
	}
}

// addr returns the address for the clients.
func (p *proxy) addr() netip.AddrPort { return p.listen.LocalAddr().(*net.UDPAddr).AddrPort() }

// now returns the time since the start.
func (p *proxy) now() time.Duration { return time.Since(p.start) }

// fault remembers an error of one packet; run prints the last of each second.
func (p *proxy) fault(err error) { p.lastFail.Store(&err) }

// run forwards until ctx ends and prints counts to out and the last error of each second to errs. It
// frees the proxy. What is on the lines at the end is lost, and counted as held.
func (p *proxy) run(ctx context.Context, out, errs io.Writer) error {
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	var receiver, senders sync.WaitGroup
	receiver.Go(func() {
		if err := p.receive(); err != nil {
			end(err)
		}
	})
	senders.Go(p.up.run)
	senders.Go(p.down.run)

	err := p.watch(ctx, out, errs)
	if cause := context.Cause(ctx); err == nil && !errors.Is(cause, ctx.Err()) {
		err = cause
	}
	p.up.end()
	p.down.end()
	p.stopReading()
	receiver.Wait() // after it, no further client
	p.readers.Wait()
	senders.Wait()
	p.close()
	return errors.Join(err, p.print(out))
}

// watch prints and sweeps once a second until ctx ends or nobody reads.
func (p *proxy) watch(ctx context.Context, out, errs io.Writer) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if err := p.print(out); err != nil {
			return err
		}
		if last := p.lastFail.Swap(nil); last != nil {
			fmt.Fprintf(errs, "impair: last of this second's errors: %v\n", *last)
		}
		p.sweep(p.now())
	}
}

// print prints one line of counts.
func (p *proxy) print(out io.Writer) error {
	p.mu.Lock()
	known := len(p.clients.byAddr)
	p.mu.Unlock()
	err := json.NewEncoder(out).Encode(struct {
		Up      counts  `json:"up"`
		Down    counts  `json:"down"`
		Clients int     `json:"clients"`
		Seconds float64 `json:"seconds"` // since the start
	}{p.up.count(), p.down.count(), known, p.now().Round(time.Millisecond).Seconds()})
	if err != nil {
		return fmt.Errorf("print counts: %w", err)
	}
	return nil
}

// sweep forgets the clients that are silent; closing a socket ends its reader.
func (p *proxy) sweep(now time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.clients.expire(now) {
		_ = c.conn.Close()
	}
}

// stopReading closes all sockets, so that all readers end.
func (p *proxy) stopReading() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = true
	_ = p.listen.Close()
	for _, c := range p.clients.byAddr {
		_ = c.conn.Close()
	}
}

// receive takes what clients send until the socket is closed.
func (p *proxy) receive() error {
	buffer := make([]byte, maxDatagram+1)
	for {
		n, from, err := p.listen.ReadFromUDPAddrPort(buffer)
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read from clients: %w", err)
		}
		c, err := p.client(from)
		if err != nil {
			p.fault(err)
		}
		if err != nil || n > maxDatagram {
			p.up.refuse()
			continue
		}
		p.up.put(&packet{data: append([]byte(nil), buffer[:n]...), client: c})
	}
}

// client returns the client of an address, made if it is new.
func (p *proxy) client(addr netip.AddrPort) (*client, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c := p.clients.find(addr, p.now()); c != nil {
		return c, nil
	}
	if p.ended || p.clients.full() {
		return nil, fmt.Errorf("take client %v: %d are here already (--clients)", addr, p.clients.limit)
	}
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(p.to))
	if err != nil {
		return nil, fmt.Errorf("open a socket for client %v: %w", addr, err)
	}
	c := &client{addr: addr, conn: conn}
	p.clients.add(c, p.now())
	p.readers.Go(func() { p.answers(c) })
	return c, nil
}

// answers takes what the upstream sends to c until its socket is closed.
func (p *proxy) answers(c *client) {
	buffer := make([]byte, maxDatagram+1)
	for {
		n, err := c.conn.Read(buffer)
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil: // an ICMP message, mostly: nobody listens there, yet
			p.fault(fmt.Errorf("read answers for %v: %w", c.addr, err))
			continue
		case n > maxDatagram:
			p.down.refuse()
			continue
		}
		c.seen.Store(int64(p.now()))
		p.down.put(&packet{data: append([]byte(nil), buffer[:n]...), client: c})
	}
}
