package jitter

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"dongthanh/codec"
	"dongthanh/internal/mediaclock"
	"dongthanh/internal/seq"
)

func TestCleanNetwork(t *testing.T) {
	b, d := newBuffer(t, tone)
	const length = 30 * time.Second
	var first time.Duration
	pcm := run(t, b, stream(length, 0, clean), length, func(now time.Duration, pcm []float32) {
		if first == 0 && power(pcm) > 0.01 {
			first = now
		}
	})
	wantInOrder(t, d)
	s := b.Stats()
	if s.Lost+s.Late+s.Duplicate+s.Malformed+s.Flood+s.Overflow+s.Leaps != 0 || s.Concealed+s.Withheld+s.Starved+s.Cut != 0 {
		t.Errorf("Stats = %+v, want no fault", s)
	}
	if first > 100*time.Millisecond { // 20 ms of packet, 15 ms of network, 40 ms of buffer, 20 ms of frame
		t.Errorf("sound after %v, want within 100 ms of the microphone", first)
	}
	if got := roughness(pcm[mediaclock.Rate/5:]); got > 1e-3 {
		t.Errorf("roughness %v, want none", got)
	}
	if s.Delay > 35*time.Millisecond || s.Delay < 25*time.Millisecond {
		t.Errorf("delay %v after %v, want the least, 30 ms", s.Delay, length)
	}
}

// The same with the resampler that is really used, half a per mille off, as long as patience lasts.
func TestClockSkewResampled(t *testing.T) {
	b, d := newBuffer(t, tone)
	rs, err := codec.NewResampler(mediaclock.Rate, mediaclock.Rate)
	if err != nil {
		t.Fatal(err)
	}
	b.rs = rs
	const length = 10 * time.Second
	pcm := run(t, b, stream(length, 500e-6, clean), length, nil)
	wantInOrder(t, d)
	if got := roughness(pcm[mediaclock.Rate/5:]); got > 1e-3 {
		t.Errorf("roughness %v: the change of speed is heard", got)
	}
	if s := b.Stats(); s.Starved+s.Cut+s.Concealed != 0 || s.ClockRatio < 1.0001 {
		t.Errorf("Stats = %+v, want the clock followed and nothing made up", s)
	}
}

// The sender's clock is off: the delay must stay where it is for as long as one likes, and the tone stay smooth.
func TestClockSkew(t *testing.T) {
	for _, tt := range []struct {
		name string
		ppm  float64
	}{{"fast", 200}, {"slow", -200}, {"very fast", 1000}, {"very slow", -1000}} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b, d := newBuffer(t, tone)
			const length = 2 * time.Minute
			rng := rand.New(rand.NewPCG(1, 2))
			way := func(int) (time.Duration, bool) { return time.Duration(10+5*rng.Float64()) * time.Millisecond, false }
			worst := time.Duration(0)
			pcm := run(t, b, stream(length, tt.ppm/1e6, way), length, func(now time.Duration, _ []float32) {
				s := b.Stats()
				if now > time.Second {
					worst = max(worst, (s.Delay - s.Target).Abs())
				}
			})
			wantInOrder(t, d)
			s := b.Stats()
			if got := (s.ClockRatio - 1) * 1e6; math.Abs(got-tt.ppm) > 30 {
				t.Errorf("clock found off by %.0f ppm, want %.0f", got, tt.ppm)
			}
			if worst > 20*time.Millisecond {
				t.Errorf("delay was off its target by %v", worst)
			}
			if s.Starved+s.Cut+s.Concealed != 0 {
				t.Errorf("Stats = %+v, want nothing made up or cut", s)
			}
			if got := roughness(pcm[mediaclock.Rate/5:]); got > 1e-3 {
				t.Errorf("roughness %v: the change of speed is heard", got)
			}
		})
	}
}

func TestLoss(t *testing.T) {
	b, d := newBuffer(t, tone)
	const length = time.Minute
	rng := rand.New(rand.NewPCG(3, 4))
	lost := 0
	way := func(i int) (time.Duration, bool) {
		if i > 0 && rng.Float64() < 0.1 {
			lost++
			return 0, true
		}
		return 15 * time.Millisecond, false
	}
	packets := stream(length, 0, way)
	run(t, b, packets, length, nil)
	wantInOrder(t, d)
	s := b.Stats()
	if int(s.Lost) < lost-3 || int(s.Lost) > lost {
		t.Errorf("Lost = %d, want %d", s.Lost, lost)
	}
	made := int((s.Concealed + s.Starved) / frame)
	if made < lost-3 || made > lost+3 {
		t.Errorf("%d frames made up for %d lost packets", made, lost)
	}
	if s.Delay > 50*time.Millisecond || s.Cut != 0 {
		t.Errorf("delay %v, %d samples cut: loss must not lengthen or shorten the stream", s.Delay, s.Cut)
	}
}

