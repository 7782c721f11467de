package ingest

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"dongthanh/codec"
	"dongthanh/internal/mediaclock"
	"dongthanh/internal/seq"
	"dongthanh/streamer/internal/ingest/jitter"
)

// LineReason says why a Line ended.
type LineReason string

// The reasons.
const (
	LineOpen     LineReason = ""                       // it has not ended
	LineGoodbye  LineReason = "sender said goodbye"    // RTCP BYE
	LineSilent   LineReason = "sender fell silent"     // nothing came for ten seconds
	LineStreamer LineReason = "closed by the streamer" // Close was called
)

// Line is a line-in, a Source: one sender's Opus by RTP (RFC 7587) to a port of its own. Who the sender is, the first
// valid packet decides; see gate. What lies between the network's time and the streamer's clock is package jitter's work.
type Line struct {
	owner  *Lines
	listen netip.AddrPort
	sdp    string
	conns  []*net.UDPConn // one a family; receive has another for the sender alone

	media  sync.Mutex // guards gate and buffer, between the network's goroutines and the clock's
	gate   gate
	buffer *jitter.Buffer
	gauges gauges

	sender  atomic.Pointer[netip.Addr] // the latched address, to refuse a flood of others without taking media
	judged  [verdicts]atomic.Uint64    // datagrams by verdict
	lastAt  atomic.Int64               // when sound last came, on the owner's clock
	started chan struct{}
	done    chan struct{}
	running sync.WaitGroup // reading goroutines and watch

	startOnce, closeOnce sync.Once
	closing              chan struct{}
	left                 chan struct{} // holds one: the sender said goodbye

	mu     sync.Mutex // guards reason and conns while they grow
	reason LineReason
	broken atomic.Pointer[error] // why the sound broke off
	over   error                 // what Read returns for good; the reading goroutine's only
}

func newLine(owner *Lines, o LineOptions) (*Line, error) {
	dec, err := codec.NewDecoder()
	if err != nil {
		return nil, fmt.Errorf("open line-in: %w", err)
	}
	buffer, err := jitter.New(dec)
	if err != nil {
		return nil, fmt.Errorf("open line-in: %w", err)
	}
	buffer.Patient()
	l := &Line{
		owner: owner, gate: gate{from: o.networks()}, buffer: buffer,
		started: make(chan struct{}), done: make(chan struct{}), closing: make(chan struct{}), left: make(chan struct{}, 1),
	}
	var key []byte
	if o.SRTP {
		if key, l.gate.keys, err = newKeys(); err != nil {
			return nil, fmt.Errorf("open line-in: %w", err)
		}
	}
	if l.conns, l.listen, err = owner.cfg.bind(o); err != nil {
		return nil, fmt.Errorf("open line-in: %w", err)
	}
	l.sdp = describe(l.listen, key)
	return l, nil
}

// Listen returns the address and port that the sender sends to.
func (l *Line) Listen() netip.AddrPort { return l.listen }

// SDP describes what the line takes (RFC 8866, RFC 7587), with its key if it is encrypted: it is a secret then.
func (l *Line) SDP() string { return l.sdp }

// receive takes what comes to one socket until it is closed.
func (l *Line) receive(conn *net.UDPConn) {
	raw := make([]byte, maxDatagram+1) // a byte more tells what is too long
	for {
		n, from, err := conn.ReadFromUDPAddrPort(raw)
		switch {
		case err == nil:
		case l.ended() || errors.Is(err, net.ErrClosed):
			return
		default:
			continue // an ICMP error that another datagram caused
		}
		from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
		if sender := l.sender.Load(); sender != nil && from.Addr() != *sender {
			l.judged[second].Add(1)
			continue
		}
		l.take(from, raw[:n])
	}
}

