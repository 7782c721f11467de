package voice

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

const (
	sentence = "Kính thưa toàn thể bà con, hôm nay xã ta tổ chức tiêm phòng cho trẻ em tại trạm y tế, mời bà con đến đúng giờ."
	reply    = "Đề nghị các hộ dân ở thôn Đông khẩn trương di dời đồ đạc lên cao, nước sông đang lên nhanh."
)

var microphone = Options{HighPass: true, Levelling: LevelVoice, Gate: true}

// trace is what a Processor did: its sound, and gain and gate in dB every 10 ms.
type trace struct{ gain, gate []float64 }

func follow(o Options, pcm []float32) (t trace, out []float32) {
	p := New(o)
	out = append(slices.Clone(pcm), make([]float32, p.Delay())...)
	for part := range slices.Chunk(out, stepSamples) {
		p.Process(part)
		t.gain = append(t.gain, p.listener.leveller.gain)
		if p.listener.gate != nil {
			t.gate = append(t.gate, p.listener.gate.db)
		}
	}
	return t, out[p.Delay():]
}

// mix adds b, repeated, to a.
func mix(a, b []float32) []float32 {
	out := slices.Clone(a)
	for i := range out {
		out[i] += b[i%len(b)]
	}
	return out
}

// scaled brings pcm to a loudness by its gain alone.
func scaled(pcm []float32, lufs float64) []float32 {
	gain, out := float32(amplitude(lufs-loudnessOf(pcm))), slices.Clone(pcm)
	for i := range out {
		out[i] *= gain
	}
	return out
}

func silence(seconds float64) []float32 { return make([]float32, int(seconds*second)) }

// rumble is noise as rooms have it: low.
func rumble(seconds, lufs float64) []float32 {
	rng := rand.New(rand.NewPCG(7, 8))
	pcm := silence(seconds)
	y := 0.0
	for i := range pcm {
		y += 0.02 * (rng.NormFloat64() - y)
		pcm[i] = float32(y)
	}
	return scaled(pcm, lufs)
}

func hiss(seconds, lufs float64) []float32 { return scaled(noise(int(seconds*second), 1), lufs) }

// Whoever speaks, and however: it leaves with one loudness, from the first word on, and within the ceiling.
func TestVoicesLeaveWithOneLoudness(t *testing.T) {
	t.Parallel()
	normal, whisper := spoken(t, "vi", sentence), spoken(t, "vi+whisper", sentence)
	least, most := math.Inf(1), math.Inf(-1)
	for n, c := range []struct {
		name   string
		pcm    []float32
		arrive float64 // s after the first word until the gain is within 4 dB of where it stays
	}{
		{"shouted, -6 LUFS", louder(normal, -6), 0.15},
		{"spoken, -25 LUFS", louder(normal, -25), 0.3},
		{"spoken, -33 LUFS", louder(normal, -33), 0.6},
		{"spoken by another, -28 LUFS", louder(spoken(t, "vi-vn-x-south+f3", reply), -28), 0.6},
		{"whispered, -45 LUFS", louder(whisper, -45), 0.6},
		{"murmured, -45 LUFS", louder(normal, -45), 0.6},
	} {
		for _, background := range []float64{-200, -60}[n%2:] {
			pcm := mix(slices.Concat(silence(0.5), c.pcm), hiss(3, background))
			did, out := follow(microphone, pcm)
			got := loudnessOf(out)
			least, most = min(least, got), max(most, got)
			if math.Abs(got-Target) > 1.5 {
				t.Errorf("%s, background %g: leaves with %.2f LUFS, want %g", c.name, background, got, Target)
			}
			if peak := decibels(truePeak(out)); peak > ceilingDB+0.01 {
				t.Errorf("%s, background %g: %.2f dBTP", c.name, background, peak)
			}
			last := did.gain[len(did.gain)-1]
			for at, gain := range did.gain {
				if s := float64(at)/100 - 0.5; (s > c.arrive && math.Abs(gain-last) > 4) || (s > 0.1 && last > 0 && gain > last+4) {
					t.Errorf("%s, background %g: gain %.1f dB %.2f s after the first word, %.1f in the end", c.name, background, gain, s, last)
					break
				}
			}
		}
	}
	if most-least > 3 {
		t.Errorf("they leave with %.2f to %.2f LUFS, want within 3 LU", least, most)
	}
	t.Logf("all leave with %.2f to %.2f LUFS", least, most)
}

