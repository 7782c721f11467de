package link

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"dongthanh/internal/mediaclock"
)

// far is one simulated upstream, in virtual time.
type far struct {
	join  []time.Duration // when it is joined; then left, joined, … in turn
	fed   func(t time.Duration) bool
	rtt   time.Duration
	loss  float64                    // of pings and pongs, each way
	dark  func(t time.Duration) bool // datagrams vanish, control stands
	still func(t time.Duration) bool // answers pings, sends no media
	media bool                       // it has sound to send

	active bool // as the last PING, RESUME or MUTE says
}

func between(a, b time.Duration) func(time.Duration) bool {
	return func(t time.Duration) bool { return t >= a && t < b }
}

// night is a simulation of one node and its upstreams.
type night struct {
	ups   []*far
	pick  *picker
	r     *rand.Rand
	log   []string // what happened, in order
	pings []int
	later []event
	gapAt func(t time.Duration) bool // the node's own gap detector says Resume
	on    func(t time.Duration) bool
	heard time.Duration // last media of anyone
	gap   time.Duration // longest silence while on air
	both  time.Duration // how long more than one sent

	beacons bool // one a second
	since   time.Duration
}

type event struct {
	at time.Duration
	do func(t time.Duration)
}

func (n *night) note(t time.Duration, format string, a ...any) {
	n.log = append(n.log, fmt.Sprintf("%.2f ", t.Seconds())+fmt.Sprintf(format, a...))
}

func local(t time.Duration) mediaclock.Local { return mediaclock.Local(time.Hour + t) }

func (u *far) dark_(t time.Duration) bool { return u.dark != nil && u.dark(t) }

// run lives for d in steps of 10 ms.
func (n *night) run(d time.Duration) {
	const step = 10 * time.Millisecond
	n.pick = newPicker(len(n.ups), local(0), rand.New(rand.NewPCG(1, 2)))
	n.pings = make([]int, len(n.ups))
	joined := make([]bool, len(n.ups))
	was := -1
	var next mediaclock.Local
	for t := time.Duration(0); t < d; t += step {
		now := local(t)
		for i, u := range n.ups {
			for k, at := range u.join {
				if t == at {
					joined[i] = k%2 == 0
					if joined[i] {
						n.pick.joined(now, i, u.fed == nil || u.fed(t), false)
						u.active = i == n.pick.active || n.pick.active < 0 && i == 0
					} else {
						n.pick.left(i)
						u.active = false
					}
					next = now
				}
			}
			if joined[i] && u.fed != nil && u.fed(t) != n.pick.views[i].fed {
				n.pick.path(i, u.fed(t))
				next = now
			}
		}
		n.media(t, joined, step)
		if n.beacons && t%time.Second == 0 && t >= n.since {
			if t > 30*time.Second { // what Links do with the first beacon after a pause
				next = now
			}
			n.pick.activity(0, now, 0, now)
		}
		n.later = slices.DeleteFunc(n.later, func(e event) bool {
			if e.at <= t {
				e.do(t)
				next = now
			}
			return e.at <= t
		})
		if n.on != nil {
			if on := n.on(t); on != n.pick.onAir {
				n.pick.air(now, on)
				next = now
			}
		}
		if n.gapAt != nil && n.gapAt(t) {
			n.resume(t, joined)
			next = now
		}
		if now < next {
			continue
		}
		var orders []order
		orders, next = n.pick.due(now)
		if next <= now {
			n.note(t, "BUSY LOOP")
			next = now + 1
		}
		if n.pick.active != was {
			n.note(t, "active %d", n.pick.active)
			was = n.pick.active
		}
		for _, o := range orders {
			n.obey(t, o, joined)
		}
	}
}

// media delivers a packet every 40 ms from whoever sends.
func (n *night) media(t time.Duration, joined []bool, step time.Duration) {
	senders := 0
	for i, u := range n.ups {
		if joined[i] && u.media && u.active && !u.dark_(t) && (u.still == nil || !u.still(t)) {
			senders++
			if t%(40*time.Millisecond) == 0 && n.r.Float64() >= u.loss {
				n.pick.activity(i, local(t), local(t), 0)
				n.heard = t
			}
		}
	}
	if senders > 1 {
		n.both += step
	}
	if n.pick.onAir && n.heard > 0 {
		n.gap = max(n.gap, t-n.heard)
	}
}

