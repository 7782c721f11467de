package clock

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"dongthanh/internal/mediaclock"
)

// link is a simulated path to an upstream: base delay, then what a queue adds on each way.
type link struct {
	down, up time.Duration // fixed parts
	grant    time.Duration // uplink grants: up to this much, evenly
	jitter   time.Duration // mean of an exponential tail, each way
	spikes   float64       // share of exchanges with a spike
	spike    time.Duration // its mean
	loss     float64
	stamp    time.Duration // timers and interrupts: up to this much, each way
}

// The links of facts/reliability.md §4.2.
var (
	lan     = link{down: 100 * time.Microsecond, up: 100 * time.Microsecond, jitter: 30 * time.Microsecond, stamp: 20 * time.Microsecond}
	fourG   = link{down: 20 * time.Millisecond, up: 20 * time.Millisecond, grant: 10 * time.Millisecond, jitter: 3 * time.Millisecond, stamp: 50 * time.Microsecond, loss: 0.02}
	fourBad = link{
		down: 20 * time.Millisecond, up: 40 * time.Millisecond, grant: 10 * time.Millisecond, jitter: 15 * time.Millisecond,
		spikes: 0.05, spike: 400 * time.Millisecond, loss: 0.1, stamp: 50 * time.Microsecond,
	}
)

func (k link) way(r *rand.Rand, fixed, grant time.Duration) time.Duration {
	d := fixed + time.Duration(r.Float64()*float64(grant)) + time.Duration(r.ExpFloat64()*float64(k.jitter)) +
		time.Duration(r.Float64()*float64(k.stamp))
	if r.Float64() < k.spikes {
		d += time.Duration(r.ExpFloat64() * float64(k.spike))
	}
	return d
}

// node is a simulated node: its own clock is off by a constant and by a skew that wanders slowly, and it pings as link
// does: 4 a second for 10 s, then one a second.
type node struct {
	r        *rand.Rand
	link     link
	skew     float64 // ppm
	origin   time.Duration
	filter   Filter
	follower Follower
	used     bool
	paused   func(t time.Duration) bool
	pending  []arrival
}

type arrival struct {
	at time.Duration
	s  Sample
}

const epoch = mediaclock.Instant(1_800_000_000_000_000_000)

// local is the node's clock at the true time t since the start.
func (n *node) local(t time.Duration) mediaclock.Local {
	wander := 1e-6 * 600 / (2 * math.Pi) * (1 - math.Cos(2*math.Pi*t.Seconds()/600)) // ±1 ppm over ten minutes
	return mediaclock.Local(n.origin + t + time.Duration(float64(t)*n.skew*1e-6+wander*1e9))
}

// run lives for d and calls watch ten times a second with the true time and the time offered.
func (n *node) run(d time.Duration, watch func(t time.Duration, r Reading)) {
	next := time.Duration(0)
	for t := time.Duration(0); t < d; t += 50 * time.Millisecond {
		if t >= next {
			n.ping(t)
			next += 250 * time.Millisecond
			if t > 10*time.Second {
				next = t + time.Second
			}
		}
		n.deliver(t)
		if t%(100*time.Millisecond) == 0 && watch != nil {
			watch(t, n.follower.At(n.local(t)))
		}
	}
}

// deliver hands in the exchanges whose pongs have come by t.
func (n *node) deliver(t time.Duration) {
	n.pending = slices.DeleteFunc(n.pending, func(a arrival) bool {
		if a.at <= t && n.filter.Add(a.s) {
			n.follower.Follow(a.s.T4, n.filter.Estimate(), n.used)
		}
		return a.at <= t
	})
}

// ping begins one exchange at t.
func (n *node) ping(t time.Duration) {
	if n.r.Float64() < 1-(1-n.link.loss)*(1-n.link.loss) || n.paused != nil && n.paused(t) {
		return
	}
	up := n.link.way(n.r, n.link.up, n.link.grant)
	down := n.link.way(n.r, n.link.down, 0)
	s := Sample{T1: n.local(t), T2: epoch.Add(t + up), T3: epoch.Add(t + up + 30*time.Microsecond), T4: n.local(t + up + 30*time.Microsecond + down)}
	n.pending = append(n.pending, arrival{t + up + 30*time.Microsecond + down, s})
}

