package origin

import (
	"bytes"
	"io"
	"math"
	"math/cmplx"
	"slices"
	"testing"

	"dongthanh/codec"
	"dongthanh/internal/signed"
	"dongthanh/internal/testkit"
	"dongthanh/streamer/internal/voice"
)

// Bounds of TestFaithful, in dB of log-spectral distance. libopus alone, at the bitrate and complexity of a microphone,
// has 1 to 1.6 (measured); another sentence has more than 10.
const (
	mostDistance = 2.5
	mostAdded    = 0.5 // what high-pass, levelling, gate and limiter may add to libopus's own
)

// TestFaithful: a sentence is the same at the loudspeaker as at the microphone, spectrum by spectrum, through all that
// the streamer does to it, and nearly as near to it as libopus alone leaves it. When it is said again, the voice being
// known, it has the loudness that all voices get.
func TestFaithful(t *testing.T) {
	t.Parallel()
	i := newIssuer(t, signed.ClassEmergency)
	encoder := codec.EncoderConfig{Bitrate: 32000, Complexity: 5}
	var before []float32
	for _, c := range []struct {
		voice, text string
		lufs        float64 // as the microphone gives it
	}{
		{"vi", "Kính thưa toàn thể bà con, hôm nay xã ta tổ chức tiêm phòng cho trẻ em tại trạm y tế, mời bà con đến đúng giờ.", -25},
		{"vi-vn-x-south", "Đề nghị các hộ dân ở thôn Đông khẩn trương di dời đồ đạc lên cao, nước sông đang lên nhanh, mời bà con chú ý theo dõi.", -14},
		{"vi-vn-x-central+f2", "Sáng mai, từ bảy giờ đến mười một giờ, điện lực sẽ cắt điện để sửa đường dây, đề nghị bà con chủ động sắp xếp.", -38},
	} {
		once := speak(t, c.voice, c.text, c.lufs)
		pcm := slices.Concat(once, once)
		p := plan(func(p *Plan) {
			p.Encoder, p.Voice = encoder, voice.Options{HighPass: true, Levelling: voice.LevelVoice, Gate: true}
		})
		k := transmit(t, p, i, &recorded{pcm: pcm}, nil)
		if k.err != nil {
			t.Fatal(k.err)
		}
		heard := k.hear(t, p, i)
		alone := opusAlone(t, encoder, pcm)
		ours, theirs := distance(pcm, heard), distance(pcm, alone)
		t.Logf("%s at %g LUFS: %.2f dB from the microphone, libopus alone %.2f dB, ratio %.2f", c.voice, c.lufs, ours, theirs, ours/theirs)
		if ours > mostDistance {
			t.Errorf("%s: %.2f dB, want at most %g", c.voice, ours, mostDistance)
		}
		if ours-theirs > mostAdded {
			t.Errorf("%s: %.2f dB, %.2f more than libopus alone; want at most %g more", c.voice, ours, ours-theirs, mostAdded)
		}
		if before != nil {
			if other := distance(before, heard); other < 3*mostDistance {
				t.Errorf("another sentence is %.2f dB away: the measure tells nothing", other)
			}
		}
		before = pcm
		loudness := voice.NewLoudness()
		loudness.Add(heard[len(once):])
		if got := loudness.Integrated(); math.Abs(got-voice.Target) > 1 {
			t.Errorf("%s at %g LUFS is heard with %.2f, want %g", c.voice, c.lufs, got, voice.Target)
		}
	}
}

// speak is a sentence by espeak-ng, with half a second of silence before it.
func speak(t *testing.T, name, text string, lufs float64) []float32 {
	t.Helper()
	pcm, err := codec.ReadWAV(bytes.NewReader(testkit.Speech(t, name, text)))
	if err != nil {
		t.Fatal(err)
	}
	loudness := voice.NewLoudness()
	loudness.Add(pcm)
	gain := float32(math.Pow(10, (lufs-loudness.Integrated())/20))
	for i := range pcm {
		pcm[i] *= gain
	}
	return append(make([]float32, codec.SampleRate/2), pcm...)
}

