package codec

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"

	"gopkg.in/hraban/opus.v2"
)

// malformed has a packet for each way to break a rule of RFC 6716 §3.4.
var malformed = []struct {
	name   string
	packet []byte
	want   error
}{
	{"R1 nothing", nil, errEmptyPacket},
	{"R2 one frame of 1276 bytes", make([]byte, 1+1276), errFrameTooLong},
	{"R2 two equal frames of 1276", packet(0x01, 2*1276), errFrameTooLong},
	{"R2 second frame of 1276", packet(0x02, 0, 1+1276-1), errFrameTooLong},
	{"R2 equal frames of 1276", packet(0x03, 0x02, 2*1276), errFrameTooLong},
	{"R2 last frame of 1276", packet(0x03, 0x82, 0, 1276), errFrameTooLong},
	{"R3 even packet", []byte{0x01, 1}, errOddHalves},
	{"R4 no length", []byte{0x02}, errFirstLength},
	{"R4 half a length", []byte{0x02, 252}, errFirstLength},
	{"R4 length beyond the end", []byte{0x02, 3, 1, 2}, errFirstLength},
	{"R4 long length beyond the end", []byte{0x02, 255, 255, 1, 2}, errFirstLength},
	{"R5 no frames", []byte{0x03, 0x00}, errFrameCount},
	{"R5 no frames, variable", []byte{0x03, 0x80}, errFrameCount},
	{"R5 13 frames of 10 ms", []byte{0x03, 13}, errFrameCount},
	{"R5 3 frames of 60 ms", []byte{0x1b, 3}, errFrameCount},
	{"R5 49 frames of 2.5 ms", []byte{0x83, 49}, errFrameCount},
	{"R6 no frame count", []byte{0x03}, errCode3Header},
	{"R6 uneven", []byte{0x03, 0x02, 1}, errEqualFrames},
	{"R6 padding without length", []byte{0x03, 0x42}, errCode3Header},
	{"R6 padding beyond the end", []byte{0x03, 0x41, 5, 0, 0, 0, 0}, errCode3Header},
	{"R6 endless padding", append([]byte{0x03, 0x41}, bytes.Repeat([]byte{255}, 300)...), errCode3Header},
	{"R6 padding chain cut", append(append([]byte{0x03, 0x41}, 255), make([]byte, 254)...), errCode3Header},
	{"R7 no frame length", []byte{0x03, 0x82}, errFrameLengths},
	{"R7 half a frame length", []byte{0x03, 0x82, 253}, errFrameLengths},
	{"R7 frame beyond the end", []byte{0x03, 0x82, 2, 1}, errFrameLengths},
	{"R7 frames beyond the end", []byte{0x03, 0x83, 2, 2, 1, 1, 1}, errFrameLengths},
	{"R7 frame lies in the padding", []byte{0x03, 0xc2, 2, 2, 1, 0, 0}, errFrameLengths},
}

// packet is bytes with as many zeros behind them as the last argument says.
func packet(args ...int) []byte {
	var p []byte
	for _, b := range args[:len(args)-1] {
		p = append(p, byte(b))
	}
	return append(p, make([]byte, args[len(args)-1])...)
}

func TestMalformedPackets(t *testing.T) {
	for _, tt := range malformed {
		n, err := PacketSamples(tt.packet)
		if n != 0 || err != tt.want || !errors.Is(err, ErrPacket) {
			t.Errorf("%s: PacketSamples = %d, %v, want %v", tt.name, n, err, tt.want)
		}
	}
}

func TestWellFormedPackets(t *testing.T) {
	tests := []struct {
		name   string
		packet []byte
		want   TOC
	}{
		{"empty frame (DTX)", []byte{15 << 3}, TOC{15, false, 1, 960}},
		{"SILK 60 ms", packet(3<<3, 10), TOC{3, false, 1, 2880}},
		{"stereo CELT 2.5 ms", packet(16<<3|4, 10), TOC{16, true, 1, 120}},
		{"frame of 1275", packet(31<<3, 1275), TOC{31, false, 1, 960}},
		{"two halves", packet(15<<3|1, 8), TOC{15, false, 2, 960}},
		{"two empty halves", []byte{15<<3 | 1}, TOC{15, false, 2, 960}},
		{"two frames, long length", packet(15<<3|2, 252, 1, 256+3), TOC{15, false, 2, 960}},
		{"two frames, second empty", packet(15<<3|2, 4, 4), TOC{15, false, 2, 960}},
		{"48 frames of 2.5 ms", packet(28<<3|3, 48, 96), TOC{28, false, 48, 120}},
		{"six frames of 20 ms, variable", packet(31<<3|3, 0x86, 1, 2, 3, 4, 5, 20), TOC{31, false, 6, 960}},
		{"one frame, padded", packet(31<<3|3, 0x41, 2, 5), TOC{31, false, 1, 960}},
		{"padding chain", packet(31<<3|3, 0x41, 255, 255, 0, 254+254+7), TOC{31, false, 1, 960}},
		{"nothing but padding", packet(31<<3|3, 0x42, 3, 3), TOC{31, false, 2, 960}},
	}
	for _, tt := range tests {
		if got, err := ParseTOC(tt.packet); got != tt.want || err != nil {
			t.Errorf("%s: ParseTOC = %+v, %v, want %+v", tt.name, got, err, tt.want)
		}
	}
}

