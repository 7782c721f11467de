package device

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"dongthanh/internal/config"
	"dongthanh/internal/mediaclock"
)

func TestMain(m *testing.M) {
	if os.Getenv("BE_PLAYER") != "" {
		os.Exit(child())
	}
	goleak.VerifyTestMain(m)
}

// virtual is a pace in virtual time. late is added to each awakening.
func virtual(rate float64, late func(n int) time.Duration) *pace {
	var now mediaclock.Local
	n := 0
	return &pace{
		rate:      rate,
		now:       func() mediaclock.Local { return now },
		sleep:     func(_ context.Context, until mediaclock.Local) { now = max(now, until).Add(late(n)); n++ },
		log:       slog.New(slog.DiscardHandler),
		underruns: prometheus.NewCounter(prometheus.CounterOpts{Name: "underruns"}),
	}
}

func TestPace(t *testing.T) {
	for _, tc := range []struct {
		name string
		skew float64
	}{{"true", 0}, {"fast", 100e-6}, {"slow", -250e-6}} {
		t.Run(tc.name, func(t *testing.T) {
			rate := 48000 * (1 + tc.skew)
			start := mediaclock.Local(time.Second)
			p := virtual(rate, func(n int) time.Duration { return time.Duration(n%7) * 150 * time.Microsecond })
			ctx, cancel := context.WithCancel(t.Context())
			var want int64
			err := p.run(ctx, start, func(b Block) {
				if b.First != want || len(b.PCM) != blockSamples {
					t.Fatalf("block of %d samples from %d, want %d from %d", len(b.PCM), b.First, blockSamples, want)
				}
				want += blockSamples
				exact := b.Now.Sub(start).Seconds() * rate
				if math.Abs(exact-float64(b.Played)) > 1e-3 {
					t.Fatalf("sample %.4f sounds at Now, the block says %d", exact, b.Played)
				}
				ahead := float64(b.First-b.Played) / rate
				if ahead > lead.Seconds()+1e-4 || ahead < lead.Seconds()-2e-3 {
					t.Fatalf("block from %d asked for %.4f s before it sounds, want %v", b.First, ahead, lead)
				}
				if want == 60*48000 {
					cancel()
				}
			}, func([]int16) error { return nil })
			if err != nil {
				t.Fatal(err)
			}
			if took := p.now().Sub(start).Seconds() + lead.Seconds(); math.Abs(took-60/(1+tc.skew)) > 0.02 {
				t.Errorf("60 s of samples took %.4f s, want %.4f", took, 60/(1+tc.skew))
			}
		})
	}
}

