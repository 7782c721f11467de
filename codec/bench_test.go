package codec

import (
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
