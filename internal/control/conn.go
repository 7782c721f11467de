package control

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/websocket"

	"dongthanh/internal/identity"
	"dongthanh/internal/wire"
)

// Subprotocol is what both ends of the WebSocket must agree on (RFC 6455 §1.9).
const Subprotocol = "dongthanh.control.v1"

// The times of a connection (DESIGN §7, §8).
const (
	pingEvery   = 15 * time.Second
	pingYoung   = 5 * time.Second // while the connection is young: a broken path shows early
	young       = time.Minute
	deadAfter   = 45 * time.Second
	writeWithin = 5 * time.Second
	firstWithin = 10 * time.Second // the first message must come
	partWithin  = time.Second      // a parting word must be said, and be answered
)

// Pings beyond this many in the window are a flood; honest peers send two.
const (
	maxPings   = 20
	pingWindow = 10 * time.Second
)

var errFlood = errors.New("flood of pings")

// Conn is one control connection: a WebSocket over mutually authenticated TLS. Send may be called from any goroutine;
// Run must be called once, else Close.
type Conn struct {
	ws     *websocket.Conn
	tls    *tls.Conn
	peer   identity.Node
	cert   *x509.Certificate
	server bool // this end accepted

	queue chan []byte   // bound QueueLen; a message more ends the connection (ErrSlow)
	pongs chan string   // the answer to a ping, written by the writer: reading must never wait for writing
	done  chan struct{} // closed when it begins to end

	mu      sync.Mutex // guards what follows
	running bool
	heard   bool // the first message came: from then on any sign of life counts
	flush   bool // what is queued goes out before the end
	err     error
}

func newConn(ws *websocket.Conn, t *tls.Conn, peer identity.Node, cert *x509.Certificate, server bool) *Conn {
	return &Conn{
		ws: ws, tls: t, peer: peer, cert: cert, server: server,
		queue: make(chan []byte, QueueLen), pongs: make(chan string, 1), done: make(chan struct{}),
	}
}

// Peer returns who is at the other end, by its certificate.
func (c *Conn) Peer() identity.Node { return c.peer }

// Certificate returns the peer's certificate.
func (c *Conn) Certificate() *x509.Certificate { return c.cert }

// LocalAddr is this end's address.
func (c *Conn) LocalAddr() netip.AddrPort { return addrPort(c.tls.LocalAddr()) }

// RemoteAddr is the other end's address.
func (c *Conn) RemoteAddr() netip.AddrPort { return addrPort(c.tls.RemoteAddr()) }

// FlowKey derives a flow's key by TLS exporter (RFC 8446 §7.5, label Exporter, context the flow id). Both ends get the
// same, and nobody else.
func (c *Conn) FlowKey(flow wire.FlowID) [wire.KeyLen]byte {
	cs := c.tls.ConnectionState()
	key, err := cs.ExportKeyingMaterial(Exporter, flow[:], wire.KeyLen)
	if err != nil {
		panic(fmt.Sprintf("export 32 bytes from a finished TLS 1.3 handshake: %v", err)) // impossible
	}
	return [wire.KeyLen]byte(key)
}

// Send queues m and never waits. ErrClosed if the connection has ended; ErrSlow if the queue is full, which ends it:
// the peer comes back and is told everything anew. ErrMalformed and ErrTooLarge are the caller's and end nothing.
func (c *Conn) Send(m Message) error {
	f, err := Encode(m)
	if err != nil {
		return err
	}
	return c.SendFrame(f)
}

// SendFrame is Send for a message that goes to many.
func (c *Conn) SendFrame(f Frame) error {
	select {
	case <-c.done:
		return ErrClosed
	default:
	}
	select {
	case c.queue <- f.text:
		return nil
	default:
		c.Close(ErrSlow)
		return ErrSlow
	}
}

// Refuse sends r behind what is queued and ends the connection.
func (c *Conn) Refuse(r Refuse) error {
	err := c.Send(Message{Refuse: &r})
	c.end(&Refused{Code: r.Code, Reason: r.Reason}, true)
	return err
}

// Close ends the connection; what is queued is dropped. Run returns err, or ErrClosed if err is nil. It does not wait
// for Run; later calls change nothing.
func (c *Conn) Close(err error) { c.end(err, false) }

func (c *Conn) end(err error, flush bool) {
	if err == nil {
		err = ErrClosed
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case <-c.done:
		return
	default:
	}
	c.err, c.flush = err, flush
	close(c.done)
	if !c.running {
		c.cut()
		return
	}
	c.bound(partWithin) // the writer says farewell, the reader waits for the answer: not for long
}

// Done is closed when the connection begins to end.
func (c *Conn) Done() <-chan struct{} { return c.done }