func newNode(seed uint64, k link, skew float64) *node {
	return &node{r: rand.New(rand.NewPCG(seed, 7)), link: k, skew: skew, origin: time.Duration(seed) * time.Hour}
}

func percentile(all []time.Duration, p float64) time.Duration {
	s := slices.Sorted(slices.Values(all))
	return s[min(len(s)-1, int(p*float64(len(s))))]
}

// TestLinks holds the filter to the numbers of the study, with some room: on each link, whatever the crystal, from 20 s
// after the start.
func TestLinks(t *testing.T) {
	tests := []struct {
		name string
		link link
		p99  time.Duration // of |error|, half the asymmetry of the path included
		pair time.Duration // 95 % of the differences between two neighbours on such a link
	}{
		{"lan", lan, 60 * time.Microsecond, 60 * time.Microsecond},
		{"4G good", fourG, 4500 * time.Microsecond, 3 * time.Millisecond},
		{"4G bad", fourBad, 17 * time.Millisecond, 8 * time.Millisecond},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			for _, skew := range []float64{0, -100, 100, 40} {
				var all, pairs []time.Duration
				for seed := range uint64(4) {
					a := errorsOf(t, newNode(2*seed+1, tc.link, skew))
					b := errorsOf(t, newNode(2*seed+2, tc.link, -skew))
					for i := range a {
						all = append(all, a[i].Abs())
						pairs = append(pairs, (a[i] - b[i]).Abs())
					}
				}
				p99, pair := percentile(all, 0.99), percentile(pairs, 0.95)
				t.Logf("skew %4.0f ppm: p99 %s, pair p95 %s, pair p99 %s", skew, p99, pair, percentile(pairs, 0.99))
				if p99 > tc.p99 || pair > tc.pair {
					t.Errorf("skew %g ppm: p99 %s, pair p95 %s; want at most %s and %s", skew, p99, pair, tc.p99, tc.pair)
				}
			}
		})
	}
}

// errorsOf runs a node on air for ten minutes and returns its errors from 20 s on. On the way it checks what must
// always hold: time rises, its slope stays within bounds, and the error given covers the true one.
func errorsOf(t *testing.T, n *node) (errs []time.Duration) {
	t.Helper()
	n.used = true
	var last Reading
	var lastLocal mediaclock.Local
	uncovered := 0
	n.run(10*time.Minute, func(at time.Duration, r Reading) {
		if !r.Synced {
			if at > 5*time.Second {
				t.Fatalf("after %s there is no time yet", at)
			}
			return
		}
		l := n.local(at)
		if last.Synced {
			checkSlope(t, at, r.Now.Sub(last.Now), l.Sub(lastLocal))
		}
		last, lastLocal = r, l
		e := r.Now.Sub(epoch.Add(at))
		if e.Abs() > r.Error {
			uncovered++
		}
		if at >= 20*time.Second {
			errs = append(errs, e)
		}
	})
	if uncovered > 0 {
		t.Errorf("the error given was below the true one %d times", uncovered)
	}
	return errs
}

func checkSlope(t *testing.T, at, network, local time.Duration) {
	t.Helper()
	if slope := float64(network)/float64(local) - 1; math.Abs(slope) > 501e-6 {
		t.Fatalf("at %s time runs %+.0f ppm off, want at most 500", at, slope*1e6)
	}
}

// TestHoldover stops the pongs after two minutes: time goes on by the skew learnt, and the error given grows.
func TestHoldover(t *testing.T) {
	n := newNode(3, lan, 80)
	n.used = true
	n.paused = func(at time.Duration) bool { return at > 2*time.Minute }
	var before, after Reading
	n.run(12*time.Minute, func(at time.Duration, r Reading) {
		if at == 2*time.Minute {
			before = r
		}
		after = r
		if at > 30*time.Second {
			if e := r.Now.Sub(epoch.Add(at)); e.Abs() > r.Error {
				t.Fatalf("at %s the error is %s, given %s", at, e, r.Error)
			}
		}
	})
	if !after.Synced || after.Error <= before.Error {
		t.Errorf("after ten minutes of holdover: %+v; want still synced, and an error above %s", after, before.Error)
	}
	if e := after.Now.Sub(epoch.Add(12*time.Minute - 100*time.Millisecond)); e.Abs() > 5*time.Millisecond {
		t.Errorf("after ten minutes of holdover the error is %s, want at most 5 ms", e)
	}
}