// recorded is a source that plays pcm.
type recorded struct {
	pcm []float32
	at  int
}

func (s *recorded) Read(frame []float32) error {
	clear(frame)
	if s.at >= len(s.pcm) {
		return io.EOF
	}
	s.at += copy(frame, s.pcm[s.at:])
	return nil
}

// opusAlone is what encoder and decoder make of pcm, without any of our own work.
func opusAlone(t *testing.T, cfg codec.EncoderConfig, pcm []float32) (out []float32) {
	t.Helper()
	enc, err := codec.NewEncoder(cfg)
	if err != nil {
		t.Fatal(err)
	}
	dec, err := codec.NewDecoder()
	if err != nil {
		t.Fatal(err)
	}
	packet, part, sound := make([]byte, enc.MaxPacketBytes()), make([]float32, enc.PacketSamples()), make([]float32, enc.PacketSamples())
	for at := 0; at < len(pcm)+len(part); at += len(part) {
		clear(part)
		copy(part, pcm[min(at, len(pcm)):])
		n, err := enc.Encode(part, packet)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := dec.DecodeFloat(packet[:n], sound); err != nil {
			t.Fatal(err)
		}
		out = append(out, sound...)
	}
	return out[codec.PreSkip:]
}

const (
	window    = 2048 // 43 ms
	hop       = 3840
	firstBand = 160.0 // Hz; below, the high-pass is meant to take away
	lastBand  = 8000.0
	audibleDB = 45 // below the sentence's loudest band: what is quieter is masked
)

// distance is the log-spectral distance in dB between two recordings of the same sentence: the RMS difference of the
// levels in thirds of an octave, over the frames in which want speaks, each frame's mean difference left out, since the
// loudness is another matter.
func distance(want, got []float32) float64 {
	n := min(len(want), len(got))
	var a, b [][]float64
	loudest := math.Inf(-1)
	for at := 0; at+window <= n; at += hop {
		a, b = append(a, bands(want[at:at+window])), append(b, bands(got[at:at+window]))
		for _, x := range a[len(a)-1] {
			loudest = max(loudest, x)
		}
	}
	sum, count := 0.0, 0
	for f := range a {
		var diffs []float64
		mean := 0.0
		for k, x := range a[f] {
			if x > loudest-audibleDB {
				diffs = append(diffs, b[f][k]-x)
				mean += b[f][k] - x
			}
		}
		if len(diffs) < 4 {
			continue // nobody speaks
		}
		mean /= float64(len(diffs))
		for _, d := range diffs {
			sum += (d - mean) * (d - mean)
			count++
		}
	}
	return math.Sqrt(sum / float64(count))
}

// bands are the levels in dB of thirds of an octave.
func bands(pcm []float32) (levels []float64) {
	x := make([]complex128, window)
	for i, s := range pcm {
		x[i] = complex(float64(s)*(0.5-0.5*math.Cos(2*math.Pi*(float64(i)+0.5)/window)), 0)
	}
	x = transform(x)
	for hz := firstBand; hz <= lastBand; hz *= math.Cbrt(2) {
		power := 1e-12
		for k := int(math.Ceil(hz / math.Pow(2, 1.0/6) * window / codec.SampleRate)); float64(k) < hz*math.Pow(2, 1.0/6)*window/codec.SampleRate; k++ {
			power += real(x[k])*real(x[k]) + imag(x[k])*imag(x[k])
		}
		levels = append(levels, 10*math.Log10(power))
	}
	return levels
}

// transform is the discrete Fourier transform of a power of two.
func transform(x []complex128) []complex128 {
	if len(x) == 1 {
		return x
	}
	even, odd := make([]complex128, len(x)/2), make([]complex128, len(x)/2)
	for i := range even {
		even[i], odd[i] = x[2*i], x[2*i+1]
	}
	even, odd = transform(even), transform(odd)
	out := make([]complex128, len(x))
	for k := range even {
		turned := cmplx.Rect(1, -2*math.Pi*float64(k)/float64(len(x))) * odd[k]
		out[k], out[k+len(even)] = even[k]+turned, even[k]-turned
	}
	return out
}
