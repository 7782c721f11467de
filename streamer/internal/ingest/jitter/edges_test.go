package jitter

import (
	"io"
	"math"
	"slices"
	"testing"
	"time"

	"dongthanh/internal/mediaclock"
	"dongthanh/internal/seq"
)

func TestEnd(t *testing.T) {
	b, _ := newBuffer(t, tone)
	packets := stream(time.Second, 0, clean)
	run(t, b, packets, 1010*time.Millisecond, nil)
	b.End()
	pcm := make([]float32, frame)
	frames := 0
	for ; b.Pull(mediaclock.Local(time.Second), pcm) != io.EOF; frames++ {
		if frames > 20 {
			t.Fatal("no end after 20 frames")
		}
	}
	if frames < 2 || frames > 4 { // the delay, a faded frame
		t.Errorf("%d frames after the end, want the 40 ms that waited and a fade", frames)
	}
	if power(pcm) != 0 {
		t.Error("the frame that comes with io.EOF is not silent")
	}
	b.Push(0, 1, 1, tonePacket(0))
	if err := b.Pull(0, pcm); err != io.EOF {
		t.Errorf("Pull after the end: %v, want io.EOF", err)
	}
}

func TestEndWithoutSound(t *testing.T) {
	b, _ := newBuffer(t, tone)
	b.End()
	pcm := make([]float32, frame)
	_ = b.Pull(0, pcm)
	if err := b.Pull(0, pcm); err != io.EOF {
		t.Errorf("Pull = %v, want io.EOF", err)
	}
}

// What a packet repeats of the one before it takes that one's place: of two lost in a row, the second's.
func TestRecovers(t *testing.T) {
	b, d := newBuffer(t, tone)
	packets := stream(2*time.Second, 0, func(i int) (time.Duration, bool) {
		return 15 * time.Millisecond, i == 20 || i == 40 || i == 41
	})
	run(t, b, packets, 2*time.Second, nil)
	if want := []int64{21 * frame, 42 * frame}; !slices.Equal(d.before, want) || d.guessed < 3 {
		t.Errorf("recovered before the packets at %v of %d gaps, want before %v of 3", d.before, d.guessed, want)
	}
	if s := b.Stats(); s.Concealed+s.Starved != 3*frame { // the first of two is missed before the next packet is there
		t.Errorf("%+v, want 3 frames made up", s)
	}
}

// A line's sender stalls for half a second and sends it all then: a patient buffer leaves nothing of it out.
func TestPatient(t *testing.T) {
	for _, patient := range []bool{false, true} {
		b, d := newBuffer(t, tone)
		if patient {
			b.Patient()
		}
		packets := stream(4*time.Second, 0, func(i int) (time.Duration, bool) {
			if i >= 50 && i < 75 {
				return time.Duration(75-i) * frameDur, false
			}
			return 15 * time.Millisecond, false
		})
		run(t, b, packets, 4*time.Second, nil)
		b.End()
		wantInOrder(t, d)
		if cut := b.Stats().Cut > 0; cut == patient {
			t.Errorf("patient: %v, but something was cut: %v (%+v)", patient, cut, b.Stats())
		}
	}
}

// Nobody pulls for a while: the oldest is given up, and what then sounds is new.
func TestLateConsumer(t *testing.T) {
	b, d := newBuffer(t, tone)
	for _, p := range stream(10*time.Second, 0, clean) {
		b.Push(mediaclock.Local(p.at), p.seq, p.ts, p.payload)
	}
	if !b.Ready(mediaclock.Local(10 * time.Second)) {
		t.Fatal("not ready after 10 s of sound")
	}
	pcm := make([]float32, frame)
	if err := b.Pull(mediaclock.Local(10*time.Second+15*time.Millisecond), pcm); err != nil {
		t.Fatal(err)
	}
	if power(pcm) < 0.01 {
		t.Error("first pull is silent")
	}
	if old := 10*time.Second - mediaclock.Samples(d.decoded[0]).Duration(); old > 100*time.Millisecond {
		t.Errorf("first sound is %v old", old)
	}
}

