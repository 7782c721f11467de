package link

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"dongthanh/internal/clock"
	"dongthanh/internal/control"
	"dongthanh/internal/identity"
	"dongthanh/internal/mediaclock"
	"dongthanh/internal/wire"
)

const (
	dialTime    = 10 * time.Second
	welcomeTime = 5 * time.Second
	maxPath     = 16
	// complainEvery is how often an upstream that cannot be reached is written to the log.
	complainEvery = time.Minute
)

// Errors of a join; test with errors.Is.
var (
	ErrLoop      = errors.New("the upstream hangs beneath this very node")
	ErrTooDeep   = errors.New("the upstream is more than 16 hops from the streamer")
	ErrNoWelcome = errors.New("no answer to the join")
	ErrProtocol  = errors.New("the upstream breaks the protocol")
)

// upstream is one of Links' upstreams.
type upstream struct {
	n   int
	at  Upstream
	own string // this node's id

	heard, media, beacon atomic.Int64 // mediaclock.Local of the last datagram, sound and beacon

	filter clock.Filter // guarded by Links.timeMu

	again chan struct{} // capacity 1: welcomed anew

	// Guarded by Links.mu.
	conn      *control.Conn         // nil: not joined
	flow      *flow                 // may outlive conn
	before    *flow                 // the flow before, which ends soon; nil: there is none
	shown     *identity.Credentials // to conn's peer
	rejoining bool                  // conn ended only to be made again with a new certificate
	node      identity.Node
	path      []string
	fault     string

	complained mediaclock.Local // by the goroutine of run
}

// run joins upstream u again and again until ctx ends.
func (l *Links) run(ctx context.Context, u *upstream) {
	var readers sync.WaitGroup
	defer readers.Wait()
	defer l.endFlow(u)
	if !pause(ctx, jitter(l.options.StartJitter, l.draw())) {
		return
	}
	var b backoff
	for {
		began := l.options.Clock.Now()
		stood, err := l.session(ctx, u, &readers)
		if ctx.Err() != nil {
			return
		}
		if errors.Is(err, errRenewed) {
			l.parted(u)
			continue
		}
		l.left(u, err)
		now := l.options.Clock.Now()
		var lasted time.Duration
		if stood {
			lasted = now.Sub(began)
		}
		l.complain(u, now, stood, err)
		wait := b.next(now, failureOf(stood, err), lasted, l.draw())
		var refused *control.Refused
		if errors.As(err, &refused) && refused.After > 0 { // half as much again, or all who were refused come back at once
			wait = max(wait, refused.After+jitter(refused.After/2, l.draw()))
		}
		if !pause(ctx, wait) {
			return
		}
	}
}

// passing are the codes of refusals that have nothing to do with who we are.
var passing = []string{control.CodeBusy, control.CodeInternal, "http"}

// failureOf sorts what ended or prevented a connection.
func failureOf(stood bool, err error) failure {
	var refused *control.Refused
	switch {
	case errors.Is(err, ErrLoop), errors.As(err, &refused) && refused.Code == control.CodeLoop:
		return looped
	case refused != nil && !slices.Contains(passing, refused.Code), errors.Is(err, control.ErrRejected), errors.Is(err, ErrTooDeep):
		return told
	case errors.Is(err, syscall.ECONNREFUSED):
		return closedPort
	case stood:
		return lost
	}
	return busy
}

// complain writes one line about a failure: at once if a connection was lost, otherwise once a minute.
func (l *Links) complain(u *upstream, now mediaclock.Local, stood bool, err error) {
	if !stood && u.complained != 0 && now.Sub(u.complained) < complainEvery {
		return
	}
	u.complained = now
	message := "upstream cannot be joined, trying again"
	if stood {
		message = "upstream lost, joining again"
	}
	l.options.Log.Warn(message, "upstream", u.at.Control, "error", oneLine(err))
}

// oneLine keeps an error readable in a log and on a page.
func oneLine(err error) string {
	return strings.Join(strings.Fields(err.Error()), " ")
}

// session joins once and serves the connection until it ends. stood says whether the upstream welcomed us.
func (l *Links) session(ctx context.Context, u *upstream, readers *sync.WaitGroup) (stood bool, err error) {
	dialing, stop := context.WithTimeout(ctx, dialTime)
	own := l.own.Load()
	conn, err := control.Dial(dialing, u.at.Control, own)
	stop()
	if err != nil {
		return false, fmt.Errorf("join upstream: %w", err)
	}
	join := control.Join{Version: l.options.Version, Standby: !l.prefers(u), Boot: l.options.Boot}
	_ = conn.Send(control.Message{Join: &join}) // Run returns why it failed
	patience := time.AfterFunc(welcomeTime, func() { conn.Close(ErrNoWelcome) })
	defer patience.Stop()
	err = conn.Run(ctx, func(m control.Message) {
		if stood {
			l.message(u, conn, m)
			return
		}
		switch {
		case m.Refuse != nil:
			conn.Close(&control.Refused{Code: m.Refuse.Code, Reason: m.Refuse.Reason})
		case m.Welcome != nil && patience.Stop():
			if fault := l.welcome(ctx, u, conn, own, *m.Welcome, readers); fault != nil {
				conn.Close(fault)
				return
			}
			stood = true
		default:
			conn.Close(fmt.Errorf("%w: the first message is no welcome", ErrProtocol))
		}
	})
	return stood, fmt.Errorf("serve upstream: %w", err)
}

