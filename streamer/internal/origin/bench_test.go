package origin

import (
	"testing"

	"dongthanh/codec"
	"dongthanh/internal/cluster"
	"dongthanh/internal/packet"
	"dongthanh/internal/signed"
	"dongthanh/internal/wire"
	"dongthanh/streamer/internal/voice"
)

// discard is a sink without cost.
type discard struct{}

func (discard) Open(*cluster.Transmission)     {}
func (discard) Media(packet.Packet)            {}
func (discard) Beacon(wire.BeaconBody, []byte) {}

// packets returns a function that does everything Run does for one packet, but wait.
func packets(tb testing.TB, p Plan) func() {
	tb.Helper()
	x, err := New(p, newIssuer(tb, signed.ClassEmergency), discard{}, now)
	if err != nil {
		tb.Fatal(err)
	}
	x.cert.T0 = now()
	pcm := make([]float32, p.Frames*codec.FrameSamples)
	sound := sine(0, codec.SampleRate)
	at := 0
	return func() {
		for f := range p.Frames {
			part := pcm[f*codec.FrameSamples:][:codec.FrameSamples]
			copy(part, sound[at:at+codec.FrameSamples])
			at = (at + codec.FrameSamples) % len(sound)
			x.level.set(x.voice.Process(part))
		}
		if err := x.emit(pcm, false, false); err != nil {
			tb.Fatal(err)
		}
	}
}

// TestAllocations: what a packet costs in memory is the signature's and the cipher's, nothing of our own.
func TestAllocations(t *testing.T) {
	if raceOn {
		t.Skip("the race detector allocates")
	}
	next := packets(t, plan())
	const most = 3
	if got := testing.AllocsPerRun(200, next); got > most {
		t.Errorf("%v allocations a packet, want at most %d: crypto/ed25519 and crypto/cipher", got, most)
	}
}

// BenchmarkPacket is a packet of 40 ms from PCM to the sink; share is how much of one core a broadcast takes.
func BenchmarkPacket(b *testing.B) {
	for name, p := range map[string]Plan{
		"file": plan(),
		"microphone": plan(func(p *Plan) {
			p.Voice, p.Encoder = voice.Options{HighPass: true}, codec.EncoderConfig{Bitrate: 32000, Complexity: 5}
		}),
	} {
		b.Run(name, func(b *testing.B) {
			next := packets(b, p)
			b.ReportAllocs()
			for b.Loop() {
				next()
			}
			const perSecond = 25
			b.ReportMetric(100*perSecond*b.Elapsed().Seconds()/float64(b.N), "share%")
		})
	}
}
