package codec

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

// wavSpec describes a WAV file to be made; the zero value is 48 kHz mono 16 bit.
type wavSpec struct {
	tag, channels, bits, block int // 0: PCM, 1, 16, what they make
	rate                       int
	extensible                 bool
}

func (s wavSpec) complete() wavSpec {
	if s.tag == 0 {
		s.tag = formatPCM
	}
	if s.channels == 0 {
		s.channels = 1
	}
	if s.bits == 0 {
		s.bits = 16
	}
	if s.rate == 0 {
		s.rate = SampleRate
	}
	if s.block == 0 {
		s.block = s.channels * s.bits / 8
	}
	return s
}

// fmtChunk returns the chunk as the fields say, without any care.
func (s wavSpec) fmtChunk() []byte {
	le := binary.LittleEndian
	b := le.AppendUint16(nil, uint16(s.tag))
	if s.extensible {
		b = le.AppendUint16(nil, formatExtensible)
	}
	b = le.AppendUint16(b, uint16(s.channels))
	b = le.AppendUint32(b, uint32(s.rate))
	b = le.AppendUint32(b, uint32(s.rate*s.block))
	b = le.AppendUint16(b, uint16(s.block))
	b = le.AppendUint16(b, uint16(s.bits))
	if s.extensible {
		b = le.AppendUint16(b, 22)
		b = le.AppendUint16(b, uint16(s.bits))
		b = le.AppendUint32(b, 0)
		b = le.AppendUint16(b, uint16(s.tag))
		b = append(b, extensibleTail[:]...)
	}
	return chunk("fmt ", b)
}

// sound codes the same samples for each channel.
func (s wavSpec) sound(pcm []float32) []byte {
	var b []byte
	for _, x := range pcm {
		for range s.channels {
			switch v := float64(x); {
			case s.tag == formatFloat:
				b = binary.LittleEndian.AppendUint32(b, math.Float32bits(x))
			case s.bits == 8:
				b = append(b, byte(math.Round(v*127)+128))
			default:
				n := uint32(int32(math.Round(v * float64(int64(1)<<(s.bits-1)-1))))
				for i := range s.bits / 8 {
					b = append(b, byte(n>>(8*i)))
				}
			}
		}
	}
	return b
}

func chunk(id string, body []byte) []byte {
	b := binary.LittleEndian.AppendUint32([]byte(id), uint32(len(body)))
	b = append(b, body...)
	if len(body)%2 != 0 {
		b = append(b, 0)
	}
	return b
}

func riff(chunks ...[]byte) []byte {
	body := append([]byte("WAVE"), bytes.Join(chunks, nil)...)
	return chunk("RIFF", body)
}

// withDataLength overwrites the length of the data chunk.
func withDataLength(file []byte, length uint32) []byte {
	file = bytes.Clone(file)
	binary.LittleEndian.PutUint32(file[bytes.Index(file, []byte("data"))+4:], length)
	return file
}