// welcome begins the flow of a join that was accepted.
func (l *Links) welcome(ctx context.Context, u *upstream, conn *control.Conn, own *identity.Credentials, w control.Welcome, readers *sync.WaitGroup) error {
	if len(w.Flow) != len(wire.FlowID{}) {
		return fmt.Errorf("%w: flow id of %d bytes", ErrProtocol, len(w.Flow))
	}
	if err := checkPath(w.Path, u.own, conn.Peer().ID); err != nil {
		return err
	}
	addr, err := mediaAddr(ctx, u.at.Media, w.Media, conn.RemoteAddr())
	if err != nil {
		return err
	}
	id := wire.FlowID(w.Flow)
	f, err := newFlow(id, conn.FlowKey(id), addr, &l.counter, l.options.Boot)
	if err != nil {
		return err
	}
	again := l.replaceFlow(u)
	now := l.options.Clock.Now()
	l.mu.Lock()
	u.conn, u.flow, u.shown, u.node, u.path, u.fault, u.rejoining = conn, f, own, conn.Peer(), slices.Clone(w.Path), "", false
	l.pick.joined(now, u.n, fed(u.node, u.path), again)
	l.mu.Unlock()
	l.welcomed(u, own)
	readers.Go(func() { f.read(ctx, func(raw []byte, waited time.Duration) { l.take(u, f, raw, waited) }) })
	l.options.Log.Info("upstream joined", "upstream", u.at.Control, "node", u.node.ID, "media", addr.String(), "hops", len(u.path))
	if l.options.Events.Joined != nil {
		l.options.Events.Joined(u.n, u.node)
	}
	l.wake()
	return nil
}

// checkPath refuses a hop list that leads through ourselves, is too long, or does not end at the upstream.
func checkPath(path []string, own, peer string) error {
	switch {
	case slices.Contains(path, own):
		return ErrLoop
	case len(path) > maxPath:
		return ErrTooDeep
	case len(path) == 0 || path[len(path)-1] != peer:
		return fmt.Errorf("%w: its hop list does not end with itself", ErrProtocol)
	}
	return nil
}

// fed reports whether an upstream has a way to the streamer: it is one, or hangs beneath another node.
func fed(n identity.Node, path []string) bool { return n.Kind == identity.Streamer || len(path) > 1 }

// mediaAddr finds where datagrams go: what the configuration says, or the upstream, or where the control connection
// leads if there is no host.
func mediaAddr(ctx context.Context, configured, given string, control netip.AddrPort) (netip.AddrPort, error) {
	text := given
	if configured != "" {
		text = configured
	}
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("%w: media address %q", ErrProtocol, text)
	}
	n, err := net.DefaultResolver.LookupPort(ctx, "udp", port)
	if err != nil || n == 0 {
		return netip.AddrPort{}, fmt.Errorf("%w: media port %q", ErrProtocol, port)
	}
	if host == "" {
		return netip.AddrPortFrom(control.Addr().Unmap(), uint16(n)), nil
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		return netip.AddrPortFrom(ip.Unmap(), uint16(n)), nil
	}
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil || len(ips) == 0 {
		return netip.AddrPort{}, fmt.Errorf("find media address %q: %w", text, err)
	}
	best := ips[0]
	for _, ip := range ips { // the family that control goes by is known to work
		if ip.Unmap().Is4() == control.Addr().Unmap().Is4() {
			best = ip
			break
		}
	}
	return netip.AddrPortFrom(best.Unmap(), uint16(n)), nil
}

// message handles one that follows the welcome.
func (l *Links) message(u *upstream, conn *control.Conn, m control.Message) {
	e := &l.options.Events
	switch {
	case m.Path != nil:
		if err := checkPath(m.Path.Nodes, u.own, conn.Peer().ID); err != nil {
			conn.Close(err)
			return
		}
		l.mu.Lock()
		u.path = slices.Clone(m.Path.Nodes)
		l.pick.path(u.n, fed(u.node, u.path))
		l.mu.Unlock()
		l.wake()
	case m.Session != nil && e.Session != nil:
		e.Session(*m.Session, u.n)
	case m.Stop != nil && e.Stop != nil:
		e.Stop(*m.Stop, u.n)
	case m.Keys != nil && e.Keys != nil:
		e.Keys(*m.Keys, u.n)
	case m.Order != nil && e.NodeOrder != nil:
		e.NodeOrder(*m.Order, u.n)
	case m.Certificate != nil && e.Certificate != nil:
		e.Certificate(*m.Certificate, u.n)
	case m.Revoked != nil && e.Revoked != nil:
		e.Revoked(*m.Revoked, u.n)
	case m.Resync != nil && e.Resync != nil:
		e.Resync(u.n)
	case m.EnrolReply != nil && e.EnrolReply != nil:
		e.EnrolReply(*m.EnrolReply, u.n)
	case m.Refuse != nil:
		conn.Close(&control.Refused{Code: m.Refuse.Code, Reason: m.Refuse.Reason})
	}
}

// left records that upstream u is not joined any more, or still not.
func (l *Links) left(u *upstream, err error) {
	l.mu.Lock()
	u.conn, u.fault, u.rejoining = nil, oneLine(err), false
	l.pick.left(u.n)
	l.mu.Unlock()
	l.wake()
}

// endFlow ends what is left of the flow before.
func (l *Links) endFlow(u *upstream) {
	l.mu.Lock()
	flows := []*flow{u.flow, u.before}
	u.flow, u.before = nil, nil
	l.mu.Unlock()
	for _, f := range flows {
		if f != nil {
			f.end()
		}
	}
}

// pause waits for d; false if ctx ended before.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
