package codec

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
)

const (
	wavHeaderBytes = 44
	// wavWriteSamples is how much sound waits in memory: a quarter of a second, so
	// that a killed process loses no more, for eight system calls a second.
	wavWriteSamples = SampleRate / 4
)

// WAVFile is where a WAVWriter writes: an *os.File that is new or truncated, and
// not opened with O_APPEND.
type WAVFile interface {
	io.Writer
	io.WriterAt
}

// WAVWriter writes a WAV file of mono 16-bit PCM at 48 kHz, with a header of 44
// bytes, as the sound comes. The sizes in the header are brought up to date four
// times a second and by Flush, each time after the sound they count: the file is a
// whole WAV file at any moment, also when the process is killed. Use it from one
// goroutine.
type WAVWriter struct {
	f       WAVFile
	pending []byte
	written uint64 // bytes of sound in the file
	head    [wavHeaderBytes]byte
	failed  error // the first error; the file's end is unknown after it
}

// NewWAVWriter writes the header of an empty WAV file to f, which must be empty. f
// stays the caller's, who calls Flush and then closes it.
func NewWAVWriter(f WAVFile) (*WAVWriter, error) {
	w := &WAVWriter{f: f, pending: make([]byte, 0, 2*wavWriteSamples)}
	w.head = wavHeader(0)
	if _, err := f.Write(w.head[:]); err != nil {
		return nil, fmt.Errorf("write WAV header: %w", err)
	}
	return w, nil
}

// Write appends mono samples at 48 kHz; pcm stays the caller's. It does not
// allocate. After an error, which is the file's, every call returns that error.
func (w *WAVWriter) Write(pcm []int16) error {
	for _, s := range pcm {
		w.pending = binary.LittleEndian.AppendUint16(w.pending, uint16(s))
		if len(w.pending) == cap(w.pending) {
			if err := w.Flush(); err != nil {
				return err
			}
		}
	}
	return w.failed
}

// Flush writes what waits in memory, then the sizes in the header. It does not
// sync the disk: a power cut may lose what the system had not yet written.
func (w *WAVWriter) Flush() error {
	if w.failed != nil || len(w.pending) == 0 {
		return w.failed
	}
	n, err := w.f.Write(w.pending)
	w.written += uint64(n)
	w.pending = w.pending[:0]
	if err != nil {
		w.failed = fmt.Errorf("write WAV sound: %w", err)
		return w.failed
	}
	w.head = wavHeader(w.written)
	if _, err := w.f.WriteAt(w.head[:], 0); err != nil {
		w.failed = fmt.Errorf("update WAV header: %w", err)
	}
	return w.failed
}

// wavHeader is the canonical header of 44 bytes. From 4 GiB of sound on, after 12
// hours, it gives the lengths as 0xffffffff, which readers take as "to the end".
func wavHeader(bytes uint64) [wavHeaderBytes]byte {
	var h [wavHeaderBytes]byte
	le := binary.LittleEndian
	copy(h[:], "RIFF\x00\x00\x00\x00WAVEfmt ")
	le.PutUint32(h[4:], uint32(min(bytes+wavHeaderBytes-8, math.MaxUint32)))
	le.PutUint32(h[16:], 16)
	le.PutUint16(h[20:], formatPCM)
	le.PutUint16(h[22:], 1)
	le.PutUint32(h[24:], SampleRate)
	le.PutUint32(h[28:], 2*SampleRate)
	le.PutUint16(h[32:], 2)
	le.PutUint16(h[34:], 16)
	copy(h[36:], "data")
	le.PutUint32(h[40:], uint32(min(bytes, math.MaxUint32)))
	return h
}