func TestReadWAVFormats(t *testing.T) {
	for _, tt := range []struct {
		spec wavSpec
		snr  float64
	}{
		{wavSpec{bits: 8}, 40}, {wavSpec{bits: 16}, 85}, {wavSpec{bits: 24}, 120}, {wavSpec{bits: 32}, 120},
		{wavSpec{tag: formatFloat, bits: 32}, 120},
		{wavSpec{bits: 16, channels: 2}, 85}, {wavSpec{bits: 24, channels: 8}, 110}, {wavSpec{bits: 8, channels: 3}, 40},
		{wavSpec{bits: 24, channels: 6, extensible: true}, 110}, {wavSpec{tag: formatFloat, bits: 32, extensible: true}, 120},
		{wavSpec{rate: 44100}, 80}, {wavSpec{rate: 8000}, 80}, {wavSpec{rate: 22050, channels: 2}, 80},
		{wavSpec{rate: 192000, bits: 24}, 85}, {wavSpec{rate: 11025, bits: 32}, 85}, {wavSpec{rate: 31337}, 80},
	} {
		spec := tt.spec.complete()
		t.Run(fmt.Sprintf("%+v", tt.spec), func(t *testing.T) {
			file := riff(spec.fmtChunk(), chunk("LIST", []byte("odd")), chunk("data", spec.sound(sine(spec.rate, 1000, float64(spec.rate), 0.5))), chunk("LIST", make([]byte, 5000)))
			w, err := NewWAVReader(bytes.NewReader(file))
			if err != nil {
				t.Fatal(err)
			}
			if f := w.Format(); f.Rate != spec.rate || f.Channels != spec.channels || f.Bits != spec.bits || f.Float != (spec.tag == formatFloat) || f.Bytes != int64(spec.rate*spec.block) {
				t.Errorf("Format() = %+v", f)
			}
			pcm, err := ReadWAV(iotest.HalfReader(bytes.NewReader(file)))
			if err != nil || len(pcm) < SampleRate || len(pcm) > SampleRate+1 {
				t.Fatalf("%d samples, error %v, want one second", len(pcm), err)
			}
			edge := SampleRate / 20
			amplitude, phase, ratio := toneFit(pcm[edge:len(pcm)-edge], 1000, SampleRate)
			if math.Abs(amplitude-0.5) > 0.005 || math.Abs(phase) > 0.001 || ratio < tt.snr {
				t.Errorf("amplitude %.4f, phase %.5f, SNR %.1f dB: want 0.5, 0, above %g", amplitude, phase, ratio, tt.snr)
			}
		})
	}
}

func TestReadWAVValues(t *testing.T) {
	stereo := wavSpec{channels: 2}.complete()
	floats := wavSpec{tag: formatFloat, bits: 32}.complete()
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	for _, tt := range []struct {
		name  string
		spec  wavSpec
		sound []byte
		want  []float32
	}{
		{"channels are averaged", stereo, []byte{0, 0x40, 0, 0x20, 0, 0x80, 0, 0x80}, []float32{0.375, -1}},
		{"24 bit", wavSpec{bits: 24}, []byte{0, 0, 0x80, 0xff, 0xff, 0x7f, 0, 0, 0xc0}, []float32{-1, 1 - 1.0/(1<<23), -0.5}},
		{"8 bit is unsigned", wavSpec{bits: 8}, []byte{0, 128, 192}, []float32{-1, 0, 0.5}},
		{"wild floats", floats, floats.sound([]float32{nan, inf, -inf, 1e30, 1.5}), []float32{0, 8, -8, 8, 1.5}},
		{"a part of a sample at the end", stereo, []byte{0, 0x40, 0, 0x40, 1, 2, 3}, []float32{0.5}},
	} {
		got, err := ReadWAV(bytes.NewReader(riff(tt.spec.complete().fmtChunk(), chunk("data", tt.sound))))
		if !slices.Equal(got, tt.want) || err != nil {
			t.Errorf("%s: ReadWAV = %v, %v, want %v", tt.name, got, err, tt.want)
		}
	}
}

