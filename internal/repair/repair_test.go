package repair

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"dongthanh/internal/mediaclock"
	"dongthanh/internal/seq"
	"dongthanh/internal/wire"
)

const (
	ms     = time.Millisecond
	packet = 40 * ms
	start  = mediaclock.Local(time.Hour)
)

// at is the moment d after the first packet's turn.
func at(d time.Duration) mediaclock.Local { return start.Add(d) }

// turn is when packet i comes if all is well.
func turn(i int) mediaclock.Local { return at(time.Duration(i) * packet) }

// script feeds packets 0…n-1 but those that skip names, looks every 10 ms and returns when each packet was asked for.
func script(t *Tracker, n int, until, rtt, budget time.Duration, skip ...int) (asked map[int][]time.Duration, both map[int]int) {
	asked, both = map[int][]time.Duration{}, map[int]int{}
	t.Due(0, at(budget))
	i := 0
	for now := time.Duration(0); now < until; now += 10 * ms {
		for ; i < n && turn(i) <= at(now); i++ {
			if !slices.Contains(skip, i) {
				t.Arrived(seq.Index(i), turn(i))
			}
		}
		for _, a := range t.Asks(at(now), rtt, nil) {
			for b := range 64 {
				if a.Bitmap>>b&1 == 1 {
					k := int(a.Base) + b
					asked[k] = append(asked[k], now-time.Duration(k)*packet)
					if a.Both {
						both[k]++
					}
				}
			}
		}
	}
	return asked, both
}

func TestAsks(t *testing.T) {
	for _, tc := range []struct {
		name        string
		n           int
		rtt, budget time.Duration
		skip        []int
		want        map[int][]time.Duration // by packet, after its turn
	}{
		{name: "nothing missing", n: 20, rtt: 30 * ms, budget: 300 * ms},
		{
			name: "one missing: after a packet and 10 ms, then each round trip and 20 ms while it can come",
			n:    20, rtt: 80 * ms, budget: 340 * ms, skip: []int{5},
			want: map[int][]time.Duration{5: {50 * ms, 150 * ms, 250 * ms}},
		},
		{
			name: "no time for a second try", n: 20, rtt: 150 * ms, budget: 200 * ms, skip: []int{5},
			want: map[int][]time.Duration{5: {50 * ms}},
		},
		{
			name: "two gaps", n: 20, rtt: 100 * ms, budget: 160 * ms, skip: []int{5, 6, 9},
			want: map[int][]time.Duration{5: {50 * ms}, 6: {50 * ms}, 9: {50 * ms}},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tr := New(0, packet)
			tr.Ends(seq.Index(tc.n - 1))
			got, _ := script(tr, tc.n, time.Duration(tc.n)*packet+time.Second, tc.rtt, tc.budget, tc.skip...)
			if len(got) != len(tc.want) {
				t.Errorf("asked for %v, want %v", got, tc.want)
			}
			for k, times := range tc.want {
				if !slices.Equal(got[k], times) {
					t.Errorf("packet %d asked for %v after its turn, want %v", k, got[k], times)
				}
			}
		})
	}
}

// TestBoth: from 220 ms on every upstream is asked.
func TestBoth(t *testing.T) {
	tr := New(0, packet)
	tr.Ends(29)
	asked, both := script(tr, 30, 3*time.Second, 40*ms, 400*ms, 5)
	want := 0
	for _, a := range asked[5] {
		if a >= 220*ms {
			want++
		}
	}
	if want == 0 || both[5] != want {
		t.Errorf("asked at %v, %d times of every upstream, want %d", asked[5], both[5], want)
	}
}