// TestRunsDry: a pause below the patience is caught up with whole; beyond it what was missed is silence, and time is
// kept.
func TestRunsDry(t *testing.T) {
	for _, tc := range []struct {
		pause time.Duration
		dry   float64
	}{{800 * time.Millisecond, 0}, {2 * time.Second, 1}} {
		p := virtual(48000, func(n int) time.Duration {
			if n == 100 {
				return tc.pause
			}
			return 0
		})
		ctx, cancel := context.WithCancel(t.Context())
		written, asked, sound := 0, 0, 0
		err := p.run(ctx, 0, func(b Block) {
			asked++
			for i := range b.PCM {
				b.PCM[i] = 7
			}
			if b.First >= 5*48000 {
				cancel()
			}
		}, func(pcm []int16) error {
			written += len(pcm)
			if pcm[0] == 7 {
				sound++
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if got := testutil.ToFloat64(p.underruns); got != tc.dry {
			t.Errorf("pause of %v: %g underruns, want %g", tc.pause, got, tc.dry)
		}
		if off := float64(written)/48000 - p.now().Sub(0).Seconds(); math.Abs(off) > 0.05 {
			t.Errorf("pause of %v: the file is %.3f s off the clock", tc.pause, off)
		}
		if sound != asked || tc.dry == 0 && written != asked*blockSamples || tc.dry == 1 && written < asked*blockSamples+90*blockSamples {
			t.Errorf("pause of %v: %d blocks asked for, %d with sound, %d samples written", tc.pause, asked, sound, written)
		}
	}
}

// TestFile plays for half a second of real time and reads what INTERFACES §2 promises.
func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "deep", "played.wav")
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{path, path + ".json"} {
		if err := os.WriteFile(name, bytes.Repeat([]byte("old"), 100_000), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	clock := mediaclock.NewMonotonic()
	d, err := New(Options{
		Config: Config{Kind: "file", Path: path, SkewPPM: 100}, Clock: clock,
		Log: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry(),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	began := time.Now()
	var read timing
	var offset time.Duration // wall clock minus the device's clock
	next := int16(0)
	err = d.Run(ctx, func(b Block) {
		if b.First == 0 {
			text, err := os.ReadFile(path + ".json")
			if err != nil || json.Unmarshal(text, &read) != nil {
				t.Errorf("before the first sample %s.json holds %q (%v)", path, text, err)
			}
			offset = time.Until(time.Unix(0, read.StartUnixNS)) - time.Duration(float64(-b.Played)/read.Rate*1e9) +
				clock.Now().Sub(b.Now)
		}
		for i := range b.PCM {
			b.PCM[i] = next
			next++
		}
		if b.First > 24000 {
			cancel()
		}
	})
	if err != nil {
		t.Fatalf("Run: %v", err)
	}
	if took := time.Since(began); took < 450*time.Millisecond || took > 1500*time.Millisecond {
		t.Errorf("half a second took %v", took)
	}
	if want := 48000 * 1.0001; read.Rate != want {
		t.Errorf("rate = %v, want %v", read.Rate, want)
	}
	if offset < -2*time.Millisecond || offset > 2*time.Millisecond {
		t.Errorf("sample 0 sounds %v off start_unix_ns", offset)
	}
	wav, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want := append([]byte("RIFF....WAVEfmt "), 16, 0, 0, 0, 1, 0, 1, 0, 0x80, 0xbb, 0, 0, 0, 0x77, 1, 0, 2, 0, 16, 0)
	want = append(want, "data...."...)
	copy(want[4:], wav[4:8])
	copy(want[40:], wav[40:44])
	if !bytes.Equal(wav[:44], want) {
		t.Errorf("header = % x", wav[:44])
	}
	if size := int(binary.LittleEndian.Uint32(wav[40:])); size != len(wav)-44 || int(binary.LittleEndian.Uint32(wav[4:])) != len(wav)-8 {
		t.Errorf("header tells of %d bytes, the file holds %d", size, len(wav)-44)
	}
	for i := range (len(wav) - 44) / 2 {
		if got := int16(binary.LittleEndian.Uint16(wav[44+2*i:])); got != int16(i) {
			t.Fatalf("sample %d = %d: not in order and without a gap", i, got)
		}
	}
}

// TestFileInTheWay: what is no ordinary file is never replaced.
func TestFileInTheWay(t *testing.T) {
	dir := t.TempDir()
	for name, path := range map[string]string{"a folder": dir, "a device": os.DevNull, "below a file": os.DevNull + "/x"} {
		d, err := New(Options{
			Config: Config{Kind: "file", Path: path}, Clock: mediaclock.NewMonotonic(),
			Log: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry(),
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := d.Run(t.Context(), func(Block) { t.Error("asked for sound") }); err == nil {
			t.Errorf("%s: Run = nil, want an error", name)
		}
		if _, err := os.Stat(os.DevNull); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
}

func TestValidate(t *testing.T) {
	for _, tc := range []struct {
		name string
		c    Config
		want string // what the faults begin with
	}{
		{"default", Default(), ""},
		{"file", Config{Kind: "file", Path: "x.wav", SkewPPM: -100}, ""},
		{"file without path", Config{Kind: "file"}, "path: empty"},
		{"card", Config{Kind: "alsa", Buffer: 40 * time.Millisecond}, ""},
		{"card without a buffer", Config{Kind: "alsa"}, "buffer: 0s, want 15ms to 120ms"},
		{"later kind", Config{Kind: "rtp"}, `kind: "rtp" is not in this build yet; it has alsa, file, null`},
		{"no kind", Config{}, `kind: "", want one of alsa, file, null`},
		{"wild skew", Config{Kind: "null", SkewPPM: 1e6}, "skew_ppm: 1e+06, want -500 to 500"},
		{"no number", Config{Kind: "null", SkewPPM: math.NaN()}, "skew_ppm: NaN"},
	} {
		got := config.Faults(tc.c.Validate()).Error()
		if (tc.want == "") != (got == "") || !strings.HasPrefix(got, tc.want) {
			t.Errorf("%s: Validate = %q, want %q", tc.name, got, tc.want)
		}
	}
}
