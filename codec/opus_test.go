package codec

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"

	"gopkg.in/hraban/opus.v2"
)

func newEncoder(t testing.TB, cfg EncoderConfig) *Encoder {
	t.Helper()
	e, err := NewEncoder(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func newDecoder(t testing.TB) *Decoder {
	t.Helper()
	d, err := NewDecoder()
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// encodeAll returns the packets of pcm, whose length is a multiple of a packet's.
func encodeAll(t testing.TB, cfg EncoderConfig, pcm []float32) [][]byte {
	t.Helper()
	e := newEncoder(t, cfg)
	var packets [][]byte
	for part := range slices.Chunk(pcm, e.PacketSamples()) {
		dst := make([]byte, e.MaxPacketBytes())
		n, err := e.Encode(part, dst)
		if err != nil {
			t.Fatal(err)
		}
		packets = append(packets, dst[:n])
	}
	return packets
}

func decodeAll(t testing.TB, packets [][]byte) []float32 {
	t.Helper()
	d := newDecoder(t)
	var pcm []float32
	buf := make([]float32, maxPacketSamples)
	for _, p := range packets {
		n, err := d.DecodeFloat(p, buf)
		if err != nil {
			t.Fatal(err)
		}
		pcm = append(pcm, buf[:n]...)
	}
	return pcm
}

const second = 50 * FrameSamples

// A packet holds what was asked for, in the frames that were chosen by measuring,
// and the sound comes back PreSkip later, whatever mode libopus picks.
func TestRoundTrip(t *testing.T) {
	type want struct {
		config, frames int
	}
	tests := []struct {
		bitrate int
		music   bool
		want    [3]want // for 1, 2, 3 frames a packet
	}{
		{6000, false, [3]want{{1, 1}, {2, 1}, {3, 1}}},     // SILK, its own long frames
		{24000, false, [3]want{{15, 1}, {15, 2}, {15, 3}}}, // hybrid, full band
		{32000, false, [3]want{{15, 1}, {15, 2}, {15, 3}}},
		{64000, true, [3]want{{31, 1}, {31, 2}, {31, 3}}}, // CELT, full band
	}
	pcm := voice(30 * FrameSamples)
	for _, tt := range tests {
		for frames := 1; frames <= 3; frames++ {
			t.Run(fmt.Sprintf("%d bit/s, music %v, %d frames", tt.bitrate, tt.music, frames), func(t *testing.T) {
				packets := encodeAll(t, EncoderConfig{Bitrate: tt.bitrate, Music: tt.music, FramesPerPacket: frames}, pcm)
				bytes := 0
				for _, p := range packets {
					bytes += len(p)
				}
				toc, err := ParseTOC(packets[len(packets)-1])
				if err != nil {
					t.Fatal(err)
				}
				if w := tt.want[frames-1]; toc.Config != w.config || toc.Frames != w.frames || toc.Samples() != frames*FrameSamples {
					t.Errorf("packet is %+v, want config %d in %d frames", toc, w.config, w.frames)
				}
				if rate := 8 * float64(bytes) * SampleRate / float64(len(pcm)); rate > 1.1*float64(tt.bitrate) {
					t.Errorf("%.0f bit/s, want about %d", rate, tt.bitrate)
				}
				got := decodeAll(t, packets)
				if len(got) != len(pcm) {
					t.Fatalf("%d samples came back of %d", len(got), len(pcm))
				}
				// The encoder's own high-pass for speech advances the low tones a little.
				if lag := delayOf(pcm[second/5:second/2], got[second/5:], 400); lag < PreSkip-6 || lag > PreSkip+6 {
					t.Errorf("delay is %d samples, want %d", lag, PreSkip)
				}
			})
		}
	}
}

func TestPreSkipIsExact(t *testing.T) {
	pcm := noise(24*FrameSamples, 0.3)
	for _, cfg := range []EncoderConfig{
		{Bitrate: 64000, Music: true},
		{Bitrate: 128000, Music: true, FramesPerPacket: 1},
		{Bitrate: 32000}, // its high band carries noise
	} {
		got := decodeAll(t, encodeAll(t, cfg, pcm))
		if lag := delayOf(pcm[second/4:], got[second/4:], 400); lag != PreSkip {
			t.Errorf("%+v: delay is %d samples, want %d", cfg, lag, PreSkip)
		}
	}
}

func TestToneSurvives(t *testing.T) {
	for _, cfg := range []EncoderConfig{{}, {Bitrate: 64000, Music: true}} {
		got := decodeAll(t, encodeAll(t, cfg, sine(second, 1000, SampleRate, 0.3)))
		amplitude, _, ratio := toneFit(got[second/4:], 1000, SampleRate)
		if math.Abs(amplitude-0.3) > 0.01 || ratio < 25 {
			t.Errorf("%+v: tone came back with amplitude %.3f and %.1f dB, want 0.3 and above 25 dB", cfg, amplitude, ratio)
		}
	}
}

// Nothing may make a packet larger than its bound, nor the bound make it silent.
func TestPacketBound(t *testing.T) {
	for _, frames := range []int{1, 2, 3} {
		for _, bitrate := range []int{32000, 128000, 510000} {
			for _, limit := range []int{minFrameBytes * frames, 200, MaxPacketBytes, maxFrameBytes} {
				for _, music := range []bool{false, true} {
					cfg := EncoderConfig{Bitrate: bitrate, FramesPerPacket: frames, MaxPacketBytes: limit, Music: music}
					pcm := noise(24*FrameSamples, 1)
					packets := encodeAll(t, cfg, pcm)
					for i, p := range packets {
						if n, err := PacketSamples(p); len(p) > limit || err != nil || n != frames*FrameSamples {
							t.Fatalf("%+v: packet %d has %d bytes, %d samples, error %v", cfg, i, len(p), n, err)
						}
					}
					if got := energy(decodeAll(t, packets)); got < 0.2*energy(pcm) {
						t.Errorf("%+v: energy fell from %.0f to %.0f", cfg, energy(pcm), got)
					}
				}
			}
		}
	}
}

// hraban/opus writes up to a slice's capacity; we must stop at its length.
func TestNothingBeyondLength(t *testing.T) {
	e, d := newEncoder(t, EncoderConfig{MaxPacketBytes: 100}), newDecoder(t)
	big := bytes.Repeat([]byte{0xa5}, 4000)
	n, err := e.Encode(noise(2*FrameSamples, 1), big[:300])
	if err != nil || n > 100 {
		t.Fatalf("Encode = %d, %v", n, err)
	}
	if i := bytes.IndexFunc(big[100:], func(r rune) bool { return r == 0 }); i >= 0 || !bytes.Equal(big[100:], bytes.Repeat([]byte{0xa5}, 3900)) {
		t.Error("Encode wrote beyond MaxPacketBytes")
	}
	packet := slices.Clone(big[:n])

	ints := slices.Repeat([]int16{12345}, maxPacketSamples)
	floats := slices.Repeat([]float32{12345}, maxPacketSamples)
	untouched := func(name string, from int) {
		t.Helper()
		if slices.ContainsFunc(ints[from:], func(s int16) bool { return s != 12345 }) ||
			slices.ContainsFunc(floats[from:], func(s float32) bool { return s != 12345 }) {
			t.Errorf("%s wrote beyond %d samples", name, from)
		}
	}
	if err := errors.Join(d.Conceal(ints[:960]), d.ConcealFloat(floats[:960])); err != nil {
		t.Fatal(err)
	}
	untouched("Conceal", 960)
	if slices.Contains(ints[:960], 12345) || slices.Contains(floats[:960], 12345) {
		t.Error("Conceal left samples unwritten")
	}
	for _, room := range []int{1920, 4000} {
		a, errInt := d.Decode(packet, ints[:room])
		b, errFloat := d.DecodeFloat(packet, floats[:room])
		if a != 1920 || b != 1920 || errInt != nil || errFloat != nil {
			t.Fatalf("decoded %d and %d samples, errors %v, %v", a, b, errInt, errFloat)
		}
		untouched("Decode", 1920)
	}
}

func TestWrongBuffers(t *testing.T) {
	e, d := newEncoder(t, EncoderConfig{}), newDecoder(t)
	packet := encodeAll(t, EncoderConfig{}, voice(1920))[0]
	tests := []struct {
		name string
		call func() error
	}{
		{"encode too little", func() error { _, err := e.Encode(make([]float32, 960), make([]byte, 440)); return err }},
		{"encode nothing", func() error { _, err := e.Encode(nil, make([]byte, 440)); return err }},
		{"encode into too little", func() error { _, err := e.Encode(make([]float32, 1920), make([]byte, 439)); return err }},
		{"decode into too little", func() error { _, err := d.Decode(packet, make([]int16, 1919)); return err }},
		{"decode into nothing", func() error { _, err := d.DecodeFloat(packet, nil); return err }},
		{"conceal nothing", func() error { return d.Conceal(nil) }},
		{"conceal part of a frame", func() error { return d.Conceal(make([]int16, 961)) }},
		{"conceal 80 ms", func() error { return d.ConcealFloat(make([]float32, 3840)) }},
	}
	for _, tt := range tests {
		if err := tt.call(); !errors.Is(err, ErrBuffer) {
			t.Errorf("%s: error is %v, want ErrBuffer", tt.name, err)
		}
	}
}

func TestEncoderConfigFaults(t *testing.T) {
	for _, cfg := range []EncoderConfig{{}, {Bitrate: 6000, Complexity: 10, FramesPerPacket: 3, MaxPacketBytes: 120}} {
		if err := cfg.Validate(); err != nil {
			t.Errorf("%+v.Validate() = %v", cfg, err)
		}
	}
	_, err := NewEncoder(EncoderConfig{Bitrate: -1, Complexity: 11, FramesPerPacket: 4, MaxPacketBytes: 119})
	want := "configure Opus encoder: bitrate: -1, want 6000 to 510000\ncomplexity: 11, want 1 to 10\n" +
		"frames per packet: 4, want 1 to 3\npacket bytes: 119, want 120 to 1275"
	if err == nil || err.Error() != want {
		t.Errorf("error is %q, want %q", err, want)
	}
}

// Sound that no microphone gives must neither crash nor poison the encoder.
func TestEncodeStrangeSound(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	for _, cfg := range []EncoderConfig{{}, {Music: true}, {Complexity: 10}, {Music: true, Complexity: 10}} {
		e, d := newEncoder(t, cfg), newDecoder(t)
		dst, out := make([]byte, 440), make([]float32, 1920)
		strange := [][]float32{
			make([]float32, 1920), slices.Repeat([]float32{nan}, 1920), slices.Repeat([]float32{inf}, 1920),
			slices.Repeat([]float32{-inf, inf}, 960), slices.Repeat([]float32{1e30, -1e30}, 960), slices.Repeat([]float32{1}, 1920),
		}
		for _, pcm := range append(strange, slices.Repeat([][]float32{sine(1920, 500, SampleRate, 0.5)}, 10)...) {
			n, err := e.Encode(pcm, dst)
			if err != nil {
				t.Fatal(err)
			}
			if _, err = d.DecodeFloat(dst[:n], out); err != nil {
				t.Fatal(err)
			}
			if slices.ContainsFunc(out, func(s float32) bool { return !(s > -8 && s < 8) }) {
				t.Fatal("decoded sound is not finite")
			}
		}
		if amplitude, _, _ := toneFit(out, 500, SampleRate); math.Abs(amplitude-0.5) > 0.05 {
			t.Errorf("%+v: tone after strange sound has amplitude %.3f, want 0.5", cfg, amplitude)
		}
	}
}

func TestConceal(t *testing.T) {
	d := newDecoder(t)
	gap := make([]int16, 1920)
	if err := d.Conceal(gap); err != nil || slices.ContainsFunc(gap, func(s int16) bool { return s != 0 }) {
		t.Errorf("before the first packet Conceal gave sound or the error %v", err)
	}
	out := make([]float32, 1920)
	var steepest float64
	for _, p := range encodeAll(t, EncoderConfig{}, sine(second, 440, SampleRate, 0.5))[:20] {
		if _, err := d.DecodeFloat(p, out); err != nil {
			t.Fatal(err)
		}
	}
	for i := range out[1:] {
		steepest = max(steepest, math.Abs(float64(out[i+1]-out[i])))
	}
	before, last := energy(out[FrameSamples:]), out[len(out)-1]

	// The sound goes on without a click, then fades out.
	if err := d.ConcealFloat(out); err != nil {
		t.Fatal(err)
	}
	if jump := math.Abs(float64(out[0] - last)); jump > 1.5*steepest {
		t.Errorf("concealment begins with a jump of %.3f, the tone's steepest is %.3f", jump, steepest)
	}
	if got := energy(out[:FrameSamples]) / before; got < 0.1 || got > 1.2 {
		t.Errorf("energy of the first 20 ms of concealment is %.2f of the sound's", got)
	}
	for range 10 {
		if err := d.ConcealFloat(out); err != nil {
			t.Fatal(err)
		}
	}
	if got := energy(out); got > 0.01*before {
		t.Errorf("after 440 ms without a packet energy is %.4f of the sound's, want silence", got/before)
	}
}

func TestReset(t *testing.T) {
	packets := encodeAll(t, EncoderConfig{}, voice(second))
	d := newDecoder(t)
	play := func() []int16 {
		var all []int16
		pcm := make([]int16, 1920)
		for _, p := range packets {
			if _, err := d.Decode(p, pcm); err != nil {
				t.Fatal(err)
			}
			all = append(all, pcm...)
		}
		return all
	}
	first := play()
	if slices.Equal(play(), first) {
		t.Fatal("a decoder that heard sound before decodes alike; the test shows nothing")
	}
	if err := d.Reset(); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(play(), first) {
		t.Error("after Reset the decoder is not as new")
	}
}

// A malformed packet leaves the decoder as it was.
func TestDecodeMalformed(t *testing.T) {
	packets := encodeAll(t, EncoderConfig{}, voice(4*1920))
	clean, hurt := newDecoder(t), newDecoder(t)
	a, b := make([]int16, 1920), make([]int16, 1920)
	for _, p := range packets {
		for _, bad := range malformed {
			if _, err := hurt.Decode(bad.packet, b); !errors.Is(err, ErrPacket) {
				t.Fatalf("%s: error is %v, want ErrPacket", bad.name, err)
			}
		}
		_, errA := clean.Decode(p, a)
		_, errB := hurt.Decode(p, b)
		if errA != nil || errB != nil || !slices.Equal(a, b) {
			t.Fatalf("decoder differs after malformed packets (errors %v, %v)", errA, errB)
		}
	}
}

func TestStereoIsMixed(t *testing.T) {
	enc, err := opus.NewEncoder(SampleRate, 2, opus.AppAudio)
	if err != nil {
		t.Fatal(err)
	}
	if err := enc.SetBitrate(128000); err != nil {
		t.Fatal(err)
	}
	left := sine(second, 1000, SampleRate, 0.4)
	d := newDecoder(t)
	var got []float32
	for part := range slices.Chunk(left, FrameSamples) {
		both := make([]float32, 0, 2*FrameSamples)
		for _, s := range part {
			both = append(both, s, 0)
		}
		packet, out := make([]byte, 1000), make([]float32, FrameSamples)
		n, err := enc.EncodeFloat32(both, packet)
		if err != nil {
			t.Fatal(err)
		}
		if toc, err := ParseTOC(packet[:n]); err != nil || !toc.Stereo {
			t.Fatalf("TOC %+v, error %v: want stereo", toc, err)
		}
		if _, err := d.DecodeFloat(packet[:n], out); err != nil {
			t.Fatal(err)
		}
		got = append(got, out...)
	}
	if amplitude, _, _ := toneFit(got[second/2:], 1000, SampleRate); math.Abs(amplitude-0.2) > 0.02 {
		t.Errorf("amplitude %.3f, want the mean of both channels, 0.2", amplitude)
	}
}

func TestOpusAllocations(t *testing.T) {
	e, d := newEncoder(t, EncoderConfig{}), newDecoder(t)
	pcm, dst, ints, floats := voice(1920), make([]byte, 440), make([]int16, 1920), make([]float32, 1920)
	bad := []byte{3}
	allocs := testing.AllocsPerRun(50, func() {
		n, err := e.Encode(pcm, dst)
		_, errInt := d.Decode(dst[:n], ints)
		_, errFloat := d.DecodeFloat(dst[:n], floats)
		errGap := d.Conceal(ints)
		_, errBad := PacketSamples(bad)
		if err != nil || errInt != nil || errFloat != nil || errGap != nil || errBad == nil {
			t.Fatal(err, errInt, errFloat, errGap, errBad)
		}
	})
	if allocs != 0 {
		t.Errorf("a packet's way allocates %.1f times, want 0", allocs)
	}
}