// TestTail: what is lost at the end of a burst shows by time, and by a beacon; after the last packet nothing is asked.
func TestTail(t *testing.T) {
	for _, tc := range []struct {
		name string
		do   func(tr *Tracker)
		want int // packets asked for
	}{
		{"the flow goes on", func(tr *Tracker) {}, tail},
		{"packet 9 was the last", func(tr *Tracker) { tr.Ends(9) }, 0},
		{"packet 12 is the last", func(tr *Tracker) { tr.Ends(12) }, 3},
		{"a beacon names packet 30", func(tr *Tracker) { tr.Exists(30, turn(11)) }, 29},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tr := New(0, packet)
			for i := range 10 {
				tr.Arrived(seq.Index(i), turn(i))
			}
			tc.do(tr)
			tr.Due(0, at(time.Hour))
			asked := map[seq.Index]bool{}
			for now := turn(10); now < turn(200); now = now.Add(10 * ms) {
				for _, a := range tr.Asks(now, 40*ms, nil) {
					for b := range 64 {
						if a.Bitmap>>b&1 == 1 {
							asked[a.Base+seq.Index(b)] = true
						}
					}
				}
			}
			if len(asked) != tc.want {
				t.Errorf("asked for %d packets, want %d", len(asked), tc.want)
			}
		})
	}
}

// TestArrived: a packet counts as repaired only if it was asked for before it came, even if given up since.
func TestArrived(t *testing.T) {
	tr := New(0, packet)
	tr.Due(0, at(200*ms))
	for _, i := range []int{0, 1, 3, 4} {
		if tr.Arrived(seq.Index(i), turn(i)) {
			t.Errorf("packet %d counts as repaired, nobody asked for it", i)
		}
	}
	if got := tr.Asks(turn(4), 40*ms, nil); len(got) != 1 || got[0].Base != 2 || got[0].Bitmap != 1 {
		t.Fatalf("asked for %+v, want packet 2", got)
	}
	tr.Asks(at(2*packet+210*ms), 40*ms, nil) // gives it up
	if !tr.Arrived(2, at(2*packet+220*ms)) {
		t.Error("packet 2 does not count as repaired, though it was asked for")
	}
}

// TestAgain: where more copies came than were asked for, the first had come by itself.
func TestAgain(t *testing.T) {
	tr := New(0, packet)
	tr.Due(0, at(400*ms))
	for _, i := range []int{0, 1, 3} {
		tr.Arrived(seq.Index(i), turn(i))
	}
	if tr.Again(1) || tr.Again(2) {
		t.Error("Again of what nobody asked for, or never came = true")
	}
	tr.Asks(turn(4), 40*ms, nil)
	tr.Arrived(2, turn(4).Add(5*ms))
	if !tr.Again(2) {
		t.Error("asked once, came twice: Again = false, want true")
	}
	if tr.Again(2) {
		t.Error("told twice")
	}
}

// TestLateFlow: a flow that comes in bursts is not asked for as long as nothing is overtaken.
func TestLateFlow(t *testing.T) {
	tr := New(0, packet)
	tr.Due(0, at(400*ms))
	asked := 0
	for i := 0; i < 200; i += 3 { // three at once, each third of the time
		for now := turn(i); now < turn(i+2); now = now.Add(10 * ms) {
			asked += len(tr.Asks(now, 40*ms, nil))
		}
		for k := range 3 {
			if tr.Arrived(seq.Index(i+k), turn(i+2)) && i > 30 {
				t.Errorf("packet %d counts as repaired", i+k)
			}
		}
	}
	if asked > 6 {
		t.Errorf("%d requests, want a few at the start only", asked)
	}
}

// TestBadTag: an altered copy is asked for at once, of everybody, and says why.
func TestBadTag(t *testing.T) {
	tr := New(0, packet)
	tr.Due(0, at(400*ms))
	for i := range 5 {
		if i != 3 {
			tr.Arrived(seq.Index(i), turn(i))
		}
	}
	tr.BadTag(3)
	got := tr.Asks(turn(4), 40*ms, nil)
	if want := []Ask{{Base: 3, Bitmap: 1, Reason: wire.BadTag, Both: true}}; !slices.Equal(got, want) {
		t.Errorf("Asks = %+v, want %+v", got, want)
	}
	if got := tr.Asks(turn(4).Add(30*ms), 40*ms, nil); len(got) > 0 {
		t.Errorf("asked again after 30 ms: %+v", got)
	}
	if !tr.Arrived(3, turn(5)) {
		t.Error("the good copy does not count as repaired")
	}
}

