package codec

import (
	"bytes"
	"fmt"
	"slices"
	"testing"
)

func BenchmarkEncode(b *testing.B) {
	for _, cfg := range []EncoderConfig{{}, {FramesPerPacket: 1}, {Complexity: 10}, {Bitrate: 64000, Music: true}} {
		b.Run(fmt.Sprintf("bitrate=%d/complexity=%d/frames=%d", cfg.withDefaults().Bitrate, cfg.withDefaults().Complexity, cfg.withDefaults().FramesPerPacket), func(b *testing.B) {
			e := newEncoder(b, cfg)
			parts := slices.Collect(slices.Chunk(voice(6*second), e.PacketSamples()))
			dst := make([]byte, e.MaxPacketBytes())
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if _, err := e.Encode(parts[i%len(parts)], dst); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkDecode(b *testing.B) {
	for _, cfg := range []EncoderConfig{{}, {Bitrate: 64000, Music: true}} {
		b.Run(fmt.Sprintf("bitrate=%d", cfg.withDefaults().Bitrate), func(b *testing.B) {
			packets := encodeAll(b, cfg, voice(6*second))
			d, pcm := newDecoder(b), make([]int16, 1920)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if _, err := d.Decode(packets[i%len(packets)], pcm); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkConceal(b *testing.B) {
	packets := encodeAll(b, EncoderConfig{}, voice(second))
	d, pcm := newDecoder(b), make([]int16, 1920)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if _, err := d.Decode(packets[i%len(packets)], pcm); err != nil {
			b.Fatal(err)
		}
		if err := d.Conceal(pcm); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkPacketSamples(b *testing.B) {
	p := packet(31<<3|3, 0xc6, 7, 1, 2, 3, 4, 5, 40)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := PacketSamples(p); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkResample(b *testing.B) {
	for _, in := range []float64{44100, 48000, 192000} {
		b.Run(fmt.Sprintf("rate=%g/frame=20ms", in), func(b *testing.B) {
			r := newResampler(b, in, SampleRate)
			pcm, out := voice(int(in)/50), make([]float32, FrameSamples+2)
			b.ReportAllocs()
			for b.Loop() {
				r.Process(pcm, out)
			}
		})
	}
}

func BenchmarkReadWAV(b *testing.B) {
	spec := wavSpec{rate: 44100, channels: 2}.complete()
	file := riff(spec.fmtChunk(), chunk("data", spec.sound(voice(10*44100))))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ReadWAV(bytes.NewReader(file)); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(10*float64(b.N)/b.Elapsed().Seconds(), "x-realtime")
}
