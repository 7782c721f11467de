package link

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"dongthanh/internal/clock"
	"dongthanh/internal/config"
	"dongthanh/internal/control"
	"dongthanh/internal/identity"
	"dongthanh/internal/mediaclock"
	"dongthanh/internal/wire"
)

// Validate returns the faults of one upstream.
func (u Upstream) Validate() []config.Fault {
	var faults []config.Fault
	if p, err := url.Parse(u.Control); err != nil || p.Scheme != "wss" || p.Hostname() == "" || p.Port() == "" || p.User != nil ||
		(p.Path != "" && p.Path != "/") || p.RawQuery != "" || p.Fragment != "" {
		faults = append(faults, config.Faultf("control", "%q is not wss://host:port", u.Control))
	}
	if u.Media != "" {
		if err := config.CheckDial(u.Media); err != nil {
			faults = append(faults, config.Faultf("media", "%v", err))
		}
	}
	return faults
}

// Links are a node's upstreams. Safe for concurrent use.
type Links struct {
	options Options
	metrics metrics
	counter atomic.Uint64 // datagrams sent since the start
	kick    chan struct{} // capacity 1: something changed
	ups     []*upstream   // never changes
	own     atomic.Pointer[identity.Credentials]
	renewed chan struct{} // capacity 1: own was replaced

	mu       sync.Mutex // guards all below and the fields of upstream that say so
	pick     *picker
	random   *rand.Rand
	lastPath []string // as told; by the goroutine of Run only
	told     State    // likewise

	timeMu   sync.Mutex // guards all below and the filters; held for microseconds
	follower clock.Follower
	source   int // the upstream whose time is followed; -1: none yet
	used     bool
}

// New checks the options and registers the metrics: failovers_total, clock_offset_seconds (how far the offered time is
// from where the active upstream's time is believed to be), clock_error_seconds (bound of its error),
// clock_steps_total, upstreams_joined and upstream_datagrams_rejected_total{reason}, each with the prefix.
func New(o Options) (*Links, error) {
	if len(o.Upstreams) == 0 {
		return nil, errors.New("upstreams: none given")
	}
	r := rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))
	l := &Links{
		options: o, kick: make(chan struct{}, 1), renewed: make(chan struct{}, 1), random: r, source: -1,
		pick: newPicker(len(o.Upstreams), o.Clock.Now(), rand.New(rand.NewPCG(r.Uint64(), r.Uint64()))),
		told: State{Active: -1},
	}
	for i, at := range o.Upstreams {
		for _, f := range at.Validate() {
			return nil, fmt.Errorf("upstreams[%d].%s", i, f)
		}
		l.ups = append(l.ups, &upstream{n: i, at: at, own: o.Credentials.Node.ID, again: make(chan struct{}, 1)})
	}
	l.own.Store(o.Credentials)
	if err := l.newMetrics(); err != nil {
		return nil, err
	}
	return l, nil
}

// Run keeps the connections until ctx ends, and returns after the last goroutine has ended. An upstream that cannot be
// reached is tried for ever.
func (l *Links) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	l.mu.Lock()
	l.pick.start = l.options.Clock.Now()
	l.mu.Unlock()
	for _, u := range l.ups {
		wg.Go(func() { l.run(ctx, u) })
	}
	wg.Go(func() { l.renew(ctx) })
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-timer.C:
		case <-l.kick:
		}
		timer.Reset(l.step())
	}
}

// wake makes Run look again.
func (l *Links) wake() {
	select {
	case l.kick <- struct{}{}:
	default:
	}
}

// step does what is due and returns how long nothing will be.
func (l *Links) step() time.Duration {
	now := l.options.Clock.Now()
	l.mu.Lock()
	for _, u := range l.ups {
		l.pick.activity(u.n, mediaclock.Local(u.heard.Load()), mediaclock.Local(u.media.Load()), mediaclock.Local(u.beacon.Load()))
	}
	before := l.pick.active
	orders, next := l.pick.due(now)
	active := l.pick.active
	flows := make([]*flow, len(l.ups))
	for i, u := range l.ups {
		flows[i] = u.flow
	}
	l.mu.Unlock()
	if active != before {
		l.follow(active)
		if before >= 0 {
			l.options.Log.Info("another upstream is active", "upstream", l.ups[active].at.Control)
		}
	}
	l.obey(orders, flows)
	l.tell()
	return max(time.Millisecond, next.Sub(l.options.Clock.Now()))
}

// obey sends what the picker ordered.
func (l *Links) obey(orders []order, flows []*flow) {
	for _, o := range orders {
		f := flows[o.to]
		if f == nil {
			continue
		}
		switch o.kind {
		case sendPing:
			f.ping(l.options.Clock.Now, o.active)
		case sendResume:
			l.resume(f)
		case sendMute:
			f.send(wire.Mute, wire.MuteBody{On: true}.Append(nil))
		case rebind:
			if err := f.rebind(); err != nil {
				l.options.Log.Warn("upstream answers no pings, and another port cannot be opened", "upstream", l.ups[o.to].at.Control, "error", err)
			}
		}
	}
}

// resume asks for everything on air from where it goes on.
func (l *Links) resume(f *flow) {
	if l.options.Events.Positions == nil {
		return
	}
	for _, r := range l.options.Events.Positions() {
		f.send(wire.Resume, r.Append(nil))
	}
}