// take judges a datagram, and keeps its sound.
func (l *Line) take(from netip.AddrPort, b []byte) {
	now := l.owner.now()
	l.media.Lock()
	known := l.gate.latched
	v := l.gate.take(from, b)
	ready := false
	if v == sound {
		p := &l.gate.packet
		l.buffer.Push(now, seq.Seq(p.SequenceNumber), mediaclock.Timestamp(p.Timestamp), p.Payload)
		ready = l.buffer.Ready(now)
		l.gauges.set(l.buffer.Stats())
	}
	l.media.Unlock()
	l.judged[v].Add(1)
	if v == sound {
		l.lastAt.Store(int64(now))
		if !known {
			ip := from.Addr()
			l.sender.Store(&ip)
			l.owner.log.Info("line-in has its sender", "listen", l.listen, "from", from, "encrypted", l.gate.keys != nil)
			l.keepApart(from)
		}
	}
	if ready {
		l.startOnce.Do(func() { close(l.started) })
	}
	if v == goodbye {
		select {
		case l.left <- struct{}{}:
		default:
		}
	}
	if l.owner.judged != nil {
		l.owner.judged(v)
	}
}

// keepApart gives the sender a queue of its own in the kernel, so that a flood from elsewhere to the same port displaces
// none of its packets. Where that does not work, all share one, as before.
func (l *Line) keepApart(from netip.AddrPort) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.reason != LineOpen {
		return
	}
	for _, c := range l.conns {
		if local := c.LocalAddr().(*net.UDPAddr).AddrPort(); local.Addr().Unmap().Is4() == from.Addr().Is4() {
			conn, err := own(c, from)
			if err != nil {
				l.owner.log.Warn("line-in shares its queue with strangers", "listen", l.listen, "error", err)
				return
			}
			l.conns = append(l.conns, conn)
			l.running.Go(func() { l.receive(conn) })
			return
		}
	}
}

// watch ends the line when its sender leaves, falls silent, or the streamer has enough.
func (l *Line) watch() {
	look := time.NewTicker(l.owner.silence / 10)
	defer look.Stop()
	for l.Reason() == LineOpen {
		select {
		case <-l.left:
			l.end(LineGoodbye)
		case <-l.closing:
			l.end(LineStreamer)
		case <-look.C:
			if at := l.lastAt.Load(); at != 0 && l.owner.now().Sub(mediaclock.Local(at)) > l.owner.silence {
				l.end(LineSilent)
			}
		}
	}
	l.owner.log.Info("line-in ended", "listen", l.listen, "reason", string(l.Reason()))
	l.owner.give(l)
}

// end notes why the line ended, and gives its port back.
func (l *Line) end(r LineReason) {
	l.mu.Lock()
	l.reason = r
	conns := l.conns
	l.mu.Unlock()
	if r == LineSilent {
		err := fmt.Errorf("read line-in: %w: %s", ErrLost, r)
		l.broken.Store(&err)
	} else {
		l.media.Lock()
		l.buffer.End()
		l.media.Unlock()
	}
	close(l.done)
	for _, c := range conns {
		_ = c.Close() // what matters is that it is over
	}
}

func (l *Line) ended() bool {
	select {
	case <-l.done:
		return true
	default:
		return false
	}
}

// Read gives the next 20 ms. After a goodbye or Close it gives what waits and then io.EOF; after the sender fell silent
// for too long, an error that wraps ErrLost.
func (l *Line) Read(frame []float32) error {
	if len(frame) != frameSamples {
		return errFrame(len(frame))
	}
	if broken := l.broken.Load(); broken != nil && l.over == nil {
		l.over = *broken
	}
	if l.over != nil {
		clear(frame)
		return l.over
	}
	now := l.owner.now()
	l.media.Lock()
	l.over = l.buffer.Pull(now, frame)
	l.gauges.set(l.buffer.Stats())
	l.media.Unlock()
	return l.over
}

// Started is closed when enough sound waits for the first Read to begin with it.
func (l *Line) Started() <-chan struct{} { return l.started }

// Done is closed when the line has ended; Reason says why. Its port is free then.
func (l *Line) Done() <-chan struct{} { return l.done }

// Reason says why the line ended, LineOpen while it has not.
func (l *Line) Reason() LineReason {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.reason
}

// Stats returns what the line has counted, a frame old at most.
func (l *Line) Stats() Stats { return l.gauges.get() }

// Close ends the line and waits until its port is free.
func (l *Line) Close() error {
	l.closeOnce.Do(func() { close(l.closing) })
	l.running.Wait()
	return nil
}
