package tap

import (
	"bytes"
	"context"
	"testing"
	"testing/synctest"
	"time"

	"dongthanh/codec"
)

func packet(n int) Packet {
	return Packet{Sample: int64(n) * 1920, Samples: 1920, Data: bytes.Repeat([]byte{byte(n)}, 1+n%codec.MaxPacketBytes)}
}

func TestEveryReaderGetsEveryPacket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := New()
		got := make(chan int, 2)
		for range 2 {
			q := x.Join(8)
			go func() {
				var p Packet
				n := 0
				for q.Next(t.Context(), &p) {
					if want := packet(n); p.Sample != want.Sample || p.Samples != want.Samples || !bytes.Equal(p.Data, want.Data) {
						t.Errorf("packet %d = %d, %d samples, %d bytes", n, p.Sample, p.Samples, len(p.Data))
					}
					n++
				}
				q.Leave()
				got <- n
			}()
		}
		for n := range 1000 {
			x.Push(packet(n))
			if n%7 == 0 {
				time.Sleep(time.Millisecond) // fake: the readers catch up
			}
		}
		x.End()
		x.End()
		for range 2 {
			if n := <-got; n != 1000 {
				t.Errorf("a reader got %d packets, want 1000", n)
			}
		}
		if q := x.Join(8); q.Next(t.Context(), &Packet{}) {
			t.Error("a packet after the end")
		}
	})
}

// A reader that never reads loses what is newest, with a count, and what it had stays whole; another one loses nothing.
func TestSlowReaderLosesAlone(t *testing.T) {
	x := New()
	slow, fast := x.Join(4), x.Join(4)
	var p Packet
	for n := range 10 {
		x.Push(packet(n))
		if !fast.Try(&p) || p.Sample != packet(n).Sample {
			t.Fatalf("the fast reader got sample %d, want packet %d", p.Sample, n)
		}
	}
	if slow.Lost() != 6 || fast.Lost() != 0 || slow.Waiting() != 4 {
		t.Errorf("lost %d and %d, %d wait; want 6, 0, 4", slow.Lost(), fast.Lost(), slow.Waiting())
	}
	for n := range 4 {
		if !slow.Try(&p) || !bytes.Equal(p.Data, packet(n).Data) {
			t.Errorf("packet %d of the slow reader: sample %d", n, p.Sample)
		}
	}
	slow.Leave()
	x.Push(packet(11))
	if slow.Waiting() != 0 {
		t.Error("a reader that left still gets packets")
	}
}

func TestNextEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if New().Join(1).Next(ctx, &Packet{}) {
		t.Error("a packet from nowhere")
	}
}

func TestPushAllocatesNothing(t *testing.T) {
	x := New()
	x.Join(2)
	q := x.Join(1000)
	p, out := packet(200), Packet{Data: make([]byte, 0, codec.MaxPacketBytes)}
	if n := testing.AllocsPerRun(100, func() { x.Push(p); q.Try(&out) }); n != 0 {
		t.Errorf("Push and Try allocate %v times", n)
	}
}
