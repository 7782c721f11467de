package jitter

import (
	"io"
	"testing"
	"time"

	"dongthanh/internal/mediaclock"
	"dongthanh/internal/seq"
)

// FuzzNetwork plays a well-behaved sender over a network that the input decides: for each packet a byte says how late
// it comes, whether it is lost, comes twice or is withheld. Whatever the network does, nothing sounds out of order or
// twice, no pull falls short, what waits is bounded, and in the end the sound is at its place in time again.
func FuzzNetwork(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{0, 0, 200, 0, 0, 1, 2, 3, 130, 131, 132, 0, 0})
	f.Add([]byte("a stall:\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"))
	f.Fuzz(fuzzNetwork)
}

func fuzzNetwork(t *testing.T, script []byte) {
	if len(script) > 200 {
		return
	}
	b, d := newBuffer(t, tone)
	var packets []sending
	number, stalled := seq.Seq(0), time.Duration(0)
	length := time.Duration(len(script))*frameDur + 3*time.Second
	for i := range int(length / frameDur) {
		p := sending{time.Duration(i+1) * frameDur, number, mediaclock.Timestamp(i * frame), tonePacket(int64(i) * frame)}
		number++
		if i >= len(script) {
			packets = append(packets, p)
			continue
		}
		switch c := time.Duration(script[i]); {
		case c < 100: // late
			p.at += c * time.Millisecond
			packets = append(packets, p)
		case c < 120: // lost
		case c < 140: // withheld
			number--
		case c < 150: // twice
			packets = append(packets, p, p)
		case c < 160: // padding as well
			packets = append(packets, p, sending{at: p.at, seq: number, ts: p.ts})
			number++
		default: // nothing passes for up to 950 ms
			stalled = max(stalled, p.at+(c-160)*10*time.Millisecond)
			packets = append(packets, p)
		}
	}
	for i := range packets {
		packets[i].at = max(packets[i].at, min(stalled, packets[i].at+950*time.Millisecond))
	}
	byArrival(packets)
	last := b.pos
	run(t, b, packets, length, func(now time.Duration, _ []float32) {
		if b.pos < last {
			t.Fatalf("content went from %d back to %d", last, b.pos)
		}
		last = b.pos
		if depth := b.Stats().Depth; depth > maxDepth+100*time.Millisecond { // what came since the last pull is cut by the next
			t.Fatalf("%v waits at %v", depth, now)
		}
	})
	wantInOrder(t, d)
	if s := b.Stats(); s.Delay < 15*time.Millisecond || s.Delay > maxDepth {
		t.Errorf("3 s later the delay is %v, target %v: %+v", s.Delay, s.Target, s)
	}
}

// FuzzPackets gives the Buffer whatever a hostile sender may: any numbers, timestamps and payloads at any time.
func FuzzPackets(f *testing.F) {
	f.Add([]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12})
	f.Add([]byte{0, 0, 0, 0, 0, 0, celt20ms, 0, 0, 0, 1, 0, 0, 0, 3, 0xc0, celt20ms, 1})
	f.Fuzz(func(t *testing.T, script []byte) {
		b, d := newBuffer(t, tone)
		pcm := make([]float32, frame)
		now := mediaclock.Local(0)
		pulls := 0
		pull := func() error {
			err := b.Pull(now, pcm)
			for i, v := range pcm {
				if !(v >= -1 && v <= 1) {
					t.Fatalf("sample %d is %v", i, v)
				}
			}
			pulls++
			return err
		}
		number, ts := seq.Seq(0), mediaclock.Timestamp(0)
		for i := 0; i+6 <= len(script); i += 6 {
			c := script[i : i+6]
			now = now.Add(time.Duration(c[0]) * time.Millisecond)
			number += seq.Seq(int8(c[1])) * (1 + seq.Seq(c[2]&1)*0x101)
			ts += mediaclock.Timestamp(int32(int8(c[3]))<<(c[2]>>4)) + frame
			payload := tonePacket(int64(i))
			payload[0] = c[4]
			b.Push(now, number, ts, payload[:min(int(c[5])%12, len(payload))])
			for range c[2] >> 1 & 3 {
				if err := pull(); err != nil {
					t.Fatalf("Pull: %v", err)
				}
			}
		}
		b.Stats()
		seen := map[int64]bool{}
		for _, at := range d.decoded {
			if seen[at] {
				t.Fatalf("packet %d was decoded twice", at)
			}
			seen[at] = true
		}
		b.End()
		for i := 0; pull() != io.EOF; i++ {
			if now = now.Add(frameDur); i > shelfSlots*8+2*int(maxLeap/frameDur)*shelfSlots {
				t.Fatalf("no end after %d pulls: %+v", i, b.Stats())
			}
		}
	})
}