// resume is what Links.Resume does.
func (n *night) resume(t time.Duration, joined []bool) {
	for i, u := range n.ups {
		if n.pick.alive(local(t), i) && joined[i] && !u.dark_(t) {
			u.active = true
		}
	}
	n.pick.gap(local(t))
}

func (n *night) obey(t time.Duration, o order, joined []bool) {
	u := n.ups[o.to]
	lost := !joined[o.to] || u.dark_(t) || n.r.Float64() < u.loss
	switch o.kind {
	case sendPing:
		n.pings[o.to]++
		if lost {
			return
		}
		u.active = o.active
		if n.r.Float64() >= u.loss {
			n.later = append(n.later, event{t + u.rtt, func(t time.Duration) { n.pick.pong(local(t), o.to, true) }})
		}
	case sendResume:
		if !lost {
			u.active = true
		}
	case sendMute:
		n.note(t, "mute %d", o.to)
		if !lost {
			u.active = false
		}
	case rebind:
		n.note(t, "rebind %d", o.to)
	}
}

// TestNights plays whole nights and compares their transcripts.
func TestNights(t *testing.T) {
	always := between(0, time.Hour)
	ms := time.Millisecond
	s := time.Second
	plain := func(rtt time.Duration, join ...time.Duration) *far { return &far{join: join, rtt: rtt, media: true} }
	tests := []struct {
		name  string
		night night
		d     time.Duration
		want  []string      // of the transcript; rebinds left out unless asked for
		gap   time.Duration // longest silence allowed
	}{
		{"one upstream", night{ups: []*far{plain(5*ms, 50*ms)}, on: always}, 60 * s, []string{"0.06 active 0"}, 100 * ms},
		{"the preferred joins last, within the grace", night{ups: []*far{plain(5*ms, 300*ms), plain(5*ms, 20*ms)}, on: always}, 60 * s,
			[]string{"0.31 active 0"}, 400 * ms},
		{"the preferred joins late", night{ups: []*far{plain(5*ms, 10*s), plain(5*ms, 20*ms)}, on: always}, 60 * s,
			[]string{"1.00 active 1", "15.01 active 0", "15.51 mute 1"}, 100 * ms},
		{"the active one's control closes and it comes back", night{ups: []*far{plain(5*ms, 0, 20*s, 23*s), plain(5*ms, 0)}, on: always}, 60 * s,
			[]string{"0.01 active 0", "20.00 active 1", "20.50 mute 0", "28.01 active 0", "28.51 mute 1"}, 100 * ms},
		{"the active one flaps", night{ups: []*far{plain(5*ms, 0, 20*s, 21*s, 24*s, 25*s, 28*s, 29*s), plain(5*ms, 0)}, on: always}, 60 * s,
			[]string{"0.01 active 0", "20.00 active 1", "20.50 mute 0", "34.01 active 0", "34.51 mute 1"}, 100 * ms},
		{"the active one turns dark", night{ups: []*far{{media: true, join: []time.Duration{0}, rtt: 5 * ms, dark: between(30*s, 60*s)}, plain(5*ms, 0)}, on: always}, 90 * s,
			[]string{"0.01 active 0", "32.63 active 1", "33.13 mute 0", "65.25 active 0", "65.75 mute 1"}, 3500 * ms},
		{"it turns dark while its neighbour has no way to the streamer", night{ups: []*far{
			{media: true, join: []time.Duration{0}, rtt: 5 * ms, dark: between(30*s, 60*s)},
			{join: []time.Duration{0}, rtt: 5 * ms, fed: between(0, 0)}}, on: always}, 90 * s,
			[]string{"0.01 active 0", "32.63 active 1", "33.13 mute 0", "60.25 active 0", "60.75 mute 1"}, time.Hour},
		{"the active one loses its own upstream for a while", night{ups: []*far{
			{media: true, join: []time.Duration{0}, rtt: 5 * ms, fed: func(t time.Duration) bool { return t < 20*s || t > 22*s }}, plain(5*ms, 0)}, on: always}, 60 * s,
			[]string{"0.01 active 0", "20.00 active 1", "20.50 mute 0", "27.01 active 0", "27.51 mute 1"}, 100 * ms},
		{"both lose theirs", night{ups: []*far{
			{media: true, join: []time.Duration{0}, rtt: 5 * ms, fed: between(0, 20*s)},
			{media: true, join: []time.Duration{0}, rtt: 5 * ms, fed: between(0, 20*s)}}, on: always}, 60 * s,
			[]string{"0.01 active 0"}, 100 * ms},
		{"a gap while the active one lives on: the standby helps and is muted again", night{ups: []*far{plain(5*ms, 0), plain(5*ms, 0)}, on: always,
			gapAt: func(t time.Duration) bool { return t == 30*s }}, 60 * s,
			[]string{"0.01 active 0", "33.09 mute 1"}, 100 * ms},
		{"the active one answers pings but sends no sound", night{ups: []*far{
			{media: true, join: []time.Duration{0}, rtt: 5 * ms, still: func(t time.Duration) bool { return t >= 30*s }}, plain(5*ms, 0)}, on: always,
			gapAt: func(t time.Duration) bool { return t == 30*s+150*ms }}, 80 * s,
			[]string{"0.01 active 0", "31.69 active 1", "32.19 mute 0"}, 250 * ms},
		{"the active one turns dark, and the gap is heard of at once", night{ups: []*far{
			{media: true, join: []time.Duration{0}, rtt: 5 * ms, dark: between(30*s, 60*s)}, plain(5*ms, 0)}, on: always,
			gapAt: func(t time.Duration) bool { return t == 30*s+150*ms }}, 90 * s,
			[]string{"0.01 active 0", "31.73 active 1", "32.23 mute 0", "65.24 active 0", "65.74 mute 1"}, 250 * ms},
		{"idle, the active one turns dark: a missed pong quickens the pings", night{ups: []*far{
			{join: []time.Duration{0}, rtt: 5 * ms, dark: func(t time.Duration) bool { return t >= 60*s }}, plain(5*ms, 0)}}, 100 * s,
			[]string{"0.01 active 0", "68.36 active 1", "68.86 mute 0"}, time.Hour},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			n := tc.night
			n.r = rand.New(rand.NewPCG(3, 4))
			n.run(tc.d)
			got := slices.DeleteFunc(slices.Clone(n.log), func(l string) bool { return strings.Contains(l, "rebind") })
			if !slices.Equal(got, tc.want) {
				t.Errorf("transcript:\n  %s\nwant:\n  %s", strings.Join(got, "\n  "), strings.Join(tc.want, "\n  "))
			}
			if n.gap > tc.gap {
				t.Errorf("silent for %s, want at most %s", n.gap, tc.gap)
			}
		})
	}
}

