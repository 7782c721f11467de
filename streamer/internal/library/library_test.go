package library_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"dongthanh/codec"
	"dongthanh/streamer/internal/library"
	"dongthanh/streamer/internal/store"
	"dongthanh/streamer/internal/voice"
)

func TestAddMeasuresAndKeeps(t *testing.T) {
	for name, c := range map[string]struct {
		file    wav
		seconds float64
		lufs    float64 // a full-scale sine of 997 Hz in one channel has -3.01 LUFS (BS.1770-4)
	}{
		"plain":         {wav{seconds: 0.6, amplitude: 0.1}, 0.6, -23.01},
		"stereo 44.1":   {wav{seconds: 0.6, amplitude: 0.1, channels: 2, rate: 44100}, 0.6, -23.01},
		"8 bit 8 kHz":   {wav{seconds: 0.6, amplitude: 0.5, bits: 8, rate: 8000}, 0.6, -9.03},
		"float":         {wav{seconds: 0.6, amplitude: 0.1, tag: 3, bits: 32}, 0.6, -23.01},
		"silence":       {wav{seconds: 1}, 1, voice.NoLoudness},
		"other chunks":  {wav{seconds: 1, amplitude: 0.1, before: chunk("LIST", []byte("INFOx"), 0), after: chunk("id3 ", []byte("<html>"), 0)}, 1, -23.01},
		"a few samples": {wav{seconds: 0.001, amplitude: 1}, 0.001, 0},
	} {
		t.Run(name, func(t *testing.T) {
			x := open(t)
			b := c.file.bytes()
			a := x.add(b, "thông báo.wav")
			if want := fmt.Sprintf("%x", sha256.Sum256(b)); a.ID != want {
				t.Errorf("id = %s, want the content's SHA-256 %s", a.ID, want)
			}
			if math.Abs(a.Seconds-c.seconds) > 0.001 {
				t.Errorf("seconds = %v, want %v", a.Seconds, c.seconds)
			}
			if c.lufs != 0 && math.Abs(a.LUFS-c.lufs) > 0.15 {
				t.Errorf("lufs = %v, want %v", a.LUFS, c.lufs)
			}
			if a.Bytes != int64(len(b)) || a.Name != "thông báo.wav" || a.CreatedBy != "lan" || time.Since(a.Created) > time.Minute {
				t.Errorf("record = %+v", a)
			}
			if stored, err := x.store.Audio(t.Context(), a.ID); err != nil || stored != a {
				t.Errorf("stored record = %+v, %v, want %+v", stored, err, a)
			}
			x.wantFiles(fileOf(a.ID))
			path := filepath.Join(x.dir, "audio", fileOf(a.ID))
			if kept, err := os.ReadFile(path); err != nil || !bytes.Equal(kept, b) {
				t.Errorf("kept %d bytes, %v, want the file as it came", len(kept), err)
			}
			if i, err := os.Stat(path); err != nil || i.Mode().Perm() != 0o600 {
				t.Errorf("mode = %v, %v, want 0600", i.Mode(), err)
			}
		})
	}
}

