package fanout

import (
	"bytes"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"dongthanh/internal/mediaclock"
	"dongthanh/internal/packet"
	"dongthanh/internal/seq"
)

func bytesOf(i seq.Index, n int) []byte {
	b := make([]byte, n)
	for k := range b {
		b[k] = byte(int(i)*31 + k*7)
	}
	return b
}

func TestRingHoldsFourSeconds(t *testing.T) {
	for _, each := range []time.Duration{20 * time.Millisecond, 40 * time.Millisecond, 60 * time.Millisecond} {
		r := NewRing(RingSpan, each)
		if got := time.Duration(r.Len()) * each; got < RingSpan || got >= RingSpan+each {
			t.Errorf("%s packets: the ring spans %s, want %s", each, got, RingSpan)
		}
	}
}

func TestRingGivesTheSameBytes(t *testing.T) {
	r := NewRing(RingSpan, 40*time.Millisecond)
	n := seq.Index(r.Len())
	first := seq.Index(1<<32 - 50) // across a wrap of the sequence number
	size := func(i seq.Index) int { return 1 + int(i*13)%packet.MaxLen }
	if _, ok := r.Newest(); ok {
		t.Error("an empty ring has a newest packet")
	}
	for i := first; i < first+3*n; i++ {
		if got := r.Put(i, bytesOf(i, size(i))); got != Fresh {
			t.Fatalf("Put(%d) = %d, want Fresh", i, got)
		}
	}
	newest, ok := r.Newest()
	if want := first + 3*n - 1; !ok || newest != want {
		t.Fatalf("Newest() = %d, %v, want %d", newest, ok, want)
	}
	for i := first; i <= newest+5; i++ {
		b, ok := r.Append([]byte("keep"), i)
		if want := i > newest-n && i <= newest; ok != want {
			t.Fatalf("Append(%d): %v, want %v", i, ok, want)
		}
		if want := append([]byte("keep"), bytesOf(i, size(i))...); ok && !bytes.Equal(b, want) {
			t.Fatalf("Append(%d) gives other bytes than were put", i)
		}
		if !ok && string(b) != "keep" {
			t.Fatalf("Append(%d) changed dst and held nothing", i)
		}
	}
}

func TestRingOutcomes(t *testing.T) {
	r := NewRing(400*time.Millisecond, 40*time.Millisecond) // 10 packets
	b, other := bytesOf(1, 200), bytesOf(1, 200)
	other[199] ^= 1 // another tag
	steps := []struct {
		name string
		do   func() any
		want any
	}{
		{"new", func() any { return r.Put(1, b) }, Fresh},
		{"again", func() any { return r.Put(1, b) }, Duplicate},
		{"another copy of one that nobody complained of", func() any { return r.Put(1, other) }, Duplicate},
		{"a complaint of one not held", func() any { return r.Suspect(2) }, false},
		{"a complaint", func() any { return r.Suspect(1) }, false},
		{"the same copy", func() any { return r.Put(1, b) }, Duplicate},
		{"another copy", func() any { return r.Put(1, other) }, Fresh},
		{"which is not suspect", func() any { return r.Put(1, b) }, Duplicate},
		{"a late complaint of the first", func() any { return r.Suspect(1) }, true},
		{"reordered", func() any { return r.Put(5, b) }, Fresh},
		{"and the one before", func() any { return r.Put(4, b) }, Fresh},
		{"a jump ahead", func() any { return r.Put(105, b) }, Fresh},
		{"from before the jump", func() any { return r.Put(95, b) }, Stale},
		{"too long for a packet", func() any { return r.Put(106, make([]byte, 549)) }, Stale},
	}
	for _, s := range steps {
		if got := s.do(); got != s.want {
			t.Errorf("%s: %v, want %v", s.name, got, s.want)
		}
	}
	if x, ok := r.Append(nil, 105); !ok || !bytes.Equal(x, b) {
		t.Error("the newest is not held")
	}
}

// TestRingReadersNeverSeeHalf lets readers race the writer; whatever they get must be whole.
func TestRingReadersNeverSeeHalf(t *testing.T) {
	r := NewRing(80*time.Millisecond, 20*time.Millisecond) // 4 slots, so that they meet often
	done := make(chan struct{})
	var wg sync.WaitGroup
	var got [4]int
	for reader := range got {
		wg.Go(func() {
			buf := make([]byte, 0, packet.MaxLen)
			rng := rand.New(rand.NewPCG(1, uint64(reader)))
			for {
				select {
				case <-done:
					return
				default:
				}
				newest, ok := r.Newest()
				if !ok {
					continue
				}
				i := newest - min(newest, seq.Index(rng.IntN(4)))
				b, ok := r.Append(buf[:0], i)
				if !ok {
					continue
				}
				got[reader]++
				if want := bytesOf(i, 100+int(i)%400); !bytes.Equal(b, want) {
					t.Errorf("packet %d is torn", i)
					return
				}
			}
		})
	}
	for i := range seq.Index(20_000) {
		r.Put(i, bytesOf(i, 100+int(i)%400))
	}
	close(done)
	wg.Wait()
	if got[0]+got[1]+got[2]+got[3] == 0 {
		t.Error("the readers read nothing")
	}
}

func TestRingAllocatesNothing(t *testing.T) {
	r := NewRing(RingSpan, 40*time.Millisecond)
	b, buf := bytesOf(1, 548), make([]byte, 0, packet.MaxLen)
	i := seq.Index(0)
	if n := testing.AllocsPerRun(1000, func() {
		r.Put(i, b)
		r.Put(i, b)
		if _, ok := r.Append(buf, i); !ok {
			t.Fatal("not held")
		}
		i++
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestBudget(t *testing.T) {
	const rate, size = 6000.0, 240  // 25 packets a second
	delay := 400 * time.Millisecond // 10 packets
	var b Budget
	now := mediaclock.Local(5e9)
	take := func(n int) (taken int) {
		for range n {
			if b.Take(now, size, rate, delay) {
				taken++
			}
		}
		return taken
	}
	if got := take(64); got != 10 {
		t.Errorf("%d packets at once, want the delay's 10", got)
	}
	now = now.Add(200 * time.Millisecond)
	if got := take(64); got != 5 {
		t.Errorf("%d after 200 ms, want 5", got)
	}
	now = now.Add(time.Hour)
	if got := take(64); got != 10 {
		t.Errorf("%d after an hour, want 10 and no more", got)
	}
	total := 0
	for range 1000 { // 64 packets each of 1000 NACKs in a second
		now = now.Add(time.Millisecond)
		total += take(64)
	}
	if total < 24 || total > 26 {
		t.Errorf("%d packets in a second of NACKs, want the stream's 25", total)
	}
	var small Budget
	if !small.Take(now, size, rate, time.Millisecond) {
		t.Error("a delay shorter than a packet allows nothing at all")
	}
}

func TestBudgetOfResumes(t *testing.T) {
	var b Budget
	tests := []struct {
		at   time.Duration
		want bool
	}{{0, true}, {100 * time.Millisecond, false}, {499 * time.Millisecond, false}, {500 * time.Millisecond, true}, {900 * time.Millisecond, false}, {time.Second, true}}
	for _, tt := range tests {
		if got := b.Resume(mediaclock.Local(1).Add(tt.at)); got != tt.want {
			t.Errorf("RESUME at %s: %v, want %v", tt.at, got, tt.want)
		}
	}
}

func BenchmarkRingPut(b *testing.B) {
	r := NewRing(RingSpan, 40*time.Millisecond)
	p := bytesOf(1, 230)
	for i := seq.Index(0); b.Loop(); i++ {
		r.Put(i, p)
	}
}
