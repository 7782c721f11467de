package codec

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
)

// memory is an OggFile without a disk, which takes so many bytes.
type memory struct {
	b    []byte
	at   int64
	most int
}

var errNoRoom = errors.New("no room")

func (m *memory) Write(p []byte) (int, error) {
	n := len(p)
	if m.most > 0 {
		n = min(n, m.most-len(m.b))
	}
	m.b = append(m.b, p[:n]...)
	if n < len(p) {
		return n, errNoRoom
	}
	return n, nil
}

func (m *memory) Read(p []byte) (int, error) {
	if m.at >= int64(len(m.b)) {
		return 0, io.EOF
	}
	n := copy(p, m.b[m.at:])
	m.at += int64(n)
	return n, nil
}

func (m *memory) Seek(offset int64, _ int) (int64, error) { m.at = offset; return offset, nil }
func (m *memory) WriteAt(p []byte, at int64) (int, error) { return copy(m.b[at:], p), nil }
func (m *memory) Truncate(n int64) error                  { m.b = m.b[:n]; return nil }

var comments = []string{"TITLE=Thông báo \"lịch cắt điện\"", "DATE=2026-11-25"}

// writeOgg writes frames of a tone, in packets of two; skip frames are missing from packet gap on.
func writeOgg(t testing.TB, w io.Writer, packets, gap int, skip int64) error {
	t.Helper()
	enc, err := NewEncoder(EncoderConfig{Bitrate: 64000, Music: true})
	if err != nil {
		t.Fatal(err)
	}
	o, err := NewOggWriter(w, 7, comments)
	if err != nil {
		return err
	}
	pcm, out := make([]float32, 2*FrameSamples), make([]byte, MaxPacketBytes)
	for n := range packets {
		for i := range pcm {
			pcm[i] = float32(0.3 * math.Sin(2*math.Pi*1000*float64(n*len(pcm)+i)/SampleRate))
		}
		size, err := enc.Encode(pcm, out)
		if err != nil {
			t.Fatal(err)
		}
		if n == gap {
			if err := o.Skip(skip * FrameSamples); err != nil {
				return err
			}
		}
		if int64(n*2) >= int64(gap*2) && int64(n*2) < int64(gap*2)+skip {
			continue
		}
		if err := o.Write(out[:size]); err != nil {
			return err
		}
	}
	if got := o.Samples(); got != int64(packets*2*FrameSamples) {
		t.Errorf("Samples = %d, want %d", got, packets*2*FrameSamples)
	}
	return o.Flush()
}

func ffprobe(t testing.TB, program string, args ...string) []byte {
	t.Helper()
	if _, err := exec.LookPath(program); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(program + " is not installed: make test installs it")
		}
		t.Skip(program + " is not installed")
	}
	cmd := exec.CommandContext(t.Context(), program, args...)
	var fault bytes.Buffer
	cmd.Stderr = &fault
	out, err := cmd.Output()
	if err != nil || fault.Len() > 0 {
		t.Fatalf("%s: %v\n%s", program, err, fault.Bytes())
	}
	return out
}

// play has ffmpeg decode a file, and checks what it says of it.
func play(t testing.TB, path string) []int16 {
	t.Helper()
	pcm := ffprobe(t, "ffmpeg", "-v", "warning", "-i", path, "-f", "s16le", "-ac", "1", "-ar", "48000", "-")
	out := make([]int16, len(pcm)/2)
	for i := range out {
		out[i] = int16(uint16(pcm[2*i]) | uint16(pcm[2*i+1])<<8)
	}
	return out
}

// purity16 is the share of the energy that lies at 1 kHz.
func purity16(pcm []int16) float64 {
	var energy, s1, s2 float64
	c := 2 * math.Cos(2*math.Pi*1000/SampleRate)
	for _, v := range pcm {
		x := float64(v)
		energy += x * x
		s1, s2 = x+c*s1-s2, s1
	}
	return (s1*s1 + s2*s2 - c*s1*s2) * 2 / float64(len(pcm)) / (energy + 1)
}