// A sender with DTX leaves out packets without leaving out numbers: the silence keeps its length.
func TestWithheldPackets(t *testing.T) {
	b, d := newBuffer(t, tone)
	const length = 20 * time.Second
	var packets []sending
	n := seq.Seq(0)
	for _, p := range stream(length, 0, clean) {
		place := int64(p.ts-0xfffff000) / frame
		if place%50 >= 20 && place%20 != 0 { // from 400 ms to 1 s of each second, one packet in 400 ms
			continue
		}
		p.seq = n
		n++
		packets = append(packets, p)
	}
	pcm := run(t, b, packets, length, nil)
	wantInOrder(t, d)
	s := b.Stats()
	if s.Lost+s.Leaps != 0 || s.Concealed != 0 || s.Cut != 0 {
		t.Errorf("Stats = %+v, want nothing lost or cut", s)
	}
	// The second of sound that begins at content 10 s must sound where a stream without DTX would have it.
	if got := onset(pcm, 10*mediaclock.Rate, s.Delay); got > 25*time.Millisecond {
		t.Errorf("sound is off its place by %v", got)
	}
}

// onset returns by how much sound begins near the content's sample at, away from where it should.
func onset(pcm []float32, at int, delay time.Duration) time.Duration {
	want := at + int(mediaclock.SamplesIn(15*time.Millisecond+delay+frameDur)) // network, buffer, and the frame pulled
	i := want - 9600
	for ; i < len(pcm) && math.Abs(float64(pcm[i])) < 0.05; i++ {
	}
	return mediaclock.Samples(i - want).Duration().Abs()
}

// Padding packets use numbers; they are neither lost nor silence.
func TestPadding(t *testing.T) {
	b, d := newBuffer(t, tone)
	const length = 5 * time.Second
	var packets []sending
	n := seq.Seq(100)
	for i, p := range stream(length, 0, clean) {
		p.seq = n
		n++
		packets = append(packets, p)
		if i%7 == 3 {
			packets = append(packets, sending{at: p.at, seq: n, ts: p.ts})
			n++
		}
	}
	pcm := run(t, b, packets, length, nil)
	wantInOrder(t, d)
	s := b.Stats()
	if s.Lost != 0 || s.Padding == 0 || s.Concealed+s.Withheld+s.Starved != 0 {
		t.Errorf("Stats = %+v, want padding and no gap", s)
	}
	if got := roughness(pcm[mediaclock.Rate/5:]); got > 1e-3 {
		t.Errorf("roughness %v, want none", got)
	}
}

func TestReordering(t *testing.T) {
	b, d := newBuffer(t, tone)
	const length = 10 * time.Second
	way := func(i int) (time.Duration, bool) { // each third packet is overtaken by the next
		if i%3 == 1 {
			return 37 * time.Millisecond, false
		}
		return 15 * time.Millisecond, false
	}
	packets := stream(length, 0, way)
	packets = append(packets[:50:50], append([]sending{packets[49], packets[20]}, packets[50:]...)...) // two come again
	pcm := run(t, b, packets, length, nil)
	wantInOrder(t, d)
	s := b.Stats()
	if s.Lost != 0 || s.Duplicate != 2 {
		t.Errorf("Lost = %d, Duplicate = %d, want 0 and 2", s.Lost, s.Duplicate)
	}
	if got := roughness(pcm[3*mediaclock.Rate:]); got > 1e-3 { // the first seconds teach it
		t.Errorf("roughness %v: packets that came late within the target were not played", got)
	}
}

// A jittery network: the target grows until packets come in time, within its bound.
func TestJitter(t *testing.T) {
	for _, tt := range []struct {
		name   string
		jitter time.Duration
		made   float64 // portion of the sound that may be made up once the target has settled
	}{{"10 ms", 10 * time.Millisecond, 0}, {"50 ms", 50 * time.Millisecond, 0.005}, {"90 ms", 90 * time.Millisecond, 0.01}, {"200 ms", 200 * time.Millisecond, 0.6}} {
		t.Run(tt.name, func(t *testing.T) {
			b, d := newBuffer(t, tone)
			const length = 40 * time.Second
			rng := rand.New(rand.NewPCG(5, 6))
			way := func(int) (time.Duration, bool) {
				return 15*time.Millisecond + time.Duration(rng.Float64()*float64(tt.jitter)), false
			}
			var before Stats
			run(t, b, stream(length, 0, way), length, func(now time.Duration, _ []float32) {
				if s := b.Stats(); now < length/2 {
					before = s
				}
			})
			wantInOrder(t, d)
			s := b.Stats()
			made := (s.Starved + s.Concealed - before.Starved - before.Concealed).Duration()
			if got := made.Seconds() / (length / 2).Seconds(); got > tt.made {
				t.Errorf("%.3f of the sound was made up, want at most %v; target %v, delay %v", got, tt.made, s.Target, s.Delay)
			}
			if s.Target > maxTarget || s.Depth > maxDepth {
				t.Errorf("target %v, depth %v, want at most %v and %v", s.Target, s.Depth, maxTarget, maxDepth)
			}
		})
	}
}