func TestOpenReads(t *testing.T) {
	x := open(t)
	b := wav{seconds: 0.51, amplitude: 0.5, rate: 24000, channels: 2}.bytes()
	a := x.add(b, "x.wav")
	s, err := x.Open(t.Context(), a.ID)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if s.Audio() != a {
		t.Errorf("Audio = %+v, want %+v", s.Audio(), a)
	}
	want, err := codec.ReadWAV(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	var got []float32
	frame := make([]float32, 960)
	for {
		n, err := s.Read(frame)
		got = append(got, frame[:n]...)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(got) != len(want) || math.Abs(float64(len(got))/48000-a.Seconds) > 1e-9 {
		t.Fatalf("read %d samples, want %d, of %v s", len(got), len(want), a.Seconds)
	}
	for i := range got {
		if got[i] != want[i] {
			t.Fatalf("sample %d = %v, want %v", i, got[i], want[i])
		}
	}
}

func TestSourcePlaysTheFile(t *testing.T) {
	x := open(t)
	b := wav{seconds: 0.25, amplitude: 0.5}.bytes()
	a := x.add(b, "x.wav")
	want, err := codec.ReadWAV(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	src, err := x.Source(t.Context(), a.ID)
	if err != nil {
		t.Fatal(err)
	}
	<-src.Started()
	var got []float32
	for frame := make([]float32, 960); ; {
		if err := src.Read(frame); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if slices.ContainsFunc(frame, func(x float32) bool { return x != 0 }) { // silence: we read faster than the disk
			got = append(got, frame...)
		}
	}
	<-src.Done()
	if !slices.Equal(got[:len(want)], want) || len(got)-len(want) >= 960 {
		t.Errorf("played %d samples, want the file's %d and silence to the end of the frame", len(got), len(want))
	}
	if err := src.Close(); err != nil {
		t.Error(err)
	}
	if src, err := x.Source(t.Context(), "x"); !errors.Is(err, store.ErrNotFound) || src != nil {
		t.Errorf("Source = %v, %v, want nil and ErrNotFound", src, err)
	}
}

func TestRefusals(t *testing.T) {
	x := open(t)
	good := wav{seconds: 1, amplitude: 0.1}.bytes()
	long := wav{seconds: 1.1}.bytes()
	rf64 := append([]byte("RF64"), good[4:]...)
	for _, c := range []struct {
		name string
		file []byte
		want error
		says string
	}{
		{"empty", nil, library.ErrFormat, "không phải tệp WAV"},
		{"AVI", append([]byte("RIFF\x00\x10\x00\x00AVI "), make([]byte, 1000)...), codec.ErrNotWAV, "không phải tệp WAV"},
		{"rf64", rf64, codec.ErrWAVRF64, "RF64"},
		{"no format", wav{seconds: 1, noFormat: true}.bytes(), codec.ErrWAVHeader, "Phần đầu"},
		{"block align", wav{seconds: 1, align: 7}.bytes(), codec.ErrWAVHeader, "Phần đầu"},
		{"adpcm", wav{seconds: 1, tag: 2}.bytes(), codec.ErrWAVEncoding, "PCM"},
		{"12 bit", wav{seconds: 1, bits: 12, align: 1}.bytes(), codec.ErrWAVEncoding, "PCM"},
		{"9 channels", wav{seconds: 1, channels: 9}.bytes(), codec.ErrWAVChannels, "kênh"},
		{"1 Hz", wav{seconds: 1, rate: 1}.bytes(), codec.ErrWAVRate, "kHz"},
		{"no sound", wav{}.bytes(), library.ErrEmpty, "không có âm thanh"},
		{"cut in the sound", good[:len(good)/2], codec.ErrTruncated, "bị cắt cụt ở 00:00"},
		{"cut by one byte", long[:len(long)-1], codec.ErrTruncated, "bị cắt cụt ở 00:01"},
		{"cut in the header", good[:30], codec.ErrTruncated, "bị cắt cụt ở 00:00"},
		{"declares more", wav{seconds: 3.2, declared: 2, bits: 8}.bytes(), codec.ErrTruncated, "bị cắt cụt ở 00:03"},
		{"too long", longFile(), library.ErrTooLong, "tối đa 2 giờ"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, err := x.Add(t.Context(), bytes.NewReader(c.file), c.name, "lan")
			var refusal *library.Refusal
			if !errors.Is(err, c.want) || !errors.As(err, &refusal) || !strings.Contains(refusal.Message(), c.says) || a != (store.Audio{}) {
				t.Errorf("Add = %+v, %v (%v), want %v that says %q", a, err, refusal, c.want, c.says)
			}
			if err != nil && !strings.Contains(err.Error(), "add audio "+fmt.Sprintf("%q", c.name)) {
				t.Errorf("error %q does not name the act", err)
			}
			x.wantFiles()
		})
	}
	if list, err := x.store.AudioList(t.Context(), 0, 10); len(list) != 0 || err != nil {
		t.Errorf("records = %v, %v, want none", list, err)
	}
}

// longFile has two hours and a second of 8 kHz in 8 bits: 58 MB.
func longFile() []byte {
	head := wav{bits: 8, rate: 8000}.bytes()
	n := (2*3600 + 1) * 8000
	return append(append(head[:len(head)-8], chunk("data", nil, n)...), bytes.Repeat([]byte{128}, n)...)
}

// zeros gives n bytes without keeping them.
type zeros struct{ n int }

func (z *zeros) Read(p []byte) (int, error) {
	if z.n == 0 {
		return 0, io.EOF
	}
	k := min(len(p), z.n)
	clear(p[:k])
	z.n -= k
	return k, nil
}

func TestTooLarge(t *testing.T) {
	if testing.Short() {
		t.Skip("writes 200 MB")
	}
	x := open(t)
	rest := &zeros{n: 1 << 40}
	head := wav{}.bytes()
	_, err := x.Add(t.Context(), io.MultiReader(bytes.NewReader(head), rest), "x", "lan")
	var refusal *library.Refusal
	if !errors.Is(err, library.ErrTooLarge) || !errors.As(err, &refusal) || !strings.Contains(refusal.Message(), "200 MB") {
		t.Errorf("Add: %v, want ErrTooLarge", err)
	}
	if read := 1<<40 - rest.n; read > library.MaxBytes+1<<20 {
		t.Errorf("read %d bytes of an endless file, want no more than the limit", read)
	}
	x.wantFiles()
}

func TestReaderFailsOrIsCancelled(t *testing.T) {
	x := open(t)
	b := wav{seconds: 1, amplitude: 0.1}.bytes()
	gone := errors.New("connection reset")
	_, err := x.Add(t.Context(), io.MultiReader(bytes.NewReader(b[:5000]), iotest.ErrReader(gone)), "x", "lan")
	var refusal *library.Refusal
	if !errors.Is(err, gone) || errors.As(err, &refusal) {
		t.Errorf("Add: %v, want the reader's own error and no refusal", err)
	}
	x.wantFiles()

	// An uploader that hangs up after the last byte it could send looks the same to io as a short file must not.
	_, err = x.Add(t.Context(), io.MultiReader(bytes.NewReader(b[:5000]), iotest.ErrReader(io.ErrUnexpectedEOF)), "x", "lan")
	if !errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &refusal) {
		t.Errorf("Add: %v, want io.ErrUnexpectedEOF and no refusal", err)
	}

	ctx, cancel := context.WithCancelCause(t.Context())
	stopped := errors.New("stopped")
	endless := readerFunc(func(p []byte) (int, error) {
		cancel(stopped)
		return copy(p, b), nil
	})
	if _, err := x.Add(ctx, endless, "x", "lan"); !errors.Is(err, stopped) {
		t.Errorf("Add: %v, want it cancelled", err)
	}
	x.wantFiles()
	if a, err := x.Add(t.Context(), iotest.OneByteReader(bytes.NewReader(b)), "x", "lan"); err != nil || a.Seconds != 1 {
		t.Errorf("Add byte by byte = %+v, %v", a, err)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func TestSameContentOnce(t *testing.T) {
	x := open(t)
	b := wav{seconds: 0.5, amplitude: 0.1}.bytes()
	var wg sync.WaitGroup
	records := make([]store.Audio, 6)
	for i := range records {
		wg.Go(func() {
			var err error
			if records[i], err = x.Add(t.Context(), bytes.NewReader(b), fmt.Sprintf("%d.wav", i), "lan"); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, a := range records {
		if a != records[0] {
			t.Errorf("records = %+v, want one", records)
			break
		}
	}
	x.wantFiles(fileOf(records[0].ID))

	// A file that the disk lost comes back with the next upload, under its first record.
	path := filepath.Join(x.dir, "audio", fileOf(records[0].ID))
	for name, harm := range map[string]func() error{
		"lost":  func() error { return os.Remove(path) },
		"short": func() error { return os.Truncate(path, 10) },
	} {
		if err := harm(); err != nil {
			t.Fatal(err)
		}
		if _, err := x.Open(t.Context(), records[0].ID); !errors.Is(err, library.ErrLost) {
			t.Errorf("%s: Open: %v, want ErrLost", name, err)
		}
		if a := x.add(b, "khác.wav"); a != records[0] {
			t.Errorf("%s: Add = %+v, want %+v", name, a, records[0])
		}
		s, err := x.Open(t.Context(), records[0].ID)
		if err != nil {
			t.Fatal(err)
		}
		s.Close()
	}
}

func TestOpenRefuses(t *testing.T) {
	x := open(t)
	a := x.add(wav{seconds: 0.1}.bytes(), "x")
	if err := os.WriteFile(filepath.Join(x.dir, "secret.wav"), wav{seconds: 1}.bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{
		"", "x", "../secret", "..%2fsecret", strings.Repeat("../", 21) + "x", "/etc/passwd", a.ID[:63], a.ID + "0", strings.ToUpper(a.ID), strings.Repeat("0", 64),
		a.ID[:62] + "\x00a", strings.Repeat("x", 1<<20),
	} {
		if _, err := x.Open(t.Context(), id); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("Open(%.70q): %v, want ErrNotFound", id, err)
		}
	}

	// A link put in the file's place does not lead out of the folder.
	path := filepath.Join(x.dir, "audio", fileOf(a.ID))
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(x.dir, "secret.wav"), path); err != nil {
		t.Fatal(err)
	}
	if _, err := x.Open(t.Context(), a.ID); !errors.Is(err, library.ErrLost) {
		t.Errorf("Open of a link: %v, want ErrLost", err)
	}
}

// The record cannot be stored: the file must not stay either.
func TestFailingDatabase(t *testing.T) {
	x := open(t)
	l, err := library.Open(x.dir, noRecords{x.store}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	b := wav{seconds: 0.1, amplitude: 0.1}.bytes()
	if _, err := l.Add(t.Context(), bytes.NewReader(b), "x", "lan"); !errors.Is(err, store.ErrReadOnly) {
		t.Errorf("Add: %v, want ErrReadOnly", err)
	}
	x.wantFiles()
	a := x.add(b, "x")
	x.wantFiles(fileOf(a.ID))
}

type noRecords struct{ *store.Store }

func (noRecords) AddAudio(context.Context, store.Audio) (store.Audio, error) {
	return store.Audio{}, fmt.Errorf("add audio: %w", store.ErrReadOnly)
}

func TestUnfinishedUploadsAreCleared(t *testing.T) {
	x := open(t)
	a := x.add(wav{seconds: 0.1}.bytes(), "x")
	if err := os.WriteFile(filepath.Join(x.dir, "audio", "tmp", "left"), make([]byte, 1000), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := library.Open(x.dir, x.store, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	x.wantFiles(fileOf(a.ID))

	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := library.Open(path, x.store, nil); err == nil {
		t.Error("Open in a file succeeded")
	}
}
