package ingest

import (
	"bytes"
	"errors"
	"io"
	"math"
	"testing"
	"testing/synctest"

	"dongthanh/codec"
	"dongthanh/internal/mediaclock"
)

// ramp is PCM whose samples count up, in pieces of uneven length, with an error at the end.
type ramp struct {
	at, length int
	err        error
	gate       chan struct{} // if set, each Read waits for it
	closed     bool
}

func (r *ramp) value(i int) float32 { return float32(i%10000) / 10000 }

func (r *ramp) Read(pcm []float32) (int, error) {
	if r.gate != nil {
		<-r.gate
	}
	n := min(len(pcm), r.length-r.at, 700)
	for i := range pcm[:n] {
		pcm[i] = r.value(r.at + i)
	}
	r.at += n
	if r.at == r.length {
		return n, r.err
	}
	return n, nil
}

func (r *ramp) Close() error {
	r.closed = true
	if r.gate != nil {
		close(r.gate)
	}
	return nil
}

func TestFile(t *testing.T) {
	broken := errors.New("disk on fire")
	for _, tt := range []struct {
		name   string
		length int
		end    error
	}{
		{"five seconds and a bit", 5*mediaclock.Rate + 17, io.EOF},
		{"whole frames", 30 * frameSamples, io.EOF},
		{"exactly what Started waits for", fileStarted * frameSamples, io.EOF},
		{"one sample", 1, io.EOF},
		{"a disk that fails", 3*mediaclock.Rate + 5, broken},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := &ramp{length: tt.length, err: tt.end}
				f := NewFile(r, r)
				<-f.Started()
				var all []float32
				frame := make([]float32, frameSamples)
				for {
					synctest.Wait() // the disk is as fast as it gets
					err := f.Read(frame)
					if err != nil {
						if !errors.Is(err, tt.end) {
							t.Errorf("Read = %v, want %v", err, tt.end)
						}
						break
					}
					all = append(all, frame...)
				}
				if want := (tt.length + frameSamples - 1) / frameSamples * frameSamples; len(all) != want {
					t.Fatalf("%d samples, want %d", len(all), want)
				}
				for i, v := range all {
					want := float32(0)
					if i < tt.length {
						want = r.value(i)
					}
					if v != want {
						t.Fatalf("sample %d is %v, want %v", i, v, want)
					}
				}
				<-f.Done()
				if err := f.Read(frame); !errors.Is(err, tt.end) || loudness(frame) != 0 {
					t.Errorf("Read after the end = %v and power %v, want %v and silence", err, loudness(frame), tt.end)
				}
				if err := f.Close(); err != nil || !r.closed || f.Waits() != 0 {
					t.Errorf("Close = %v, closed %v, waits %d", err, r.closed, f.Waits())
				}
			})
		})
	}
}

// A disk that hangs gives silence, and then the sound goes on where it was.
func TestFileSlowDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &ramp{length: 40 * frameSamples, err: io.EOF, gate: make(chan struct{}, 1000)}
		f := NewFile(r, nil)
		frame := make([]float32, frameSamples)
		if err := f.Read(frame); err != nil || loudness(frame) != 0 {
			t.Errorf("Read = %v and power %v while the disk hangs, want silence", err, loudness(frame))
		}
		for range 200 {
			r.gate <- struct{}{}
		}
		<-f.Started()
		synctest.Wait()
		if err := f.Read(frame); err != nil || frame[1] != r.value(1) {
			t.Errorf("Read = %v, sample %v, want the file's first frame", err, frame[1])
		}
		if f.Waits() != 1 {
			t.Errorf("Waits = %d, want 1", f.Waits())
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		if err := f.Read(frame); err != io.EOF || loudness(frame) != 0 {
			t.Errorf("Read after Close = %v, want io.EOF and silence", err)
		}
	})
}

func TestFileWithoutSound(t *testing.T) {
	f := NewFile(&ramp{err: io.EOF}, nil)
	await(t, f.Done(), "the end")
	select {
	case <-f.Started():
		t.Error("a file without sound has started")
	default:
	}
	if err := f.Read(make([]float32, frameSamples)); err != io.EOF {
		t.Errorf("Read = %v, want io.EOF", err)
	}
	if err := f.Read(make([]float32, 7)); err == nil {
		t.Error("Read of 7 samples: no error")
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// A WAV of 44.1 kHz stereo comes out as mono at 48 kHz.
func TestFileWAV(t *testing.T) {
	wav := wavTone(t)
	pcm, err := codec.NewWAVReader(bytes.NewReader(wav))
	if err != nil {
		t.Fatal(err)
	}
	f := NewFile(pcm, nil)
	defer f.Close()
	await(t, f.Started(), "the start")
	var all []float32
	frame := make([]float32, frameSamples)
	for err = error(nil); ; {
		waits := f.Waits()
		if err = f.Read(frame); err != nil {
			break
		}
		if f.Waits() == waits {
			all = append(all, frame...)
		}
	}
	if err != io.EOF {
		t.Errorf("Read = %v, want io.EOF", err)
	}
	if n := len(all) / frameSamples; n < 50 || n > 51 { // the last sample's neighbour may begin another frame
		t.Errorf("%d frames, want 50", n)
	}
	if p := purity(all[frameSamples:49*frameSamples], toneHz); p < 0.99 {
		t.Errorf("the tone has purity %.3f, want 1", p)
	}
}

// wavTone is one second of a tone, 44.1 kHz stereo, 16 bit.
func wavTone(t *testing.T) []byte {
	t.Helper()
	const rate = 44100
	data := make([]byte, 0, rate*4)
	for i := range rate {
		v := int16(16000 * math.Sin(2*math.Pi*toneHz*float64(i)/rate))
		for range 2 {
			data = append(data, byte(v), byte(v>>8))
		}
	}
	le := func(v uint32, n int) []byte { return []byte{byte(v), byte(v >> 8), byte(v >> 16), byte(v >> 24)}[:n] }
	var b bytes.Buffer
	b.WriteString("RIFF")
	b.Write(le(uint32(36+len(data)), 4))
	b.WriteString("WAVEfmt ")
	for _, f := range [][]byte{le(16, 4), le(1, 2), le(2, 2), le(rate, 4), le(rate*4, 4), le(4, 2), le(16, 2)} {
		b.Write(f)
	}
	b.WriteString("data")
	b.Write(le(uint32(len(data)), 4))
	b.Write(data)
	return b.Bytes()
}