// TestStreamerRestart moves network time by seconds, as a streamer does that restarts after its wall clock was set: the
// filter believes it after three exchanges that agree, and only then time steps.
func TestStreamerRestart(t *testing.T) {
	for _, jump := range []time.Duration{-3 * time.Second, 3 * time.Second} {
		n := newNode(5, fourG, 20)
		n.used = true
		n.run(time.Minute, nil)
		shifted := func(at time.Duration) Sample {
			up := n.link.way(n.r, n.link.up, n.link.grant)
			down := n.link.way(n.r, n.link.down, 0)
			return Sample{T1: n.local(at), T2: epoch.Add(at + up + jump), T3: epoch.Add(at + up + jump), T4: n.local(at + up + down)}
		}
		for i := range 3 {
			at := time.Minute + time.Duration(i)*time.Second
			s := shifted(at)
			believed := n.filter.Add(s)
			stepped := believed && n.follower.Follow(s.T4, n.filter.Estimate(), true)
			if want := i == 2; believed != want || stepped != want {
				t.Errorf("jump %s, exchange %d: believed %v, stepped %v; want both %v", jump, i, believed, stepped, want)
			}
		}
		if n.follower.Steps() != 1 {
			t.Errorf("jump %s: %d steps, want 1", jump, n.follower.Steps())
		}
		at := 70 * time.Second
		if e := n.follower.At(n.local(at)).Now.Sub(epoch.Add(at + jump)); e.Abs() > 10*time.Millisecond {
			t.Errorf("jump %s: afterwards the error is %s", jump, e)
		}
	}
}

// TestOneLiarIsNotBelieved: single exchanges that contradict all others change nothing.
func TestOneLiarIsNotBelieved(t *testing.T) {
	n := newNode(9, lan, 10)
	n.run(30*time.Second, nil)
	before := n.filter.Estimate()
	for i := range 20 {
		at := 30*time.Second + time.Duration(i)*time.Second
		lie := Sample{T1: n.local(at), T4: n.local(at + time.Millisecond), T2: epoch.Add(at + time.Minute), T3: epoch.Add(at + time.Minute)}
		if i%3 != 2 && n.filter.Add(lie) {
			t.Fatalf("exchange %d was believed", i)
		}
		if i%3 == 2 {
			n.ping(at)
			n.deliver(at + 900*time.Millisecond)
		}
	}
	at := 50 * time.Second
	if e := n.filter.Estimate().Line.At(n.local(at)).Sub(before.Line.At(n.local(at))); e.Abs() > time.Millisecond {
		t.Errorf("the estimate moved by %s", e)
	}
}

// TestSwitchOfUpstreamSlews: two upstreams whose times differ by 8 ms; after the switch offered time moves over without
// a jump while sound depends on it, and at once when nobody listens.
func TestSwitchOfUpstreamSlews(t *testing.T) {
	estimate := func(l mediaclock.Local, off time.Duration) Estimate {
		return Estimate{N: 50, Error: time.Millisecond, Line: Line{Local: l, Instant: epoch.Add(time.Duration(l) + off), Until: l}}
	}
	second := mediaclock.Local(time.Second)
	var f Follower
	f.Follow(second, estimate(second, 0), true)
	last := f.At(second).Now
	for i := range 300 {
		l := second.Add(time.Duration(i) * 100 * time.Millisecond)
		if i%10 == 0 && f.Follow(l, estimate(l, 8*time.Millisecond), true) {
			t.Fatal("time stepped while sound depended on it")
		}
		if i > 0 {
			checkSlope(t, time.Duration(l), f.At(l).Now.Sub(last), 100*time.Millisecond)
		}
		last = f.At(l).Now
	}
	end := second.Add(30 * time.Second)
	if e := f.At(end).Now.Sub(epoch.Add(time.Duration(end) + 8*time.Millisecond)); e.Abs() > 100*time.Microsecond {
		t.Errorf("after 30 s %s are left of 8 ms", e)
	}
	if !f.Follow(end, estimate(end, 0), false) || f.At(end).Now != epoch.Add(time.Duration(end)) {
		t.Error("unused time was not set at once")
	}
	if f.Follow(end, Estimate{N: 1, Line: Line{Local: end, Instant: 5}}, true) {
		t.Error("an upstream with one exchange was followed")
	}
}