// Table 2 of RFC 6716, in 48 kHz samples.
func TestFrameSamples(t *testing.T) {
	want := slices.Concat(
		slices.Repeat([]int{480, 960, 1920, 2880}, 3),
		slices.Repeat([]int{480, 960}, 2),
		slices.Repeat([]int{120, 240, 480, 960}, 4))
	for config, w := range want {
		if got, err := PacketSamples([]byte{byte(config << 3), 1, 2, 3}); got != w || err != nil {
			t.Errorf("config %d: %d samples, error %v, want %d", config, got, err, w)
		}
	}
}

// asLibopus says what libopus itself makes of a packet: its samples, or 0 if it
// refuses it.
func asLibopus(t *testing.T, dec *opus.Decoder, packet []byte, pcm []int16) int {
	t.Helper()
	if len(packet) == 0 {
		return 0
	}
	n, err := dec.Decode(packet, pcm)
	if err != nil && !errors.Is(err, opus.ErrInvalidPacket) {
		t.Fatalf("libopus fails on %x: %v", packet, err)
	}
	return n
}

func agree(t *testing.T, dec *opus.Decoder, packet []byte, pcm []int16) {
	t.Helper()
	got, err := PacketSamples(packet)
	if want := asLibopus(t, dec, packet, pcm); got != want || (err == nil) != (want > 0) {
		t.Errorf("PacketSamples(%x) = %d, %v; libopus says %d", packet, got, err, want)
	}
}

// All short headers, and random ones with lengths that nearly fit.
func TestAgreesWithLibopus(t *testing.T) {
	dec, err := opus.NewDecoder(SampleRate, 1)
	if err != nil {
		t.Fatal(err)
	}
	pcm := make([]int16, maxPacketSamples)
	for _, tt := range malformed {
		agree(t, dec, tt.packet, pcm)
	}
	for code := range 4 {
		for second := range 256 {
			for _, config := range []int{0, 3, 14, 16, 31} {
				agree(t, dec, []byte{byte(config<<3 | code), byte(second)}, pcm)
				agree(t, dec, packet(config<<3|code, second, 2, 1, 9), pcm)
			}
		}
	}
	rng := rand.New(rand.NewPCG(5, 6))
	accepted := 0
	for range 4000 {
		p := randomPacket(rng)
		agree(t, dec, p, pcm)
		if _, err := PacketSamples(p); err == nil {
			accepted++
		}
	}
	if accepted < 400 || accepted > 3600 {
		t.Errorf("%d of 4000 random packets are well formed: the test looks at one side only", accepted)
	}
}

// randomPacket is a code-3 packet, half of the time off by a byte somewhere.
func randomPacket(rng *rand.Rand) []byte {
	count := rng.IntN(7)
	flags := rng.IntN(4) << 6
	p := []byte{byte(rng.IntN(64)<<2 | 3), byte(flags | count)}
	padding := 0
	if flags&0x40 != 0 {
		for range rng.IntN(3) {
			p, padding = append(p, 255), padding+254
		}
		last := rng.IntN(255)
		p, padding = append(p, byte(last)), padding+last
	}
	size, frames := rng.IntN(300), 0
	for range count {
		if flags&0x80 != 0 {
			size = rng.IntN(300)
		}
		frames += size
	}
	if flags&0x80 != 0 {
		left := frames
		for range count - 1 {
			size := min(left, rng.IntN(300))
			left -= size
			if size < firstTwoByteLen {
				p = append(p, byte(size))
			} else {
				p = append(p, byte(252+size&3), byte((size-252)>>2))
			}
		}
	}
	p = append(p, make([]byte, frames+padding)...)
	switch rng.IntN(4) {
	case 0:
		p = p[:rng.IntN(len(p)+1)]
	case 1:
		p = append(p, 0)
	}
	return p
}

// FuzzPacketSamples holds our parser to libopus's own.
func FuzzPacketSamples(f *testing.F) {
	for _, tt := range malformed {
		f.Add(tt.packet)
	}
	for _, p := range encodeAll(f, EncoderConfig{}, voice(2*1920)) {
		f.Add(p)
	}
	f.Add(packet(31<<3|3, 0xc6, 7, 1, 2, 3, 4, 5, 40))
	f.Add(packet(28<<3|3, 48, 96))
	dec, err := opus.NewDecoder(SampleRate, 1)
	if err != nil {
		f.Fatal(err)
	}
	pcm := make([]int16, maxPacketSamples)
	f.Fuzz(func(t *testing.T, packet []byte) { agree(t, dec, packet, pcm) })
}

// FuzzDecode gives a Decoder any bytes: it refuses them or makes sound of them.
func FuzzDecode(f *testing.F) {
	for _, p := range encodeAll(f, EncoderConfig{}, voice(2*1920)) {
		f.Add(p)
	}
	for _, p := range encodeAll(f, EncoderConfig{Bitrate: 64000, Music: true}, voice(2*1920)) {
		f.Add(p)
	}
	d, pcm := newDecoder(f), make([]float32, maxPacketSamples)
	f.Fuzz(func(t *testing.T, packet []byte) {
		if err := d.Reset(); err != nil { // a find must not depend on what came before
			t.Fatal(err)
		}
		n, err := d.DecodeFloat(packet, pcm)
		if err != nil && !errors.Is(err, ErrPacket) {
			t.Fatalf("DecodeFloat(%x): %v", packet, err)
		}
		if slices.ContainsFunc(pcm[:n], func(s float32) bool { return s != s }) {
			t.Fatalf("DecodeFloat(%x) gave NaN", packet)
		}
		if err := d.ConcealFloat(pcm[:FrameSamples]); err != nil {
			t.Fatal(err)
		}
	})
}
