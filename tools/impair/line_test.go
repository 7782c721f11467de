package main

import (
	"encoding/binary"
	"math"
	"slices"
	"testing"
	"time"
)

// arrival is what came out of a line in virtual time.
type arrival struct {
	number uint64 // in the order of entry
	at     time.Duration
	data   []byte
}

// pass sends count packets of size bytes, one each step, through the line and takes them out exactly
// when it says so.
func pass(l *line, count, size int, step time.Duration) (out []arrival) {
	drain := func(until time.Duration) {
		for at := l.next(); at <= until; at = l.next() {
			for _, p := range l.take(at, nil, math.MaxInt) {
				out = append(out, arrival{binary.BigEndian.Uint64(p.data), p.due, p.data})
			}
		}
	}
	for i := range count {
		now := time.Duration(i) * step
		drain(now)
		data := make([]byte, max(size, 8))
		binary.BigEndian.PutUint64(data, uint64(i))
		l.add(now, &packet{data: data})
	}
	drain(never - 1)
	l.counts.Out = uint64(len(out))
	return out
}

// balanced fails unless every packet is accounted for.
func balanced(t *testing.T, c counts) {
	t.Helper()
	if c.In+c.Duplicated != c.Out+c.Lost+c.Blackholed+c.Dropped+c.Failed+uint64(c.Held) {
		t.Errorf("counts do not add up: %+v", c)
	}
}

func TestUniformLoss(t *testing.T) {
	const count = 200_000
	for _, loss := range []float64{0, 0.01, 0.2, 0.5, 1} {
		l := newLine(model{loss: loss}, 1, "up")
		out := pass(l, count, 8, time.Millisecond)
		balanced(t, l.count())
		share := 1 - float64(len(out))/count
		if bound := 4 * math.Sqrt(loss*(1-loss)/count); math.Abs(share-loss) > bound {
			t.Errorf("loss %v: lost %v, want within %v", loss, share, bound)
		}
		// Each by itself: a packet after a lost one is lost as often as any.
		lost := make([]bool, count)
		for i := range lost {
			lost[i] = true
		}
		for _, a := range out {
			lost[a.number] = false
		}
		var first, both float64
		for i := range count - 1 {
			if lost[i] {
				first++
				if lost[i+1] {
					both++
				}
			}
		}
		if first > 0 {
			if bound := 4.5 * math.Sqrt(loss*(1-loss)/first); math.Abs(both/first-loss) > bound {
				t.Errorf("loss %v: after a lost one %v are lost, want within %v", loss, both/first, bound)
			}
		}
	}
}

func TestBurstLoss(t *testing.T) {
	const count, step = 200_000, 5 * time.Millisecond
	for _, test := range []struct {
		loss  float64
		burst time.Duration
	}{{0.2, 80 * time.Millisecond}, {0.2, 200 * time.Millisecond}, {0.05, 500 * time.Millisecond}, {0.5, 80 * time.Millisecond}, {0, 80 * time.Millisecond}, {1, 80 * time.Millisecond}} {
		l := newLine(model{loss: test.loss, burst: test.burst}, 3, "down")
		out := pass(l, count, 8, step)
		balanced(t, l.count())
		// The share has the variance 2p(1-p)τ/T of a telegraph signal, 1/τ = 1/bad + 1/good.
		total := (count * step).Seconds()
		tau := test.burst.Seconds() * (1 - test.loss)
		bound := 4 * math.Sqrt(2*test.loss*(1-test.loss)*tau/total)
		if share := 1 - float64(len(out))/count; math.Abs(share-test.loss) > bound {
			t.Errorf("%v/%v: lost %v, want within %v", test.loss, test.burst, share, bound)
		}
	}
}

// TestBurstLength measures the periods themselves: both are exponential, with the means asked for.
func TestBurstLength(t *testing.T) {
	const mean, loss, flips = 80 * time.Millisecond, 0.2, 40_000
	b := newBursts(stream(5, "x"), loss, mean)
	var sum, squares [2]float64
	var n [2]int
	last := b.until // the first is cut by the start only in thought: exponentials have no memory
	for range flips {
		b.at(b.until)
		span := (b.until - last).Seconds()
		last = b.until
		i := 0
		if b.bad {
			i = 1
		}
		sum[i] += span
		squares[i] += span * span
		n[i]++
	}
	for i, want := range []float64{mean.Seconds() * (1 - loss) / loss, mean.Seconds()} {
		got := sum[i] / float64(n[i])
		deviation := math.Sqrt(squares[i]/float64(n[i]) - got*got)
		if math.Abs(got-want) > 4*want/math.Sqrt(float64(n[i])) || math.Abs(deviation-want) > 0.06*want {
			t.Errorf("periods of kind %d: mean %v deviation %v, want both %v s", i, got, deviation, want)
		}
	}
}