// TestLossyNights: at 20 % loss each way nothing switches while both upstreams live, and a black hole is still found.
func TestLossyNights(t *testing.T) {
	for seed := range uint64(20) {
		n := night{r: rand.New(rand.NewPCG(seed, 9)), on: between(0, time.Hour), ups: []*far{
			{join: []time.Duration{0}, rtt: 60 * time.Millisecond, loss: 0.2, media: true},
			{join: []time.Duration{0}, rtt: 60 * time.Millisecond, loss: 0.2, media: true},
		}}
		n.run(10 * time.Minute)
		if n.pick.failovers != 0 {
			t.Errorf("seed %d: %d switches between two living upstreams:\n  %s", seed, n.pick.failovers, strings.Join(n.log, "\n  "))
		}
		dark := night{r: rand.New(rand.NewPCG(seed, 9)), on: between(0, time.Hour), ups: []*far{
			{join: []time.Duration{0}, rtt: 60 * time.Millisecond, loss: 0.2, media: true, dark: func(t time.Duration) bool { return t > time.Minute }},
			{join: []time.Duration{0}, rtt: 60 * time.Millisecond, loss: 0.2, media: true},
		}}
		dark.run(70 * time.Second)
		if dark.pick.active != 1 {
			t.Errorf("seed %d: 10 s after the black hole upstream %d is active, want 1", seed, dark.pick.active)
		}
	}
}

