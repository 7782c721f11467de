package jitter

import (
	"encoding/binary"
	"errors"
	"io"
	"math"
	"sort"
	"testing"
	"time"

	"dongthanh/internal/mediaclock"
	"dongthanh/internal/seq"
)

const toneHz = 440

// toneDecoder stands in for libopus where a test must know which content sounds: a packet carries its place in the
// content, and decodes to a sine that is continuous over all of it, or to what sound says. It notes what it was given.
type toneDecoder struct {
	sound   func(at int64) float32
	decoded []int64 // places, in the order of decoding
	guessed int     // calls to ConcealFloat
	before  []int64 // places of the packets that RecoverFloat was given
}

func tone(at int64) float32 {
	return float32(0.5 * math.Sin(2*math.Pi*toneHz*float64(at)/mediaclock.Rate))
}

const celt20ms = 31 << 3 // TOC of one 20 ms CELT frame, full band, mono (RFC 6716 §3.1)

func tonePacket(at int64) []byte {
	return binary.BigEndian.AppendUint64([]byte{celt20ms}, uint64(at))
}

func (d *toneDecoder) DecodeFloat(packet []byte, pcm []float32) (int, error) {
	if len(packet) < 9 {
		return 0, errors.New("no packet of this test")
	}
	at := int64(binary.BigEndian.Uint64(packet[1:]))
	d.decoded = append(d.decoded, at)
	for i := range pcm[:frame] {
		pcm[i] = d.sound(at + int64(i))
	}
	return frame, nil
}

func (d *toneDecoder) ConcealFloat(pcm []float32) error {
	d.guessed++
	clear(pcm)
	return nil
}

func (d *toneDecoder) RecoverFloat(next []byte, pcm []float32) error {
	if len(next) >= 9 {
		d.before = append(d.before, int64(binary.BigEndian.Uint64(next[1:])))
	}
	return d.ConcealFloat(pcm)
}

// sending is one packet on its way.
type sending struct {
	at      time.Duration // by our clock
	seq     seq.Seq
	ts      mediaclock.Timestamp
	payload []byte
}

// stream makes the packets of a sender whose clock is off by skew, for so long; way gives each packet's time on the
// network and whether it is lost.
func stream(length time.Duration, skew float64, way func(i int) (time.Duration, bool)) []sending {
	var all []sending
	for i := 0; ; i++ {
		made := time.Duration(float64(time.Duration(i+1)*frameDur) / (1 + skew)) // a packet leaves when its last sample is there
		if made > length {
			break
		}
		d, lost := way(i)
		if !lost {
			all = append(all, sending{made + d, seq.Seq(65000 + i), mediaclock.Timestamp(0xfffff000 + i*frame), tonePacket(int64(i) * frame)})
		}
	}
	byArrival(all)
	return all
}

func byArrival(all []sending) {
	sort.SliceStable(all, func(i, j int) bool { return all[i].at < all[j].at })
}

// clean is a network that takes 15 ms.
func clean(int) (time.Duration, bool) { return 15 * time.Millisecond, false }

// run plays packets for so long and returns the sound. check, if any, is called after each pull.
func run(t testing.TB, b *Buffer, packets []sending, length time.Duration, check func(now time.Duration, pcm []float32)) []float32 {
	t.Helper()
	var all []float32
	for now := frameDur / 2; now < length; now += frameDur {
		for len(packets) > 0 && packets[0].at <= now {
			p := packets[0]
			packets = packets[1:]
			b.Push(mediaclock.Local(p.at), p.seq, p.ts, p.payload)
		}
		pcm := make([]float32, frame)
		if err := b.Pull(mediaclock.Local(now), pcm); err != nil && err != io.EOF {
			t.Fatalf("Pull at %v: %v", now, err)
		}
		for i, v := range pcm {
			if !(v >= -1 && v <= 1) {
				t.Fatalf("sample %d at %v is %v", i, now, v)
			}
		}
		if check != nil {
			check(now, pcm)
		}
		all = append(all, pcm...)
	}
	return all
}

// linear is a resampler good enough for the tone, at a fiftieth of the price: hours of tests under the race detector.
type linear struct{ step, at, last float64 }

func (l *linear) SetRatio(ratio float64) float64 {
	l.step = 1 / ratio
	return ratio
}

func (l *linear) Process(in, out []float32) (consumed, produced int) {
	for produced < len(out) {
		for l.at >= 1 {
			if consumed == len(in) {
				return consumed, produced
			}
			l.last = float64(in[consumed])
			consumed++
			l.at--
		}
		if consumed == len(in) {
			return consumed, produced
		}
		out[produced] = float32(l.last + l.at*(float64(in[consumed])-l.last))
		produced++
		l.at += l.step
	}
	return consumed, produced
}

// newBuffer returns a Buffer whose content is what sound says, with the cheap resampler.
func newBuffer(t testing.TB, sound func(int64) float32) (*Buffer, *toneDecoder) {
	t.Helper()
	d := &toneDecoder{sound: sound}
	b, err := New(d)
	if err != nil {
		t.Fatal(err)
	}
	b.rs = &linear{step: 1, at: 1}
	return b, d
}

// wantInOrder fails unless each packet was decoded at most once and in order.
func wantInOrder(t testing.TB, d *toneDecoder) {
	t.Helper()
	for i := 1; i < len(d.decoded); i++ {
		if d.decoded[i] <= d.decoded[i-1] {
			t.Fatalf("content %d was decoded after %d", d.decoded[i], d.decoded[i-1])
		}
	}
}

// roughness is the largest deviation of pcm from what a sine of 440 Hz (off by at most half a per cent) does: x[n+1] =
// 2cos(w)x[n] − x[n−1]. A click, a gap or a step in speed shows as a spike.
func roughness(pcm []float32) float64 {
	c := 2 * math.Cos(2*math.Pi*toneHz/mediaclock.Rate)
	worst := 0.0
	for i := 1; i+1 < len(pcm); i++ {
		worst = max(worst, math.Abs(float64(pcm[i+1])-c*float64(pcm[i])+float64(pcm[i-1])))
	}
	return worst
}