func TestRefusedWAV(t *testing.T) {
	good := wavSpec{}.complete()
	data := chunk("data", make([]byte, 96))
	file := func(change func(*wavSpec)) []byte {
		s := good
		change(&s)
		return riff(s.fmtChunk(), data)
	}
	foreign := wavSpec{extensible: true}.complete().fmtChunk()
	foreign[8+30] ^= 1
	other := func(id string) []byte { return append([]byte(id), riff(good.fmtChunk(), data)[4:]...) }
	for _, tt := range []struct {
		name string
		file []byte
		want error
	}{
		{"nothing", nil, ErrNotWAV},
		{"HTML", []byte("<html><body>this is a web page</body></html>"), ErrNotWAV},
		{"MP3", append([]byte("ID3\x04"), make([]byte, 100)...), ErrNotWAV},
		{"AVI", []byte("RIFF\x00\x01\x00\x00AVI LIST"), ErrNotWAV},
		{"RF64", other("RF64"), ErrWAVRF64},
		{"RF64 cut", []byte("RF64"), ErrWAVRF64},
		{"big-endian", other("RIFX"), ErrWAVRF64},
		{"data before fmt", riff(data, good.fmtChunk()), ErrWAVHeader},
		{"two fmt", riff(good.fmtChunk(), good.fmtChunk(), data), ErrWAVHeader},
		{"short fmt", riff(chunk("fmt ", good.fmtChunk()[8:22]), data), ErrWAVHeader},
		{"huge fmt", riff([]byte("fmt \xff\xff\xff\xff"), make([]byte, 100)), ErrWAVHeader},
		{"short extensible fmt", file(func(s *wavSpec) { s.tag = formatExtensible }), ErrWAVHeader},
		{"no data", riff(good.fmtChunk()), ErrTruncated},
		{"no chunk", riff(), ErrTruncated},
		{"endless LIST", riff(good.fmtChunk(), []byte("LIST\xff\xff\xff\xff"), data), ErrTruncated},
		{"0 channels", file(func(s *wavSpec) { s.channels = 0 }), ErrWAVChannels},
		{"9 channels", file(func(s *wavSpec) { s.channels, s.block = 9, 18 }), ErrWAVChannels},
		{"255 channels", file(func(s *wavSpec) { s.channels, s.block = 255, 510 }), ErrWAVChannels},
		{"1 Hz", file(func(s *wavSpec) { s.rate = 1 }), ErrWAVRate},
		{"0 Hz", file(func(s *wavSpec) { s.rate = 0 }), ErrWAVRate},
		{"4 GHz", file(func(s *wavSpec) { s.rate = math.MaxUint32 }), ErrWAVRate},
		{"block align 0", file(func(s *wavSpec) { s.block = 0 }), ErrWAVHeader},
		{"block align 3", file(func(s *wavSpec) { s.block = 3 }), ErrWAVHeader},
		{"0 bits", file(func(s *wavSpec) { s.bits = 0 }), ErrWAVEncoding},
		{"12 bits", file(func(s *wavSpec) { s.bits = 12 }), ErrWAVEncoding},
		{"64 bits", file(func(s *wavSpec) { s.bits, s.block = 64, 8 }), ErrWAVEncoding},
		{"16-bit float", file(func(s *wavSpec) { s.tag = formatFloat }), ErrWAVEncoding},
		{"64-bit float", file(func(s *wavSpec) { s.tag, s.bits, s.block = formatFloat, 64, 8 }), ErrWAVEncoding},
		{"ADPCM", file(func(s *wavSpec) { s.tag, s.bits = 2, 4 }), ErrWAVEncoding},
		{"IMA ADPCM", file(func(s *wavSpec) { s.tag, s.bits = 17, 4 }), ErrWAVEncoding},
		{"mu-law", file(func(s *wavSpec) { s.tag, s.bits, s.block = 7, 8, 1 }), ErrWAVEncoding},
		{"MP3 in WAV", file(func(s *wavSpec) { s.tag = 0x55 }), ErrWAVEncoding},
		{"foreign extensible format", riff(foreign, data), ErrWAVEncoding},
	} {
		if pcm, err := ReadWAV(bytes.NewReader(tt.file)); !errors.Is(err, tt.want) || pcm != nil {
			t.Errorf("%s: ReadWAV = %d samples, %v, want the error %v", tt.name, len(pcm), err, tt.want)
		}
	}
}

// Wherever an upload is cut, it is refused; what came is still handed out.
func TestTruncatedWAV(t *testing.T) {
	for _, spec := range []wavSpec{{}, {channels: 2, rate: 44100}, {bits: 24, extensible: true}} {
		spec = spec.complete()
		whole := riff(spec.fmtChunk(), chunk("data", spec.sound(sine(50, 1000, float64(spec.rate), 0.5))))
		header := bytes.Index(whole, []byte("data")) + 8
		for cut := range len(whole) {
			pcm, err := ReadWAV(bytes.NewReader(whole[:cut]))
			want := ErrTruncated
			if cut < 12 {
				want = ErrNotWAV
			}
			if !errors.Is(err, want) {
				t.Fatalf("%+v cut to %d of %d bytes: error %v, want %v", spec, cut, len(whole), err, want)
			}
			if n := max(0, cut-header) / spec.block * SampleRate / spec.rate; len(pcm) < n || len(pcm) > n+2 {
				t.Fatalf("%+v cut to %d of %d bytes: %d samples, want %d", spec, cut, len(whole), len(pcm), n)
			}
		}
		if _, err := ReadWAV(bytes.NewReader(whole)); err != nil {
			t.Errorf("%+v: whole file: %v", spec, err)
		}
	}
}