func TestStalled(t *testing.T) {
	tr := New(0, packet)
	for i := range 10 {
		tr.Arrived(seq.Index(i), turn(i))
	}
	last := turn(9)
	for _, tc := range []struct {
		after time.Duration
		want  bool
	}{
		{140 * ms, false}, {150 * ms, true}, {160 * ms, false}, {640 * ms, false}, {650 * ms, true},
	} {
		from, got := tr.Stalled(last.Add(tc.after))
		if got != tc.want || got && from != 10 {
			t.Errorf("%v after the last packet: Stalled = %d, %v, want %v (from 10)", tc.after, from, got, tc.want)
		}
	}
	if !tr.Arrived(10, last.Add(660*ms)) {
		t.Error("what came after a RESUME does not count as repaired")
	}
	tr.Ends(10)
	if _, got := tr.Stalled(last.Add(time.Hour)); got {
		t.Error("stalled after the last packet")
	}
}

// TestFarIndexes: authentic but wild indexes change nothing and cost nothing.
func TestFarIndexes(t *testing.T) {
	tr := New(1000, packet)
	for _, i := range []seq.Index{0, 999, 1000 + window, seq.MaxIndex} {
		if tr.Arrived(i, start) {
			t.Errorf("index %d counts as repaired", i)
		}
		tr.Exists(i, start)
		tr.BadTag(i)
	}
	tr.Due(1000, start.Add(time.Hour))
	if got := tr.Asks(start.Add(time.Minute), 0, nil); len(got) > 0 {
		t.Errorf("asked for %+v", got)
	}
}

// TestLossRecovery is the experiment of the study: 20 % loss each way, 60 ms round trip, 1 s budget.
func TestLossRecovery(t *testing.T) {
	for _, tc := range []struct {
		name      string
		loss      float64
		budget    time.Duration
		recovered float64
	}{
		{"20 %, 1000 ms", 0.2, 970 * ms, 0.9999},
		{"20 %, 500 ms", 0.2, 470 * ms, 0.999},
		{"5 %, 400 ms", 0.05, 370 * ms, 0.9999},
	} {
		t.Run(tc.name, func(t *testing.T) {
			const n, rtt = 20_000, 60 * ms
			random := rand.New(rand.NewPCG(1, 2))
			lost := func() bool { return random.Float64() < tc.loss }
			tr := New(0, packet)
			here := make([]bool, n)
			queue := map[time.Duration][]int{}
			i, sent := 0, 0
			asks := make([]Ask, 0, 4)
			for now := time.Duration(0); now < n*packet+2*time.Second; now += 10 * ms {
				for ; i < n && time.Duration(i)*packet <= now; i++ {
					if !lost() {
						queue[now] = append(queue[now], i)
					}
				}
				for _, k := range queue[now] {
					if now <= time.Duration(k)*packet+tc.budget {
						here[k] = true
					}
					tr.Arrived(seq.Index(k), at(now))
				}
				delete(queue, now)
				tr.Due(0, at(tc.budget))
				asks = tr.Asks(at(now), rtt, asks[:0])
				for _, a := range asks {
					if lost() {
						continue
					}
					for b := range 64 {
						if k := int(a.Base) + b; a.Bitmap>>b&1 == 1 && k < n && time.Duration(k)*packet <= now {
							sent++
							if !lost() {
								queue[now+rtt] = append(queue[now+rtt], k)
							}
						}
					}
				}
			}
			got := 0
			for _, h := range here {
				if h {
					got++
				}
			}
			share, overhead := float64(got)/n, float64(sent)/n
			t.Logf("%.4f %% in time, %.1f %% sent again", share*100, overhead*100)
			if share < tc.recovered {
				t.Errorf("%.4f %% in time, want %.4f %%", share*100, tc.recovered*100)
			}
			if most := tc.loss/(1-tc.loss)*1.25 + 0.01; overhead > most {
				t.Errorf("%.1f %% sent again, want at most %.1f %%", overhead*100, most*100)
			}
		})
	}
}

func TestNoAllocation(t *testing.T) {
	tr := New(0, packet)
	tr.Due(0, at(300*ms))
	asks := make([]Ask, 0, 4)
	i := 0
	if got := testing.AllocsPerRun(1000, func() {
		if i%5 != 0 {
			tr.Arrived(seq.Index(i), turn(i))
		}
		asks = tr.Asks(turn(i), 40*ms, asks[:0])
		tr.Stalled(turn(i))
		i++
	}); got != 0 {
		t.Errorf("%.1f allocations a packet, want none", got)
	}
}
