package codec

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

func createWAV(t *testing.T) (*WAVWriter, string) {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "played.wav"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	w, err := NewWAVWriter(f)
	if err != nil {
		t.Fatal(err)
	}
	return w, f.Name()
}

// ramp is samples that tell where they are.
func ramp(from, n int) []int16 {
	pcm := make([]int16, n)
	for i := range pcm {
		pcm[i] = int16(from + i)
	}
	return pcm
}

func readRamp(t *testing.T, path string) int {
	t.Helper()
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	pcm, err := ReadWAV(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	for i, s := range pcm {
		if s != float32(int16(i))/(1<<15) {
			t.Fatalf("sample %d is %v", i, s)
		}
	}
	return len(pcm)
}

func TestWriteWAV(t *testing.T) {
	w, path := createWAV(t)
	if n := readRamp(t, path); n != 0 {
		t.Errorf("a new file has %d samples", n)
	}
	written := 0
	for range 100 { // two seconds, never flushed by hand
		if err := w.Write(ramp(written, FrameSamples)); err != nil {
			t.Fatal(err)
		}
		written += FrameSamples
		if n := readRamp(t, path); n > written || n <= written-wavWriteSamples {
			t.Fatalf("%d samples in the file of %d written", n, written)
		}
	}
	if err := w.Write(ramp(written, 7)); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	if n := readRamp(t, path); n != written+7 {
		t.Errorf("%d samples after Flush, want %d", n, written+7)
	}
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want := "RIFF\x00\x00\x00\x00WAVEfmt \x10\x00\x00\x00\x01\x00\x01\x00\x80\xbb\x00\x00\x00\x77\x01\x00\x02\x00\x10\x00data"
	got := string(file[:4]) + "\x00\x00\x00\x00" + string(file[8:40])
	if got != want || binary.LittleEndian.Uint32(file[4:]) != uint32(len(file)-8) || binary.LittleEndian.Uint32(file[40:]) != uint32(len(file)-44) {
		t.Errorf("header is %x", file[:44])
	}
}

// After 12 hours the lengths no longer fit; readers then go to the end of the file.
func TestWAVHeaderBeyond4GiB(t *testing.T) {
	for _, bytes := range []uint64{math.MaxUint32 - 20, math.MaxUint32, 1 << 33} {
		h := wavHeader(bytes)
		if riff, data := binary.LittleEndian.Uint32(h[4:]), binary.LittleEndian.Uint32(h[40:]); riff != math.MaxUint32 || data != uint32(min(bytes, math.MaxUint32)) {
			t.Errorf("%d bytes: lengths %#x and %#x", bytes, riff, data)
		}
	}
}

// The process is killed while it writes, for real; the file is a whole WAV file.
func TestWAVSurvivesKill(t *testing.T) {
	if path := os.Getenv("WAV_KILL_TEST"); path != "" {
		writeUntilKilled(t, path)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "played.wav")
	cmd := exec.Command(self, "-test.run=^TestWAVSurvivesKill$")
	cmd.Env = append(os.Environ(), "WAV_KILL_TEST="+path)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(20 * time.Second)
	for {
		if info, err := os.Stat(path); err == nil && info.Size() > 1<<20 {
			break
		}
		if time.Now().After(deadline) {
			t.Error("the other process writes nothing")
			break
		}
		time.Sleep(time.Millisecond) // the only sign from the other process is its file
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil {
		t.Error("the other process ended by itself")
	}
	if n := readRamp(t, path); n < 1<<19-wavWriteSamples {
		t.Errorf("%d samples in the file", n)
	}
}

func writeUntilKilled(t *testing.T, path string) {
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	w, err := NewWAVWriter(f)
	if err != nil {
		t.Fatal(err)
	}
	for written := 0; written < 1<<30; written += FrameSamples {
		if err := w.Write(ramp(written, FrameSamples)); err != nil {
			t.Fatal(err)
		}
	}
	os.Exit(0)
}

func TestWAVWriterFails(t *testing.T) {
	w, _ := createWAV(t)
	if err := w.f.(*os.File).Close(); err != nil {
		t.Fatal(err)
	}
	if err := w.Write(make([]int16, wavWriteSamples-1)); err != nil {
		t.Errorf("Write before anything reaches the file: %v", err)
	}
	for i := range 3 {
		if err := w.Write(make([]int16, FrameSamples)); !errors.Is(err, os.ErrClosed) {
			t.Errorf("Write %d to a closed file: %v", i, err)
		}
	}
	if err := w.Flush(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Flush of a closed file: %v", err)
	}
	if _, err := NewWAVWriter(w.f); !errors.Is(err, os.ErrClosed) {
		t.Errorf("NewWAVWriter on a closed file: %v", err)
	}
}

func TestWAVWriterAllocations(t *testing.T) {
	w, _ := createWAV(t)
	pcm := ramp(0, FrameSamples)
	if allocs := testing.AllocsPerRun(100, func() {
		if err := w.Write(pcm); err != nil {
			t.Fatal(err)
		}
	}); allocs != 0 {
		t.Errorf("Write allocates %.2f times, want 0", allocs)
	}
}
