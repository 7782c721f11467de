package link

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"

	"dongthanh/internal/clock"
	"dongthanh/internal/mediaclock"
	"dongthanh/internal/wire"
)

const (
	// readBuffer lets two seconds of replayed packets wait while the process is not scheduled.
	readBuffer = 1 << 20
	// expedited is DSCP EF (RFC 3246), as the media itself: what delays pings shifts network time.
	expedited = 0xb8
	// readPause keeps a socket that fails at once, again and again, from eating a core.
	readPause = 50 * time.Millisecond
)

// flow is the datagrams to and from one upstream under one join.
type flow struct {
	id       wire.FlowID
	up, down *wire.Key
	addr     netip.AddrPort
	conn     atomic.Pointer[net.UDPConn] // replaced by rebind
	counter  *atomic.Uint64              // of all datagrams since the start
	boot     uint32

	mu    sync.Mutex // guards all below
	ended bool
	pings [16]mediaclock.Local // T1 of pings not answered yet; 0: free
	next  int
}

// newFlow opens a socket of its own towards addr: the kernel then drops datagrams of all other senders.
func newFlow(id wire.FlowID, key [wire.KeyLen]byte, addr netip.AddrPort, counter *atomic.Uint64, boot uint32) (*flow, error) {
	f := &flow{id: id, up: wire.NewKey(key, wire.Up), down: wire.NewKey(key, wire.Down), addr: addr, counter: counter, boot: boot}
	c, err := dialUDP(addr)
	if err != nil {
		return nil, err
	}
	f.conn.Store(c)
	return f, nil
}

func dialUDP(addr netip.AddrPort) (*net.UDPConn, error) {
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(addr))
	if err != nil {
		return nil, fmt.Errorf("open socket to %s: %w", addr, err)
	}
	stamp(c)
	_ = c.SetReadBuffer(readBuffer) // less is granted without privileges; sound goes on with what there is
	if addr.Addr().Is4() || addr.Addr().Is4In6() {
		_ = ipv4.NewConn(c).SetTOS(expedited)
	} else {
		_ = ipv6.NewConn(c).SetTrafficClass(expedited)
	}
	return c, nil
}

// send writes one datagram. A datagram that the kernel refuses is lost like any other.
func (f *flow) send(t wire.Type, body []byte) {
	var buf [wire.MaxLen]byte
	if len(body) > wire.MaxBody {
		return
	}
	h := wire.Header{Type: t, Flow: f.id, Counter: wire.MakeCounter(f.boot, f.counter.Add(1))}
	_, _ = f.conn.Load().Write(f.up.Append(buf[:0], h, body))
}

// ping sends a PING stamped now.
func (f *flow) ping(now func() mediaclock.Local, active bool) {
	var body [16]byte
	f.mu.Lock()
	t1 := now()
	f.pings[f.next%len(f.pings)] = t1
	f.next++
	f.mu.Unlock()
	f.send(wire.Ping, wire.PingBody{T1: int64(t1), Active: active}.Append(body[:0]))
}

// answered matches a pong with its ping, once. Replayed and invented pongs match none.
func (f *flow) answered(t1 int64) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, t := range f.pings {
		if t != 0 && int64(t) == t1 {
			f.pings[i] = 0
			return true
		}
	}
	return false
}

// rebind goes on from another source port.
func (f *flow) rebind() error {
	c, err := dialUDP(f.addr)
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ended {
		return errors.Join(c.Close())
	}
	return f.conn.Swap(c).Close()
}

// end frees the reader; nothing is sent afterwards.
func (f *flow) end() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.ended {
		f.ended = true
		_ = f.conn.Load().Close()
	}
}

func (f *flow) isEnded() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.ended
}

// read hands every datagram to take, with the time it had waited to be read, until the flow ends.
func (f *flow) read(ctx context.Context, take func(raw []byte, waited time.Duration)) {
	var buf [2048]byte
	var oob [oobLen]byte
	for ctx.Err() == nil {
		n, waited, err := readStamped(f.conn.Load(), buf[:], oob[:])
		switch {
		case err == nil:
			take(buf[:n], waited)
		case f.isEnded():
			return
		case errors.Is(err, net.ErrClosed): // rebound
		default: // an ICMP error of an earlier datagram: the upstream is away, its control connection will tell
			pause := time.NewTimer(readPause)
			select {
			case <-ctx.Done():
			case <-pause.C:
			}
			pause.Stop()
		}
	}
}

// rejections of datagrams, as metrics name them.
const (
	rejectFormat  = "malformed"
	rejectFlow    = "wrong_flow"
	rejectTag     = "bad_tag"
	rejectPong    = "unasked_pong"
	rejectUnknown = "unknown_type"
)

// take handles one datagram of upstream u, on the goroutine that reads its socket.
func (l *Links) take(u *upstream, f *flow, raw []byte, waited time.Duration) {
	now := l.options.Clock.Now().Add(-waited)
	if len(raw) > 0 && raw[0] >= 128 && raw[0] <= 191 {
		u.media.Store(int64(now))
		u.heard.Store(int64(now))
		if l.options.Events.Media != nil {
			l.options.Events.Media(raw, now, u.n)
		}
		return
	}
	d, err := wire.Parse(raw)
	if err != nil {
		l.metrics.reject(rejectFormat)
		return
	}
	if d.Flow != f.id {
		l.metrics.reject(rejectFlow)
		return
	}
	if d.Verify(f.down) != nil {
		l.metrics.reject(rejectTag)
		return
	}
	u.heard.Store(int64(now))
	l.datagram(u, f, d, now)
}

// datagram handles one whose tag holds. No window guards against replays here: a pong must match a ping, and beacons
// and stops are signed objects that cannot do harm twice.
func (l *Links) datagram(u *upstream, f *flow, d wire.Datagram, now mediaclock.Local) {
	e := &l.options.Events
	switch d.Type {
	case wire.Pong:
		b, err := wire.ParsePong(d.Body)
		if err != nil {
			l.metrics.reject(rejectFormat)
		} else if !f.answered(b.T1) {
			l.metrics.reject(rejectPong)
		} else {
			l.pong(u, b, now)
		}
	case wire.Challenge:
		if _, err := wire.ParseCookie(d.Body); err != nil {
			l.metrics.reject(rejectFormat)
			return
		}
		f.send(wire.Challenge, d.Body)
	case wire.Beacon:
		b, err := wire.ParseBeacon(d.Body)
		if err != nil {
			l.metrics.reject(rejectFormat)
			return
		}
		if now.Sub(mediaclock.Local(u.beacon.Swap(int64(now)))) > airAfter {
			l.wake() // the pings must quicken
		}
		if e.Beacon != nil {
			e.Beacon(b, d.Body, now, u.n)
		}
	case wire.Stop:
		if e.Order != nil {
			e.Order(d.Body, u.n)
		}
	default:
		l.metrics.reject(rejectUnknown)
	}
}

// pong takes network time from an answer.
func (l *Links) pong(u *upstream, b wire.PongBody, now mediaclock.Local) {
	if b.Synced {
		l.timed(u, clock.Sample{T1: mediaclock.Local(b.T1), T4: now, T2: b.T2, T3: b.T3, Error: time.Duration(b.ErrorNS)})
	}
	l.mu.Lock()
	l.pick.pong(now, u.n, b.Bound)
	l.mu.Unlock()
	l.wake()
}