func TestReady(t *testing.T) {
	b, _ := newBuffer(t, tone)
	var at []time.Duration
	for _, p := range stream(200*time.Millisecond, 0, clean) {
		b.Push(mediaclock.Local(p.at), p.seq, p.ts, p.payload)
		if b.Ready(mediaclock.Local(p.at)) {
			at = append(at, p.at)
		}
	}
	if want := 75 * time.Millisecond; len(at) == 0 || at[0] != want {
		t.Fatalf("ready at %v, want %v: 40 ms after the first packet", at, want)
	}
	pcm := make([]float32, frame)
	if err := b.Pull(mediaclock.Local(at[0]), pcm); err != nil || power(pcm) < 0.01 {
		t.Errorf("Pull when ready: error %v, power %v, want sound", err, power(pcm))
	}
}

func TestHostile(t *testing.T) {
	t.Run("ten times real time", func(t *testing.T) {
		b, d := newBuffer(t, tone)
		var packets []sending
		for i := range 50 * 60 * 10 {
			packets = append(packets, sending{time.Duration(i) * 2 * time.Millisecond, seq.Seq(i), mediaclock.Timestamp(i * frame), tonePacket(int64(i) * frame)})
		}
		run(t, b, packets, time.Minute, nil)
		wantInOrder(t, d)
		s := b.Stats()
		if limit := 50*60*105/100 + 110; len(d.decoded) > limit {
			t.Errorf("%d packets decoded, want at most %d", len(d.decoded), limit)
		}
		if s.Flood == 0 {
			t.Error("no flood counted")
		}
	})
	t.Run("the sender starts anew", func(t *testing.T) {
		b, _ := newBuffer(t, tone)
		packets := stream(10*time.Second, 0, clean)
		for i := 250; i < len(packets); i++ {
			packets[i].seq += 20000
			packets[i].ts += 1 << 30
		}
		pcm := run(t, b, packets, 10*time.Second, nil)
		if power(pcm[9*mediaclock.Rate:]) < 0.1 {
			t.Errorf("silence after the jump: %+v", b.Stats())
		}
		if s := b.Stats(); s.Leaps != 1 || s.Malformed != 1 || s.Starved+s.Concealed+s.Withheld > 3*frame {
			t.Errorf("Stats = %+v, want one leap, and at most 60 ms made up", s)
		}
	})
	t.Run("timestamps stand still for half a second", func(t *testing.T) { // a sound card that hung
		b, d := newBuffer(t, tone)
		packets := stream(20*time.Second, 0, clean)
		for i := 250; i < len(packets); i++ {
			packets[i].at += 500 * time.Millisecond
		}
		run(t, b, packets, 20*time.Second, nil)
		wantInOrder(t, d)
		if s := b.Stats(); s.Cut != 0 || s.Starved > 30*frame {
			t.Errorf("Stats = %+v, want the half second made up and nothing cut", s)
		}
	})
	t.Run("not Opus", func(t *testing.T) {
		b, _ := newBuffer(t, tone)
		for i, p := range [][]byte{{}, {0xff}, {3}, {3, 0}, {3, 63}, make([]byte, 1600)} {
			b.Push(0, seq.Seq(i), 0, p)
		}
		if s := b.Stats(); s.Malformed != 5 || s.Padding != 1 || s.Packets != 0 {
			t.Errorf("Stats = %+v, want 5 malformed, 1 padding", s)
		}
	})
	t.Run("a decoder that fails, or gives NaN", func(t *testing.T) {
		b, _ := newBuffer(t, func(int64) float32 { return float32(math.NaN()) })
		packets := stream(time.Second, 0, clean)
		packets[10].payload = []byte{celt20ms, 0}
		pcm := run(t, b, packets, time.Second, nil)
		if power(pcm) != 0 || b.Stats().Malformed != 1 {
			t.Errorf("power %v, Stats %+v, want silence and one malformed", power(pcm), b.Stats())
		}
	})
}