// TestSignedTimesBound: an upstream that lies by a minute moves time no further than the beacons allow.
func TestSignedTimesBound(t *testing.T) {
	for _, tc := range []struct {
		name     string
		lie      time.Duration
		min, max time.Duration // of the error that results
	}{
		{"late", -time.Minute, -time.Second, 0},
		{"early", time.Minute, 0, 2100 * time.Millisecond},
		{"honest", 0, 0, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var f Follower
			for i := range 120 {
				l := mediaclock.Local(time.Duration(i) * time.Second)
				late := time.Duration(50+i%7*100) * time.Millisecond
				f.Signed(epoch.Add(time.Duration(l)-late), l)
				f.Follow(l, Estimate{N: 50, Line: Line{Local: l, Instant: epoch.Add(time.Duration(l) + tc.lie), Until: l}}, true)
				if e := f.At(l).Now.Sub(epoch.Add(time.Duration(l))); e < tc.min || e > tc.max {
					t.Fatalf("after %d s the error is %s, want %s to %s", i, e, tc.min, tc.max)
				}
			}
		})
	}
}

// TestIdle: a node that pings every 15 s keeps its time within the study's bounds for 4G.
func TestIdle(t *testing.T) {
	n := newNode(21, fourG, -60)
	n.run(30*time.Second, nil)
	for at := 30 * time.Second; at < 30*time.Minute; at += 15 * time.Second {
		n.ping(at)
		n.deliver(at + 14*time.Second)
		r := n.follower.At(n.local(at + 14*time.Second))
		if e := r.Now.Sub(epoch.Add(at + 14*time.Second)); e.Abs() > 8*time.Millisecond || e.Abs() > r.Error || !r.Synced {
			t.Fatalf("at %s: error %s, given %s, synced %v", at, e, r.Error, r.Synced)
		}
	}
}

// FuzzFilter feeds the filter exchanges that a hostile upstream could answer: whatever it says, offered time is finite,
// rises, and never runs more than 500 ppm off but where it steps.
func FuzzFilter(f *testing.F) {
	f.Add([]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24})
	f.Add(slices.Repeat([]byte{0xff, 0x7f, 0, 0x80}, 40))
	f.Fuzz(func(t *testing.T, data []byte) {
		var filter Filter
		var follower Follower
		now := mediaclock.Local(time.Second)
		var was Reading
		var wasAt mediaclock.Local
		for n := 0; len(data) >= 6 && n < 600; n++ {
			step := time.Duration(data[0])*10*time.Millisecond + time.Millisecond
			rtt := time.Duration(data[1]) * time.Duration(data[1]) * 100 * time.Microsecond
			off := time.Duration(int8(data[2])) * time.Duration(int64(1)<<(data[3]%56))
			hold := time.Duration(int8(data[4])) * time.Millisecond
			used := data[5]&1 == 0
			data = data[6:]
			now = now.Add(step)
			t1 := now.Add(-rtt)
			s := Sample{T1: t1, T4: now, T2: epoch.Add(time.Duration(t1) + off), T3: epoch.Add(time.Duration(t1) + off + hold), Error: rtt}
			if data := int64(s.T2); data%5 == 0 {
				follower.Signed(s.T2, now)
			}
			stepped := filter.Add(s) && follower.Follow(now, filter.Estimate(), used)
			r := follower.At(now)
			if r.Error < 0 {
				t.Fatalf("negative error %s", r.Error)
			}
			n, set := follower.Line()
			if max(n.Skew, -n.Skew)+max(n.Correction, -n.Correction) > MaxSlope {
				t.Fatalf("line %+v is steeper than %d ppb", n, MaxSlope)
			}
			if set && was.Now != 0 && !stepped {
				// The line's two terms are rounded to a nanosecond each.
				span, ran := now.Sub(wasAt), r.Now.Sub(was.Now)
				if off := ran - span; max(off, -off) > time.Duration(ppb(int64(span), MaxSlope))+2 {
					t.Fatalf("time ran %s in %s", ran, span)
				}
			}
			if set {
				was, wasAt = r, now
			}
		}
		if e := filter.Estimate(); cmp.Compare(e.Line.Skew, MaxSlope) > 0 {
			t.Fatalf("skew %d", e.Line.Skew)
		}
	})
}