// Run sends what is queued and hands each message to handler, on this goroutine, in order; a message of a later version
// is left out. handler must not block: while it runs nothing else is read. It returns why the connection ended: the cause of ctx, what Close was given, ErrSilent after 45 s without
// a sign of life, ErrSlow, ErrMalformed, ErrTooLarge, ErrClosed. Nothing of the connection runs when it has returned.
func (c *Conn) Run(ctx context.Context, handler func(Message)) error {
	c.mu.Lock()
	if c.running {
		c.mu.Unlock()
		return errors.New("run a control connection a second time")
	}
	c.running = true
	select {
	case <-c.done:
		err := c.err
		c.mu.Unlock()
		return err
	default:
	}
	c.bound(firstWithin)
	c.mu.Unlock()

	var wg sync.WaitGroup
	wg.Go(c.write)
	wg.Go(func() {
		select {
		case <-ctx.Done():
			c.Close(context.Cause(ctx))
		case <-c.done:
		}
	})
	c.Close(c.read(handler))
	late := time.AfterFunc(partWithin, c.cut) // the writer may be stuck in a peer that reads nothing
	wg.Wait()
	late.Stop()
	c.cut()
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// read returns why no more can be read.
func (c *Conn) read(handler func(Message)) error {
	var pings int
	var window time.Time
	c.ws.SetPingHandler(func(data string) error {
		if now := time.Now(); now.Sub(window) > pingWindow {
			window, pings = now, 0
		}
		if pings++; pings > maxPings {
			return errFlood
		}
		c.alive(false)
		select {
		case c.pongs <- data:
		default: // the last one is not answered yet; one answer to both is enough (RFC 6455 §5.5.3)
		}
		return nil
	})
	c.ws.SetPongHandler(func(string) error { c.alive(false); return nil })
	c.ws.SetReadLimit(MaxMessage)
	if c.server {
		c.ws.SetReadLimit(FirstMessage)
	}
	for {
		kind, text, err := c.ws.ReadMessage()
		if errors.Is(err, errFlood) {
			return err
		}
		if err != nil {
			return ended(err)
		}
		if kind != websocket.TextMessage {
			return fmt.Errorf("%w: binary", ErrMalformed)
		}
		m, err := decode(text)
		if err != nil {
			return err
		}
		c.alive(true)
		c.ws.SetReadLimit(MaxMessage)
		select {
		case <-c.done: // it is over; what comes now is only read to find the peer's farewell
			continue
		default:
		}
		if m.members() == 1 {
			handler(m)
		}
	}
}

// write sends what is queued, pings, and the parting word.
func (c *Conn) write() {
	born := time.Now()
	ping := time.NewTimer(pingYoung)
	defer ping.Stop()
	for {
		select {
		case text := <-c.queue:
			if !c.put(text) {
				return
			}
		case data := <-c.pongs:
			if !c.say(websocket.PongMessage, data) {
				return
			}
		case <-ping.C:
			if !c.say(websocket.PingMessage, "") {
				return
			}
			next := pingEvery
			if time.Since(born) < young {
				next = pingYoung
			}
			ping.Reset(next)
		case <-c.done:
			c.mu.Lock()
			flush, err := c.flush, c.err
			c.mu.Unlock()
			for flush && len(c.queue) > 0 {
				if !c.put(<-c.queue) {
					return
				}
			}
			// Best effort: the connection ends in any case.
			_ = c.ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(closeCode(err), parting(err)), time.Now().Add(partWithin))
			return
		}
	}
}

func (c *Conn) say(kind int, data string) bool {
	if err := c.ws.WriteControl(kind, []byte(data), time.Now().Add(writeWithin)); err != nil {
		c.Close(unwritten(err))
		return false
	}
	return true
}

func (c *Conn) put(text []byte) bool {
	err := c.ws.SetWriteDeadline(time.Now().Add(writeWithin))
	if err == nil {
		err = c.ws.WriteMessage(websocket.TextMessage, text)
	}
	if err != nil {
		c.Close(unwritten(err))
		return false
	}
	return true
}

// unwritten says why writing failed: a peer that reads nothing for 5 s is slow.
func unwritten(err error) error {
	var network net.Error
	if errors.As(err, &network) && network.Timeout() {
		return ErrSlow
	}
	return fmt.Errorf("%w: %w", ErrClosed, err)
}

// parting is the reason in a close frame, which holds 123 bytes (RFC 6455 §5.5).
func parting(err error) string {
	s := err.Error()
	return strings.ToValidUTF8(s[:min(len(s), 100)], "")
}

// alive puts off the end: something came from the peer. Until its first message only that counts.
func (c *Conn) alive(message bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case <-c.done:
		return
	default:
	}
	if c.heard = c.heard || message; c.heard {
		c.bound(deadAfter)
	}
}

// bound lets reading end in d at the latest. The caller holds mu.
func (c *Conn) bound(d time.Duration) {
	if err := c.ws.SetReadDeadline(time.Now().Add(d)); err != nil {
		c.cut() // it is closed already
	}
}

// cut closes the socket beneath TLS, which frees a blocked read and write at once. TLS's own farewell could block.
func (c *Conn) cut() {
	_ = c.tls.NetConn().Close() // nothing can be done about it, and a second close is no fault
}

func addrPort(a net.Addr) netip.AddrPort {
	if t, ok := a.(*net.TCPAddr); ok {
		p := t.AddrPort()
		return netip.AddrPortFrom(p.Addr().Unmap(), p.Port())
	}
	return netip.AddrPort{}
}