// TestPingPace counts pings: what a SIM card pays for.
func TestPingPace(t *testing.T) {
	for _, tc := range []struct {
		name     string
		on       func(time.Duration) bool
		from, to time.Duration
		min, max int
	}{
		{"the first second", nil, 0, time.Second, 6, 9},
		{"the first ten seconds", nil, 0, 10 * time.Second, 38, 46},
		{"idle", nil, time.Minute, 11 * time.Minute, 39, 46},
		{"on air", between(0, time.Hour), time.Minute, 11 * time.Minute, 598, 602},
		{"beacons come, whatever we believe", func(t time.Duration) bool { return false }, time.Minute, 11 * time.Minute, 590, 602},
		{"beacons begin while idle", nil, 50 * time.Second, 62 * time.Second, 9, 13},
		{"after being on air", between(0, time.Minute), time.Minute, 11 * time.Minute, 52, 62},
		{"going on air while idle", between(2*time.Minute, time.Hour), 2 * time.Minute, 2*time.Minute + 2*time.Second, 8, 10},
	} {
		t.Run(tc.name, func(t *testing.T) {
			count := func(d time.Duration) int {
				n := night{r: rand.New(rand.NewPCG(3, 4)), on: tc.on, ups: []*far{{join: []time.Duration{0}, rtt: 5 * time.Millisecond}}}
				n.beacons = strings.HasPrefix(tc.name, "beacons")
				if strings.Contains(tc.name, "begin") {
					n.since = 50 * time.Second
				}
				n.run(d)
				return n.pings[0]
			}
			if got := count(tc.to) - count(tc.from); got < tc.min || got > tc.max {
				t.Errorf("%d pings, want %d to %d", got, tc.min, tc.max)
			}
		})
	}
}

func TestRebindsAreSpaced(t *testing.T) {
	n := night{r: rand.New(rand.NewPCG(3, 4)), on: between(0, time.Hour), ups: []*far{
		{join: []time.Duration{0}, rtt: 5 * time.Millisecond, dark: func(t time.Duration) bool { return t >= 20*time.Second }},
	}}
	n.run(5 * time.Minute)
	var rebinds []string
	for _, l := range n.log {
		if strings.Contains(l, "rebind") {
			rebinds = append(rebinds, l)
		}
	}
	if len(rebinds) < 5 || len(rebinds) > 9 || !strings.HasPrefix(rebinds[0], "2") {
		t.Errorf("rebinds: %v, want the first within seconds and then ever rarer", rebinds)
	}
}

func TestBackoff(t *testing.T) {
	type step struct {
		f      failure
		stood  time.Duration
		at     time.Duration
		lo, hi time.Duration // the wait as u goes from 0 to 1
	}
	s, ms := time.Second, time.Millisecond
	tests := []struct {
		name  string
		steps []step
	}{
		{"a relay restarts", []step{
			{lost, time.Minute, 0, minWait, 250 * ms}, {closedPort, 0, 200 * ms, minWait, 500 * ms}, {closedPort, 0, 600 * ms, minWait, s},
			{closedPort, 0, 2 * s, minWait, s}, {closedPort, 0, 14 * s, minWait, s},
			{closedPort, 0, 16 * s, minWait, 2 * s}, {closedPort, 0, 18 * s, minWait, 4 * s}}},
		{"a host that is away", []step{{busy, 0, 0, minWait, 2 * s}, {busy, 0, 0, minWait, 4 * s}, {busy, 0, 0, minWait, 8 * s},
			{busy, 0, 0, minWait, 16 * s}, {busy, 0, 0, minWait, 32 * s}, {busy, 0, 0, minWait, 60 * s}, {busy, 0, 0, minWait, 60 * s}}},
		{"connections that fall at once", []step{{lost, s, 0, minWait, 2 * s}, {lost, s, 0, minWait, 4 * s}, {lost, time.Hour, 0, minWait, 250 * ms}}},
		{"not served", []step{{told, 0, 0, 30 * s, 60 * s}, {told, 0, 0, 30 * s, 60 * s}}},
		{"a loop", []step{{looped, 0, 0, 2500 * ms, 5 * s}, {looped, 0, 0, 2500 * ms, 5 * s}}},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			var low, high backoff
			for i, st := range tc.steps {
				lo, hi := low.next(local(st.at), st.f, st.stood, 0), high.next(local(st.at), st.f, st.stood, 1)
				if lo != st.lo || hi != st.hi {
					t.Errorf("step %d: %s to %s, want %s to %s", i, lo, hi, st.lo, st.hi)
				}
			}
		})
	}
}