// One microphone, two people: the second is found too, in either order.
func TestAnotherSpeaker(t *testing.T) {
	t.Parallel()
	shout, whisper := louder(spoken(t, "vi", sentence), -6), louder(spoken(t, "vi+whisper", sentence), -45)
	for name, c := range map[string][2][]float32{"a whisper after a shout": {shout, whisper}, "a shout after a whisper": {whisper, shout}} {
		cut := len(c[0]) + second
		_, out := follow(microphone, mix(slices.Concat(c[0], silence(1), c[1]), hiss(3, -65)))
		first, then := loudnessOf(out[:cut]), loudnessOf(out[cut:])
		if math.Abs(first-then) > 3 {
			t.Errorf("%s: %.2f and %.2f LUFS, want within 3 LU", name, first, then)
		}
		if peak := decibels(truePeak(out)); peak > ceilingDB+0.01 {
			t.Errorf("%s: %.2f dBTP", name, peak)
		}
	}
}

// No pumping, once a speaker is known: between syllables, words and sentences the gain moves by no more than 1 dB a
// second and 1.5 dB in all, and neither does it move what is behind the voice.
func TestNoPumping(t *testing.T) {
	t.Parallel()
	voice := slices.Concat(louder(spoken(t, "vi", sentence), -25), silence(0.3), louder(spoken(t, "vi", reply), -25))
	for name, background := range map[string][]float32{"hiss": hiss(3, -55), "rumble": rumble(3, -45)} {
		did, _ := follow(microphone, mix(slices.Concat(silence(0.5), voice, voice), background))
		const known = 350 // 3 s after the first word
		gain := did.gain[known:]
		if moved := slices.Max(gain) - slices.Min(gain); moved > 1.5 {
			t.Errorf("over %s the gain moves by %.2f dB", name, moved)
		}
		for i := 50; i < len(gain); i++ {
			if slope := math.Abs(gain[i]-gain[i-50]) / 0.5; slope > 1 {
				t.Errorf("over %s the gain moves by %.2f dB a second", name, slope)
				break
			}
		}
		if least := slices.Min(did.gate); least < 0 {
			t.Errorf("over %s the gate goes to %.1f dB in pauses of 0.3 s", name, least)
		}
	}
}

// What is not speech is not pulled up: silence, hiss, rumble, hum, keys; neither before anybody spoke nor after.
func TestBackgroundStays(t *testing.T) {
	t.Parallel()
	hum := mix(tone(5*second, 100, 0.1, 0), tone(5*second, 300, 0.03, 0))
	keys := silence(5)
	rng := rand.New(rand.NewPCG(1, 9))
	for at := 0; at+2000 < len(keys); at += 12000 + rng.IntN(6000) {
		for i := range 1500 {
			keys[at+i] = float32(rng.NormFloat64() * math.Exp(-float64(i)/200))
		}
	}
	start := LevelVoice.rules().start
	for name, pcm := range map[string][]float32{
		"silence": silence(5), "hiss": hiss(5, -50), "loud hiss": hiss(5, -35), "rumble": rumble(5, -50), "loud rumble": rumble(5, -30),
		"hiss after nothing": slices.Concat(silence(1), hiss(5, -45)), "rumble after nothing": slices.Concat(silence(1), rumble(5, -35)),
		"hum": scaled(hum, -40), "keys": scaled(keys, -45), "a faint tone": tone(5*second, 1000, 0.02, 0),
	} {
		if did, _ := follow(microphone, pcm); slices.Max(did.gain) > start+0.01 {
			t.Errorf("%s is raised by %.1f dB, want the %g of the start", name, slices.Max(did.gain), start)
		}
	}
	voice := louder(spoken(t, "vi", sentence), -25)
	for name, pause := range map[string][]float32{"silence": silence(5), "hiss": hiss(5, -50), "rumble": rumble(5, -45)} {
		did, _ := follow(microphone, slices.Concat(voice, pause))
		from := (len(voice) + second/4) / stepSamples
		if moved := slices.Max(did.gain[from:]) - slices.Min(did.gain[from:]); moved > 0.5 {
			t.Errorf("in a pause of %s the gain moves by %.2f dB", name, moved)
		}
	}
}

