package codec

import (
	"bytes"
	"encoding/binary"
	"math"
	"os/exec"
	"testing"
)

// oggOpus wraps packets into an Ogg Opus file (RFC 3533, RFC 7845), a page each.
func oggOpus(packets [][]byte) []byte {
	le := binary.LittleEndian
	head := append([]byte("OpusHead\x01\x01"), 0, 0, 0, 0, 0, 0, 0, 0, 0)
	le.PutUint16(head[10:], PreSkip)
	le.PutUint32(head[12:], SampleRate)
	tags := append([]byte("OpusTags\x04\x00\x00\x00test"), 0, 0, 0, 0)
	var file []byte
	granule := uint64(0)
	for i, p := range append([][]byte{head, tags}, packets...) {
		if i >= 2 {
			n, _ := PacketSamples(p)
			granule += uint64(n)
		}
		page := append([]byte("OggS\x00"), 0)
		switch i {
		case 0:
			page[5] = 2
		case len(packets) + 1:
			page[5] = 4
		}
		page = le.AppendUint64(page, granule)
		page = le.AppendUint32(page, 1)
		page = le.AppendUint32(page, uint32(i))
		page = append(page, 0, 0, 0, 0, byte(len(p)/255+1))
		page = append(page, bytes.Repeat([]byte{255}, len(p)/255)...)
		page = append(page, byte(len(p)%255))
		page = append(page, p...)
		crc := uint32(0)
		for _, b := range page {
			crc ^= uint32(b) << 24
			for range 8 {
				if top := crc >> 31; top != 0 {
					crc = crc<<1 ^ 0x04c11db7
				} else {
					crc <<= 1
				}
			}
		}
		le.PutUint32(page[22:], crc)
		file = append(file, page...)
	}
	return file
}

// A decoder that shares no line with libopus, ffmpeg's own, hears the same.
func TestStockDecoder(t *testing.T) {
	ffmpeg := program(t, "ffmpeg")
	pcm := voice(second + second/5)
	for _, cfg := range []EncoderConfig{
		{}, {FramesPerPacket: 1}, {FramesPerPacket: 3}, {Bitrate: 8000}, {Bitrate: 8000, FramesPerPacket: 3},
		{Bitrate: 64000, Music: true}, {Bitrate: 64000, Music: true, FramesPerPacket: 3}, {MaxPacketBytes: 80},
	} {
		packets := encodeAll(t, cfg, pcm)
		want := decodeAll(t, packets)[PreSkip:]
		cmd := exec.Command(ffmpeg, "-v", "error", "-xerror", "-c:a", "opus", "-i", "pipe:0", "-ac", "1", "-f", "f32le", "pipe:1")
		cmd.Stdin = bytes.NewReader(oggOpus(packets))
		var fault bytes.Buffer
		cmd.Stderr = &fault
		raw, err := cmd.Output()
		if err != nil || fault.Len() > 0 {
			t.Errorf("%+v: ffmpeg: %v: %s", cfg, err, fault.String())
			continue
		}
		got := make([]float32, len(raw)/4)
		for i := range got {
			got[i] = math.Float32frombits(binary.LittleEndian.Uint32(raw[4*i:]))
		}
		if len(got) != len(want) {
			t.Errorf("%+v: ffmpeg decoded %d samples, libopus %d", cfg, len(got), len(want))
			continue
		}
		least := 10.0 // ffmpeg resamples SILK's part in its own way, a fraction of a sample off
		if cfg.Music {
			least = 40
		}
		if ratio := snr(want, got); ratio < least {
			t.Errorf("%+v: ffmpeg and libopus differ: SNR %.1f dB, want above %g", cfg, ratio, least)
		}
	}
}