// TestOggPlays has ffmpeg play files with and without a gap: the tone is where it belongs, to the sample.
func TestOggPlays(t *testing.T) {
	for _, c := range []struct {
		name         string
		packets, gap int
		skip         int64
	}{{"whole", 75, 1000, 0}, {"gap of 1 s", 75, 25, 50}, {"gap at the beginning", 50, 0, 26}, {"one packet", 1, 5, 0}} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "x.ogg")
			f, err := os.Create(path)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if err := writeOgg(t, f, c.packets, c.gap, c.skip); err != nil {
				t.Fatal(err)
			}
			info, err := FinishOgg(f)
			if err != nil {
				t.Fatal(err)
			}
			samples := int64(c.packets*2*FrameSamples - PreSkip)
			if info.Samples != samples || info.Missing != c.skip*FrameSamples {
				t.Errorf("FinishOgg = %+v, want %d samples, %d missing", info, samples, c.skip*FrameSamples)
			}
			if i, err := f.Stat(); err != nil || i.Size() != info.Bytes {
				t.Errorf("%d bytes, FinishOgg says %d", i.Size(), info.Bytes)
			}
			pcm := play(t, path)
			if len(pcm) != int(samples) {
				t.Errorf("ffmpeg plays %d samples, want %d", len(pcm), samples)
			}
			begin := c.gap * 2 * FrameSamples
			end := begin + int(c.skip)*FrameSamples
			for at := FrameSamples; at+FrameSamples <= len(pcm); at += FrameSamples {
				in := at > begin-PreSkip-FrameSamples && at < end+4*FrameSamples && c.skip > 0 // the codec settles after a gap
				if p := purity16(pcm[at : at+FrameSamples]); p < 0.95 && !in {
					t.Errorf("at %d the tone has %.2f of the energy", at, p)
				}
			}
			var said struct {
				Streams []struct {
					Codec string `json:"codec_name"`
					Tags  map[string]string
				}
				Format struct{ Duration string }
			}
			out := ffprobe(t, "ffprobe", "-v", "warning", "-of", "json", "-show_streams", "-show_format", path)
			if err := json.Unmarshal(out, &said); err != nil || len(said.Streams) != 1 || said.Streams[0].Codec != "opus" {
				t.Fatalf("ffprobe: %v, %s", err, out)
			}
			if said.Streams[0].Tags["TITLE"] != `Thông báo "lịch cắt điện"` {
				t.Errorf("tags = %q", said.Streams[0].Tags)
			}
			// ffmpeg's duration counts what is skipped before the programme too
			if d, err := strconv.ParseFloat(said.Format.Duration, 64); err != nil || math.Abs(d-float64(samples)/SampleRate) > 0.02 {
				t.Errorf("ffprobe says it lasts %v s, %v", d, err)
			}
		})
	}
}

// TestOggCutAnywhere cuts a file at every length: what is left is whole up to half a second before, and finishing it
// again changes nothing.
func TestOggCutAnywhere(t *testing.T) {
	var whole memory
	if err := writeOgg(t, &whole, 40, 20, 4); err != nil {
		t.Fatal(err)
	}
	full, before := len(whole.b), int64(0)
	for n := full % 3; n <= full; n += 3 {
		m := &memory{b: bytes.Clone(whole.b[:n])}
		info, err := FinishOgg(m)
		if err != nil {
			t.Fatal(err)
		}
		if info.Samples < before {
			t.Fatalf("%d bytes hold %d samples, fewer than before", n, info.Samples)
		}
		before = info.Samples
		if info.Samples > 0 && (m.b[len(m.b)-int(info.Bytes)] != 'O' || int64(len(m.b)) != info.Bytes) {
			t.Fatalf("%d bytes are left of %d, FinishOgg says %d", len(m.b), n, info.Bytes)
		}
		finished := bytes.Clone(m.b)
		if again, err := FinishOgg(m); err != nil || again != info || !bytes.Equal(m.b, finished) {
			t.Fatalf("finished again: %+v, %v, before %+v", again, err, info)
		}
	}
	if want := int64(80*FrameSamples - PreSkip); before != want {
		t.Errorf("the whole file holds %d samples, want %d", before, want)
	}
}

// TestOggFullDisk fills the disk at every byte of a page: the error comes back for good, and what is there plays.
func TestOggFullDisk(t *testing.T) {
	for most := 4800; most < 9800; most += 333 {
		m := &memory{most: most}
		if err := writeOgg(t, m, 100, 1000, 0); !errors.Is(err, errNoRoom) {
			t.Fatalf("a disk of %d bytes: %v", most, err)
		}
		info, err := FinishOgg(m)
		if err != nil || info.Samples < oggPageSamples-PreSkip || len(m.b) > most {
			t.Errorf("a disk of %d bytes: %+v, %v", most, info, err)
		}
	}
}

func TestOggRefuses(t *testing.T) {
	if _, err := NewOggWriter(io.Discard, 1, []string{string(make([]byte, 1<<17))}); err == nil {
		t.Error("a comment larger than a page")
	}
	o, err := NewOggWriter(io.Discard, 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := o.Write(nil); !errors.Is(err, ErrPacket) {
		t.Errorf("an empty packet: %v", err)
	}
	if o.Skip(-960) == nil || o.Skip(1) == nil {
		t.Error("half a frame was skipped")
	}
}

// FuzzFinishOgg: whatever lies in a file, it is finished without harm, and finishing is done once.
func FuzzFinishOgg(f *testing.F) {
	var m memory
	if err := writeOgg(f, &m, 15, 3, 2); err != nil {
		f.Fatal(err)
	}
	f.Add(m.b)
	f.Add(m.b[:len(m.b)-5])
	f.Add([]byte("OggS"))
	f.Fuzz(func(t *testing.T, b []byte) {
		m := &memory{b: bytes.Clone(b)}
		info, err := FinishOgg(m)
		if err != nil || info.Missing < 0 || info.Bytes > int64(len(b)) {
			t.Fatalf("%+v, %v", info, err)
		}
		if again, err := FinishOgg(m); err != nil || again != info {
			t.Fatalf("again: %+v, %v; before: %+v", again, err, info)
		}
	})
}