// Programs that write into a pipe do not know the length: then the file's end counts.
func TestEndlessWAV(t *testing.T) {
	spec := wavSpec{}.complete()
	whole := riff(spec.fmtChunk(), chunk("data", spec.sound(voice(5000))))
	for _, length := range []uint32{0, 0x7ffff000, 0x80000000, 0xfffffff0, 0xffffffff} {
		for _, extra := range []int{0, 1} { // half a sample at the end
			pcm, err := ReadWAV(bytes.NewReader(append(withDataLength(whole, length), make([]byte, extra)...)))
			if len(pcm) != 5000 || err != nil {
				t.Errorf("length %#x: %d samples, %v, want 5000", length, len(pcm), err)
			}
		}
	}
	if pcm, err := ReadWAV(bytes.NewReader(whole[:44])); len(pcm) != 0 || !errors.Is(err, ErrTruncated) {
		t.Errorf("header alone: %d samples, %v, want ErrTruncated", len(pcm), err)
	}
	if _, err := ReadWAV(bytes.NewReader(withDataLength(whole, 10002))); !errors.Is(err, ErrTruncated) {
		t.Errorf("one sample short: %v, want ErrTruncated", err)
	}
}

func TestWAVReaderStops(t *testing.T) {
	spec := wavSpec{}.complete()
	whole := riff(spec.fmtChunk(), chunk("data", spec.sound(voice(3000))))
	r := bytes.NewReader(append(bytes.Clone(whole), make([]byte, 100)...))
	w, err := NewWAVReader(r)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := w.Read(nil); n != 0 || err != nil {
		t.Errorf("Read(nil) = %d, %v", n, err)
	}
	pcm := make([]float32, 2000)
	for i, want := range []int{2000, 1000, 0, 0} {
		n, err := w.Read(pcm)
		if n != want || (err != nil) != (want == 0) || (err != nil && err != io.EOF) {
			t.Errorf("Read %d = %d, %v, want %d", i, n, err, want)
		}
	}
	if r.Len() != 100 {
		t.Errorf("%d bytes left behind the sound, want 100", r.Len())
	}

	broken := errors.New("connection lost")
	for _, cut := range []int{3, 30, 1000} {
		_, err := ReadWAV(io.MultiReader(bytes.NewReader(whole[:cut]), iotest.ErrReader(broken)))
		if !errors.Is(err, broken) || errors.Is(err, ErrTruncated) {
			t.Errorf("reader that fails after %d bytes: %v, want its own error", cut, err)
		}
	}
}