// TestBurstsAreInTime holds that packets of different pace see the same channel.
func TestBurstsAreInTime(t *testing.T) {
	m := model{loss: 0.2, burst: 80 * time.Millisecond}
	passed := func(count int, step time.Duration) map[time.Duration]bool {
		at := map[time.Duration]bool{}
		for _, a := range pass(newLine(m, 9, "up"), count, 8, step) {
			at[a.at] = true
		}
		return at
	}
	fine, coarse := passed(20_000, 20*time.Millisecond), passed(10_000, 40*time.Millisecond)
	for i := range 10_000 {
		if at := time.Duration(i) * 40 * time.Millisecond; fine[at] != coarse[at] {
			t.Fatalf("at %v: passed %v every 20 ms and %v every 40 ms", at, fine[at], coarse[at])
		}
	}
}

func TestSameSeedSameFate(t *testing.T) {
	m := model{loss: 0.1, delay: 30 * time.Millisecond, jitter: 10 * time.Millisecond, rate: 300e3, queue: 100 * time.Millisecond,
		duplicate: 0.05, corrupt: 0.05, reorder: true}
	bursty := m
	bursty.burst = 80 * time.Millisecond
	equal := func(a, b arrival) bool { return a.at == b.at && slices.Equal(a.data, b.data) }
	for _, m := range []model{m, bursty} {
		run := func(seed uint64, name string) []arrival {
			return pass(newLine(m, seed, name), 20_000, 200, 4*time.Millisecond)
		}
		first := run(7, "up")
		if !slices.EqualFunc(first, run(7, "up"), equal) {
			t.Error("the same seed gave another run")
		}
		if slices.EqualFunc(first, run(8, "up"), equal) {
			t.Error("another seed gave the same run")
		}
		if slices.EqualFunc(first, run(7, "down"), equal) {
			t.Error("both directions gave the same run")
		}
	}
	// A flag does not change what another one draws: the same packets are lost.
	lost := func(m model) map[uint64]bool {
		passed := map[uint64]bool{}
		for _, a := range pass(newLine(m, 7, "up"), 5_000, 200, 4*time.Millisecond) {
			passed[a.number] = true
		}
		return passed
	}
	plain, more := lost(model{loss: 0.1}), lost(model{loss: 0.1, jitter: time.Second, duplicate: 0.5})
	for i := range uint64(5_000) {
		if plain[i] != more[i] {
			t.Fatalf("packet %d passed: %v, with jitter and copies %v", i, plain[i], more[i])
		}
	}
}

func TestDelayAndOrder(t *testing.T) {
	const count, step = 50_000, 20 * time.Millisecond
	for _, test := range []struct {
		name  string
		model model
		mean  time.Duration // of what jitter adds; order makes some wait longer
	}{
		{"none", model{}, 0},
		{"delay", model{delay: 30 * time.Millisecond}, 0},
		{"jitter, free order", model{delay: 30 * time.Millisecond, jitter: 40 * time.Millisecond, reorder: true}, 40 * time.Millisecond},
		{"jitter, order kept", model{delay: 30 * time.Millisecond, jitter: 40 * time.Millisecond}, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			out := pass(newLine(test.model, 1, "up"), count, 8, step)
			if len(out) != count {
				t.Fatalf("%d arrived, want %d", len(out), count)
			}
			swapped, sum := 0, 0.0
			for i, a := range out {
				late := a.at - time.Duration(a.number)*step - test.model.delay
				if late < 0 || test.model.jitter == 0 && late != 0 {
					t.Fatalf("packet %d came %v off its time", a.number, late)
				}
				sum += late.Seconds()
				if i > 0 && a.number < out[i-1].number {
					swapped++
				}
				if i > 0 && a.at < out[i-1].at {
					t.Fatalf("packet %d was taken after a later one", a.number)
				}
			}
			if (swapped > 0) != test.model.reorder {
				t.Errorf("%d came out of order, reorder is %v", swapped, test.model.reorder)
			}
			if want := test.mean.Seconds(); want > 0 && math.Abs(sum/count-want) > 4*want/math.Sqrt(count) {
				t.Errorf("jitter of %v s on the average, want %v", sum/count, want)
			}
		})
	}
}