// What is loud and steady is brought down, and never to nothing.
func TestLoudTones(t *testing.T) {
	for _, amp := range []float64{0.1, 0.45, 1, 4} {
		_, out := follow(microphone, tone(3*second, 1000, amp, 0))
		if got := loudnessOf(out[second:]); math.Abs(got-Target) > 0.3 && amp < 4 || got < Target-3 {
			t.Errorf("a tone of %g leaves with %.2f LUFS, want %g", amp, got, Target)
		}
	}
}

// A line moves by 6 dB at most, 1 dB a second at most, and its silence is left alone.
func TestLine(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ in, want float64 }{{-21, -18}, {-15, -18}, {-30, -24}, {-8, -14}, {-50, -50}} {
		did, out := follow(Options{Levelling: LevelLine}, slices.Concat(hiss(15, c.in), silence(2)))
		if got := loudnessOf(out[12*second : 15*second]); math.Abs(got-c.want) > 0.5 {
			t.Errorf("a line of %g LUFS leaves with %.2f, want %g", c.in, got, c.want)
		}
		for i := 1; i < len(did.gain); i++ {
			if math.Abs(did.gain[i]-did.gain[i-1]) > 0.0101 {
				t.Errorf("a line of %g LUFS: a step of %.3f dB in 10 ms", c.in, did.gain[i]-did.gain[i-1])
				break
			}
		}
		if end := did.gain[len(did.gain)-150:]; slices.Max(end) != slices.Min(end) {
			t.Errorf("a line of %g LUFS: the gain moves in silence", c.in)
		}
	}
}

func TestGainFor(t *testing.T) {
	for _, c := range []struct{ lufs, want float64 }{{-18, 0}, {-23, 5}, {-6, -12}, {-60, 30}, {NoLoudness, 0}, {math.NaN(), 0}, {10, -20}} {
		if got := GainFor(c.lufs); got != c.want {
			t.Errorf("GainFor(%g) = %g, want %g", c.lufs, got, c.want)
		}
	}
}

// Whatever a microphone gives, its gain stays in its range and what leaves is finite and within the ceiling.
func FuzzMicrophone(f *testing.F) {
	f.Add([]byte{0, 0, 0xc0, 0x7f, 0, 0, 0x80, 0x7f, 0xff, 0xff, 0x7f, 0x7f}, uint8(1))
	f.Add([]byte{0, 0, 0x80, 0x3f, 0, 0, 0, 0}, uint8(200))
	f.Fuzz(func(t *testing.T, raw []byte, repeat uint8) {
		p := New(microphone)
		frame := make([]float32, frameSamples)
		for n := range 10 + int(repeat) {
			for i := range frame {
				frame[i] = 0
				if at := 4 * (i + n%7); len(raw) >= 4 {
					frame[i] = math.Float32frombits(binary.LittleEndian.Uint32(raw[at%(len(raw)-3):]))
				}
			}
			p.Process(frame)
			for i, x := range frame {
				if !(abs(x) <= p.limiter.ceiling*1.0001) {
					t.Fatalf("sample %d is %v", i, x)
				}
			}
			if g := p.listener.leveller.gain; !(g >= minGainDB && g <= maxGainDB) {
				t.Fatalf("gain is %v dB", g)
			}
		}
	})
}