// Everything stands still for 400 ms, then comes at once: made up and silent meanwhile, never more than the bound
// behind afterwards, and back at the target soon.
func TestStall(t *testing.T) {
	for _, tt := range []struct {
		name  string
		stall time.Duration
		sound func(int64) float32
	}{
		{"400 ms of a tone", 400 * time.Millisecond, tone},
		{"400 ms of a pause", 400 * time.Millisecond, func(at int64) float32 { return 1e-4 * tone(at) }},
		{"100 ms of a tone", 100 * time.Millisecond, tone},
		{"1.8 s", 1800 * time.Millisecond, tone},
		{"5 s", 5 * time.Second, tone},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b, d := newBuffer(t, tt.sound)
			const length = 40 * time.Second
			way := func(i int) (time.Duration, bool) {
				at := time.Duration(i+1) * frameDur
				if at > 5*time.Second && at < 5*time.Second+tt.stall {
					return 5*time.Second + tt.stall - at, false
				}
				return 15 * time.Millisecond, false
			}
			deepest := time.Duration(0)
			run(t, b, stream(length, 0, way), length, func(now time.Duration, _ []float32) {
				if now > 5*time.Second+tt.stall+frameDur {
					deepest = max(deepest, b.Stats().Depth)
				}
			})
			wantInOrder(t, d)
			s := b.Stats()
			if deepest > maxDepth {
				t.Errorf("%v waited after the stall, want at most %v", deepest, maxDepth)
			}
			if s.Starved == 0 {
				t.Error("nothing was made up during the stall")
			}
			if s.Delay > 80*time.Millisecond {
				t.Errorf("delay %v 30 s later, want near %v", s.Delay, s.Target)
			}
		})
	}
}

// Made-up sound ends: nothing is heard 100 ms after the last packet, and it never begins again by itself.
func TestConcealmentFades(t *testing.T) {
	dec, err := codec.NewDecoder()
	if err != nil {
		t.Fatal(err)
	}
	b, err := New(dec)
	if err != nil {
		t.Fatal(err)
	}
	enc, err := codec.NewEncoder(codec.EncoderConfig{FramesPerPacket: 1, Bitrate: 64000, Music: true})
	if err != nil {
		t.Fatal(err)
	}
	var packets []sending
	for i := range 50 {
		pcm := make([]float32, frame)
		for j := range pcm {
			pcm[j] = tone(int64(i*frame + j))
		}
		out := make([]byte, enc.MaxPacketBytes())
		n, err := enc.Encode(pcm, out)
		if err != nil {
			t.Fatal(err)
		}
		packets = append(packets, sending{time.Duration(i+1) * frameDur, seq.Seq(i), mediaclock.Timestamp(i * frame), out[:n]})
	}
	var loudAfter time.Duration
	run(t, b, packets, 3*time.Second, func(now time.Duration, pcm []float32) {
		if power(pcm) > quietPower {
			loudAfter = now
		}
	})
	if loudAfter < 900*time.Millisecond {
		t.Fatalf("last sound pulled at %v, want about 1 s: libopus's sound did not arrive", loudAfter)
	}
	if loudAfter > 1200*time.Millisecond {
		t.Errorf("sound at %v, a guess must end within 100 ms of the last packet", loudAfter)
	}
}

// opusPacket is 20 ms of the tone, as libopus encodes it.
func opusPacket(t testing.TB) []byte {
	t.Helper()
	enc, err := codec.NewEncoder(codec.EncoderConfig{FramesPerPacket: 1, Bitrate: 64000, Music: true})
	if err != nil {
		t.Fatal(err)
	}
	pcm, out := make([]float32, frame), make([]byte, enc.MaxPacketBytes())
	for i := range pcm {
		pcm[i] = tone(int64(i))
	}
	n, err := enc.Encode(pcm, out)
	if err != nil {
		t.Fatal(err)
	}
	return out[:n]
}

// stepper returns a func that takes in a packet and pulls a frame, with libopus and the real resampler.
func stepper(t testing.TB) func() {
	t.Helper()
	dec, err := codec.NewDecoder()
	if err != nil {
		t.Fatal(err)
	}
	b, err := New(dec)
	if err != nil {
		t.Fatal(err)
	}
	payload, pcm, i := opusPacket(t), make([]float32, frame), 0
	step := func() {
		now := mediaclock.Local(time.Duration(i) * frameDur)
		if i%10 != 9 { // one in ten is lost
			b.Push(now, seq.Seq(i), mediaclock.Timestamp(i*frame), payload)
		}
		_ = b.Pull(now, pcm)
		i++
	}
	for range 4 * shelfSlots { // every slot has its memory
		step()
	}
	return step
}

func TestAllocations(t *testing.T) {
	if n := testing.AllocsPerRun(1000, stepper(t)); n != 0 {
		t.Errorf("%v allocations a frame, want 0", n)
	}
}

func BenchmarkFrame(b *testing.B) {
	step := stepper(b)
	for b.Loop() {
		step()
	}
}