func TestRate(t *testing.T) {
	const size, count, step = 222, 20_000, 5 * time.Millisecond // 250 bytes with headers: 400 kbit/s
	m := model{rate: 100e3, queue: 200 * time.Millisecond, delay: 10 * time.Millisecond}
	l := newLine(m, 1, "up")
	out := pass(l, count, size, step)
	balanced(t, l.count())
	if l.counts.Dropped == 0 || l.counts.Lost > 0 || l.held != 0 || l.waitingBytes != 0 {
		t.Errorf("counts %+v, held %d bytes: want some dropped, none lost, none held", l.counts, l.held)
	}
	span := (out[len(out)-1].at - out[0].at).Seconds()
	if got := float64(len(out)) * 250 * 8 / span; math.Abs(got-m.rate) > 0.01*m.rate {
		t.Errorf("%v bits/s came through, want %v", got, m.rate)
	}
	for i, a := range out {
		if i > 0 && a.number <= out[i-1].number {
			t.Fatalf("packet %d after %d", a.number, out[i-1].number)
		}
		if wait := a.at - time.Duration(a.number)*step - m.delay; wait < 0 || wait > m.queue+20*time.Millisecond {
			t.Fatalf("packet %d waited %v, the queue is %v", a.number, wait, m.queue)
		}
	}
	if last := out[len(out)-1].number; last != count-1 {
		t.Errorf("the last that came is %d, want the newest: the oldest is to be dropped", last)
	}

	l = newLine(m, 1, "up") // a quarter of the rate: it must not be felt
	for _, a := range pass(l, 2_000, size, 80*time.Millisecond) {
		if wait := a.at - time.Duration(a.number)*80*time.Millisecond; wait != m.delay {
			t.Fatalf("packet %d took %v on an idle line", a.number, wait)
		}
	}
}

func TestDuplicateAndCorrupt(t *testing.T) {
	const count, size = 50_000, 100
	l := newLine(model{duplicate: 0.1, corrupt: 0.1}, 1, "up")
	out := pass(l, count, size, time.Millisecond)
	balanced(t, l.count())
	bound := 4 * math.Sqrt(0.1*0.9*count)
	for name, n := range map[string]uint64{"duplicated": l.counts.Duplicated, "corrupted": l.counts.Corrupted} {
		if math.Abs(float64(n)-0.1*count) > bound {
			t.Errorf("%s %d of %d, want a tenth", name, n, count)
		}
	}
	if len(out) != count+int(l.counts.Duplicated) {
		t.Errorf("%d came out, want %d", len(out), count+int(l.counts.Duplicated))
	}
	flipped := map[time.Duration]int{} // by time of entry
	for _, a := range out {
		want := make([]byte, size)
		binary.BigEndian.PutUint64(want, uint64(a.at/time.Millisecond))
		bits := 0
		for i := range want {
			for x := want[i] ^ a.data[i]; x != 0; x &= x - 1 {
				bits++
			}
		}
		if bits > 1 {
			t.Fatalf("%d bits of a packet flipped", bits)
		}
		if bits == 1 {
			flipped[a.at]++
		}
	}
	if len(flipped) != int(l.counts.Corrupted) {
		t.Errorf("%d packets differ, counted %d", len(flipped), l.counts.Corrupted)
	}
	l = newLine(model{corrupt: 1}, 1, "up")
	l.add(0, &packet{}) // an empty datagram has no bit to flip
	if got := l.take(0, nil, 1); len(got) != 1 {
		t.Errorf("an empty packet did not pass")
	}
}

func TestBlackhole(t *testing.T) {
	m := model{delay: 50 * time.Millisecond, holes: []hole{{at: time.Second, length: 500 * time.Millisecond, every: 2 * time.Second}, {at: 10 * time.Second, length: time.Second}}}
	l := newLine(m, 1, "up")
	out := pass(l, 12_000, 8, time.Millisecond)
	balanced(t, l.count())
	passed := map[uint64]bool{}
	for _, a := range out {
		passed[a.number] = true
	}
	for ms := range uint64(12_000) {
		want := !(ms >= 1000 && (ms-1000)%2000 < 500 || ms >= 10_000 && ms < 11_000)
		if passed[ms] != want {
			t.Fatalf("at %d ms passed %v, want %v", ms, passed[ms], want)
		}
	}
}

func TestHeldIsBounded(t *testing.T) {
	l := newLine(model{delay: time.Minute}, 1, "up")
	for range 40_000 {
		l.add(0, &packet{data: make([]byte, maxDatagram)})
	}
	if c := l.count(); l.held > maxHeld || c.Dropped == 0 || c.Held == 0 {
		t.Errorf("%d bytes held of at most %d, %+v", l.held, maxHeld, c)
	}
	if got := l.take(time.Minute, nil, math.MaxInt); len(got)+int(l.counts.Dropped) != 40_000 || l.held != 0 {
		t.Errorf("took %d, dropped %d, %d bytes still held", len(got), l.counts.Dropped, l.held)
	}
}