// tell calls the events of path and state if either changed. Only Run's goroutine calls it, so they stay in order.
func (l *Links) tell() {
	s := l.State()
	if l.options.Events.State != nil && !sameState(s, l.told) {
		l.options.Events.State(s)
	}
	l.told = s
	var path []string
	if s.Active >= 0 {
		path = s.Upstreams[s.Active].Path
	}
	if !slices.Equal(path, l.lastPath) {
		l.lastPath = path
		if l.options.Events.Path != nil {
			l.options.Events.Path(path)
		}
	}
}

// sameState compares all but the round trips.
func sameState(a, b State) bool {
	return a.Active == b.Active && slices.EqualFunc(a.Upstreams, b.Upstreams, func(x, y UpstreamState) bool {
		return x.Joined == y.Joined && x.Alive == y.Alive && x.Fed == y.Fed && x.Node == y.Node && x.Fault == y.Fault &&
			slices.Equal(x.Path, y.Path)
	})
}

// State returns a picture of all upstreams.
func (l *Links) State() State {
	l.timeMu.Lock()
	rtts := make([]time.Duration, len(l.ups))
	for i, u := range l.ups {
		rtts[i] = u.filter.Estimate().RTT
	}
	l.timeMu.Unlock()
	now := l.options.Clock.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	s := State{Active: -1}
	for i, u := range l.ups {
		v := &l.pick.views[i]
		active := i == l.pick.active && v.joined
		if active {
			s.Active = i
		}
		s.Upstreams = append(s.Upstreams, UpstreamState{
			URL: u.at.Control, Node: u.node, Joined: v.joined, Alive: l.pick.alive(now, i), Fed: v.joined && v.fed, Active: active,
			Path: slices.Clone(u.path), RTT: rtts[i], Fault: u.fault,
		})
	}
	return s
}

// RTT is the lowest round trip to the active upstream in the last minute; 0 while it is unknown.
func (l *Links) RTT() time.Duration {
	l.timeMu.Lock()
	defer l.timeMu.Unlock()
	if l.source < 0 {
		return 0
	}
	return l.ups[l.source].filter.Estimate().RTT
}

// prefers reports whether upstream u would be the active one as things stand.
func (l *Links) prefers(u *upstream) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return u.n == l.pick.active || l.pick.active < 0 && u.n == 0
}

// Failovers counts the switches from one upstream to another since the start.
func (l *Links) Failovers() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.pick.failovers
}

func (l *Links) joined() (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range l.pick.views {
		if l.pick.views[i].joined {
			n++
		}
	}
	return n
}

// draw returns a number drawn evenly from [0, 1).
func (l *Links) draw() float64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.random.Float64()
}

// conns returns the control connections that stand; only: that of one upstream.
func (l *Links) conns(only int) (conns []*control.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, u := range l.ups {
		if u.conn != nil && (only < 0 || u.n == only) {
			conns = append(conns, u.conn)
		}
	}
	return conns
}

// Send queues m to every joined upstream.
func (l *Links) Send(m control.Message) {
	for _, c := range l.conns(-1) {
		_ = c.Send(m) // its Run returns the error, and that is logged
	}
}

// SendActive queues m to the active upstream and reports whether there is one.
func (l *Links) SendActive(m control.Message) bool {
	l.mu.Lock()
	active := l.pick.active
	l.mu.Unlock()
	return active >= 0 && l.SendTo(active, m)
}

// SendTo queues m to one upstream and reports whether it is joined.
func (l *Links) SendTo(i int, m control.Message) bool {
	for _, c := range l.conns(i) {
		return c.Send(m) == nil
	}
	return false
}

// flow returns the active upstream's flow, nil if there is none.
func (l *Links) activeFlow() *flow {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.pick.active < 0 {
		return nil
	}
	return l.ups[l.pick.active].flow
}

// answering calls do with the flow of every upstream that answers pings.
func (l *Links) answering(do func(*flow)) {
	now := l.options.Clock.Now()
	var buf [8]*flow
	flows := buf[:0]
	l.mu.Lock()
	for i, u := range l.ups {
		if u.flow != nil && l.pick.alive(now, i) {
			flows = append(flows, u.flow)
		}
	}
	l.mu.Unlock()
	for _, f := range flows {
		do(f)
	}
}

// Report sends a signed.Report to the active upstream.
func (l *Links) Report(raw []byte) {
	if f := l.activeFlow(); f != nil {
		f.send(wire.Report, raw)
	}
}

// Nack asks the active upstream for packets; all: every upstream that answers (a gap of 220 ms or more, a bad tag).
func (l *Links) Nack(n wire.NackBody, all bool) {
	var buf [32]byte
	body := n.Append(buf[:0])
	if all {
		l.answering(func(f *flow) { f.send(wire.Nack, body) })
	} else if f := l.activeFlow(); f != nil {
		f.send(wire.Nack, body)
	}
}

// Resume asks every upstream that answers for all packets of a transmission from an index on: after a gap of three
// packets and 30 ms, or where a certificate came and no packet followed within 150 ms. A standby that delivers while
// the active upstream stays silent becomes active; otherwise it is muted again after a few seconds.
func (l *Links) Resume(r wire.ResumeBody) {
	now := l.options.Clock.Now()
	body := r.Append(nil)
	l.answering(func(f *flow) { f.send(wire.Resume, body) })
	l.mu.Lock()
	l.pick.gap(now)
	l.mu.Unlock()
	l.wake()
}