// Files of real programs, not of our own idea of them.
func TestWAVFromFFmpeg(t *testing.T) {
	ffmpeg := program(t, "ffmpeg")
	for _, tt := range []struct {
		args string
		want error
	}{
		{"-c:a pcm_u8", nil}, {"-c:a pcm_s16le -ac 2", nil}, {"-c:a pcm_s24le -ac 6", nil}, {"-c:a pcm_s32le", nil},
		{"-c:a pcm_f32le -ar 44100", nil}, {"-c:a pcm_s16le -ar 22050", nil}, {"-c:a pcm_s24le -ar 96000", nil},
		{"-c:a adpcm_ms", ErrWAVEncoding}, {"-c:a adpcm_ima_wav", ErrWAVEncoding}, {"-c:a pcm_mulaw", ErrWAVEncoding},
		{"-c:a pcm_f64le", ErrWAVEncoding}, {"-c:a pcm_s16le -rf64 always", ErrWAVRF64}, {"-f mp3", ErrNotWAV},
		{"-c:a pcm_s16le -ar 4000", ErrWAVRate},
	} {
		args := "-v error -f lavfi -i aevalsrc='0.5*sin(2*PI*1000*t)':s=48000:d=1 -f wav " + tt.args + " pipe:1"
		args = strings.ReplaceAll(args, "'", "")
		file, err := exec.Command(ffmpeg, strings.Fields(args)...).Output()
		if err != nil {
			t.Fatalf("ffmpeg %s: %v", args, err)
		}
		pcm, err := ReadWAV(bytes.NewReader(file))
		if !errors.Is(err, tt.want) {
			t.Errorf("%s: error %v, want %v", tt.args, err, tt.want)
		}
		if tt.want != nil {
			continue
		}
		amplitude, _, ratio := toneFit(pcm[2400:max(2400, len(pcm)-2400)], 1000, SampleRate)
		if len(pcm) < SampleRate-50 || len(pcm) > SampleRate+50 || ratio < 38 || amplitude < 0.05 {
			t.Errorf("%s: %d samples, amplitude %.3f, SNR %.1f dB", tt.args, len(pcm), amplitude, ratio)
		}
	}
}

func TestWAVFromEspeak(t *testing.T) {
	espeak := program(t, "espeak-ng")
	file, err := exec.Command(espeak, "-v", "vi", "--stdout", "Xin chào bà con").Output()
	if err != nil {
		t.Fatal(err)
	}
	w, err := NewWAVReader(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	if f := w.Format(); f.Rate != 22050 || f.Bytes != -1 {
		t.Errorf("Format() = %+v, want 22050 Hz of unknown length", f)
	}
	pcm, err := ReadWAV(bytes.NewReader(file))
	if want := (len(file) - 44) / 2 * SampleRate / 22050; err != nil || len(pcm) < want || len(pcm) > want+3 || energy(pcm) < 100 {
		t.Errorf("%d samples with energy %.0f, %v, want %d", len(pcm), energy(pcm), err, want)
	}
}

func TestWAVReaderAllocations(t *testing.T) {
	spec := wavSpec{rate: 44100, channels: 2}.complete()
	file := riff(spec.fmtChunk(), chunk("data", make([]byte, 4*44100*2)))
	w, err := NewWAVReader(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	pcm := make([]float32, FrameSamples)
	if allocs := testing.AllocsPerRun(50, func() {
		if n, err := w.Read(pcm); n != len(pcm) || err != nil {
			t.Fatal(n, err)
		}
	}); allocs != 0 {
		t.Errorf("Read allocates %.1f times, want 0", allocs)
	}
}

func FuzzWAV(f *testing.F) {
	sound := chunk("data", []byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12})
	for _, spec := range []wavSpec{{}, {rate: 44100, channels: 2}, {bits: 24, extensible: true}, {tag: formatFloat, bits: 32, rate: 8000}, {bits: 8, rate: 192000}} {
		f.Add(riff(spec.complete().fmtChunk(), sound))
		f.Add(withDataLength(riff(spec.complete().fmtChunk(), chunk("LIST", []byte("x")), sound), 0xffffffff))
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		w, err := NewWAVReader(bytes.NewReader(file))
		if err != nil {
			return
		}
		format, total, pcm := w.Format(), 0, make([]float32, 1000)
		for {
			n, err := w.Read(pcm)
			if n == 0 && err == nil {
				t.Fatal("Read gave neither samples nor an error")
			}
			if slices.ContainsFunc(pcm[:n], func(s float32) bool { return !(s > -100 && s < 100) }) {
				t.Fatalf("%+v: a sample is out of bounds", format)
			}
			if total += n; n == 0 {
				break
			}
		}
		if most := len(file)/format.blockBytes()*SampleRate/format.Rate + 8; total > most {
			t.Fatalf("%+v: %d samples from %d bytes", format, total, len(file))
		}
	})
}
