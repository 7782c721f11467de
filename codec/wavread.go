package codec

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
)

const (
	wavReadBlocks = 2048 // samples per channel in one read; a taste
	// maxFloatSample bounds float files, which may exceed full scale: 18 dB over.
	// The limiter takes care of what is over 1; of 1e38 nothing can.
	maxFloatSample = 8
)

// WAVReader reads the sound of a WAV file as mono PCM at 48 kHz, as a stream: PCM
// of 8, 16, 24 or 32 bits and float of 32, 1 to 8 channels (their mean is taken),
// 8000 to 192000 Hz (resampled; the first sample stays the first). Memory does not
// grow with the file. Use it from one goroutine.
type WAVReader struct {
	r      io.Reader
	format WAVFormat
	left   int64 // bytes of sound still to come, -1 if unknown
	raw    []byte
	mono   []float32 // at the file's rate, not yet handed on
	space  []float32 // what mono is a part of
	end    error     // why no more can be read; nil while more may come

	resampler *Resampler // nil at 48 kHz
}

// NewWAVReader reads the header from r and returns a reader of the sound, or an
// error that wraps one of ErrNotWAV, ErrWAVRF64, ErrWAVHeader, ErrWAVEncoding,
// ErrWAVChannels, ErrWAVRate, ErrTruncated, or r's own. r is read in pieces of
// some kilobytes, no further than the end of the sound; closing it stays with the
// caller, after the last Read.
func NewWAVReader(r io.Reader) (*WAVReader, error) {
	format, err := readWAVHeader(r)
	if err != nil {
		return nil, fmt.Errorf("read WAV header: %w", err)
	}
	w := &WAVReader{
		r: r, format: format, left: format.Bytes,
		raw: make([]byte, wavReadBlocks*format.blockBytes()),
	}
	if w.left > 0 { // bytes after the last whole sample are nobody's
		w.left -= w.left % int64(format.blockBytes())
	}
	if format.Rate != SampleRate {
		w.resampler, err = NewResampler(float64(format.Rate), SampleRate)
		if err != nil {
			return nil, fmt.Errorf("read WAV of %d Hz: %w", format.Rate, err)
		}
	}
	w.space = make([]float32, wavReadBlocks+w.tail())
	return w, nil
}

// ReadWAV reads a whole WAV file into mono PCM at 48 kHz. It is for short files:
// an hour takes 700 MB. If the file is cut short it returns what there is, and an
// error that wraps ErrTruncated.
func ReadWAV(r io.Reader) ([]float32, error) {
	w, err := NewWAVReader(r)
	if err != nil {
		return nil, err
	}
	var pcm []float32
	buf := make([]float32, SampleRate)
	for {
		n, err := w.Read(buf)
		pcm = append(pcm, buf[:n]...)
		if errors.Is(err, io.EOF) {
			return pcm, nil
		}
		if err != nil {
			return pcm, err
		}
	}
}

// tail is how many samples of silence must follow the sound for all of it to come
// out of the resampler.
func (w *WAVReader) tail() int {
	if w.resampler == nil {
		return 0
	}
	return w.resampler.Lookahead()
}

// Format returns what the header says.
func (w *WAVReader) Format() WAVFormat { return w.format }

// Read fills pcm with the next samples, in [-1,1] unless a float file exceeds it,
// and returns their number: less than len(pcm) only at the end. With 0 it returns
// io.EOF at the end of the sound, an error that wraps ErrTruncated where the file
// ended before its header said (whoever takes uploads must refuse such a file), or
// the error of the reader below; each call after that returns the same. It does
// not allocate unless it fails.
func (w *WAVReader) Read(pcm []float32) (int, error) {
	n := 0
	for n < len(pcm) {
		if len(w.mono) == 0 && w.end == nil {
			w.refill()
		}
		got := w.convert(pcm[n:])
		n += got
		if got == 0 && len(w.mono) == 0 && w.end != nil {
			break
		}
	}
	if n == 0 && len(pcm) > 0 {
		return 0, w.end
	}
	return n, nil
}

// convert moves samples from mono to pcm, by the resampler if there is one, and
// returns how many came out.
func (w *WAVReader) convert(pcm []float32) int {
	if w.resampler == nil {
		n := copy(pcm, w.mono)
		w.mono = w.mono[n:]
		return n
	}
	consumed, produced := w.resampler.Process(w.mono, pcm)
	w.mono = w.mono[consumed:]
	return produced
}

// refill reads the next blocks into mono; at the end it sets end and adds the tail.
func (w *WAVReader) refill() {
	want := len(w.raw)
	if w.left >= 0 {
		want = int(min(int64(want), w.left))
	}
	n, err := io.ReadFull(w.r, w.raw[:want])
	if w.left > 0 {
		w.left -= int64(n)
	}
	block := w.format.blockBytes()
	blocks := n / block
	for i := range blocks {
		w.space[i] = w.format.mix(w.raw[i*block : (i+1)*block])
	}
	switch {
	case err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF):
		w.end = fmt.Errorf("read WAV sound: %w", err)
	case err != nil && w.left > 0:
		w.end = fmt.Errorf("read WAV sound: %w: %d bytes missing", ErrTruncated, w.left)
	case err != nil || w.left == 0:
		w.end = io.EOF
	}
	w.mono = w.space[:blocks]
	if w.end != nil {
		w.mono = w.space[:blocks+w.tail()]
		clear(w.mono[blocks:])
	}
}

// mix returns the mean of the channels of one block.
func (f WAVFormat) mix(block []byte) float32 {
	size := f.Bits / 8
	var sum float32
	for i := 0; i < len(block); i += size {
		s := block[i : i+size]
		switch {
		case f.Float:
			sum += bounded(math.Float32frombits(binary.LittleEndian.Uint32(s)))
		case size == 1: // unsigned
			sum += (float32(s[0]) - 128) / (1 << 7)
		case size == 2:
			sum += float32(int16(binary.LittleEndian.Uint16(s))) / (1 << 15)
		case size == 3:
			sum += float32(int32(uint32(s[0])<<8|uint32(s[1])<<16|uint32(s[2])<<24)>>8) / (1 << 23)
		default:
			sum += float32(int32(binary.LittleEndian.Uint32(s))) / (1 << 31)
		}
	}
	return sum / float32(f.Channels)
}

// bounded makes any float a sample: NaN is silence.
func bounded(x float32) float32 {
	if x != x {
		return 0
	}
	return min(max(x, -maxFloatSample), maxFloatSample)
}
