package codec

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Why a file is no WAV that we read. Errors of a WAVReader wrap one of these, or
// the error of the reader below it.
var (
	// ErrNotWAV: the bytes do not begin as a RIFF WAVE file does.
	ErrNotWAV = errors.New("not a WAV file")
	// ErrWAVRF64: a WAV file of the 64-bit kind (EBU Tech 3306), or a big-endian one.
	ErrWAVRF64 = errors.New("RF64 and other variants of WAV are not supported")
	// ErrWAVHeader: the header contradicts itself or comes in the wrong order.
	ErrWAVHeader = errors.New("damaged WAV header")
	// ErrWAVEncoding: the sound is compressed, or has an unusual sample size.
	ErrWAVEncoding = errors.New("WAV encoding is not supported")
	// ErrWAVChannels: not 1 to 8 channels.
	ErrWAVChannels = errors.New("WAV channel count is not supported")
	// ErrWAVRate: the sample rate is not within 8000 to 192000 Hz.
	ErrWAVRate = errors.New("WAV sample rate is not supported")
	// ErrTruncated: the file ends before its header says so.
	ErrTruncated = errors.New("WAV file is cut short")
)

const (
	formatPCM        = 1
	formatFloat      = 3
	formatExtensible = 0xfffe

	maxWAVChannels = 8
	maxFormatBytes = 1 << 10 // fmt chunks have 16, 18 or 40 bytes

	// endlessData is the least data length that means "to the end of the file":
	// espeak and sox write 0x7ffff000 into a pipe, arecord 0x80000000, ffmpeg
	// 0xffffffff. Others write 0. A real chunk of 2 GiB is read to the end too,
	// only its being cut goes unnoticed.
	endlessData = 0x7ffff000
)

// extensibleTail ends the GUID of each format that has a number (KSDATAFORMAT_SUBTYPE).
var extensibleTail = [14]byte{0, 0, 0, 0, 0x10, 0, 0x80, 0, 0, 0xaa, 0, 0x38, 0x9b, 0x71}

// WAVFormat is what the header of a WAV file says about its sound.
type WAVFormat struct {
	Rate     int   // Hz, 8000..192000
	Channels int   // 1..8
	Bits     int   // of a sample: 8, 16, 24 or 32
	Float    bool  // IEEE 754 samples, always of 32 bits
	Bytes    int64 // length of the sound, -1 if it runs to the end of the file
}

// blockBytes is the size of one sample of all channels.
func (f WAVFormat) blockBytes() int { return f.Channels * f.Bits / 8 }

// readWAVHeader reads up to the first byte of sound.
func readWAVHeader(r io.Reader) (WAVFormat, error) {
	var head [12]byte
	n, err := io.ReadFull(r, head[:])
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return WAVFormat{}, err
	}
	switch id := string(head[:4]); {
	case n >= 4 && (id == "RF64" || id == "BW64" || id == "RIFX"):
		return WAVFormat{}, fmt.Errorf("%w: %s", ErrWAVRF64, id)
	case n < len(head) || id != "RIFF" || string(head[8:]) != "WAVE":
		return WAVFormat{}, ErrNotWAV
	}
	// The RIFF length is not looked at: writers into a pipe cannot know it, and the
	// length of the data chunk says all.
	var format WAVFormat
	for {
		id, size, err := readChunkHeader(r)
		if err != nil {
			return WAVFormat{}, err
		}
		switch {
		case id == "data" && format.Rate == 0:
			return WAVFormat{}, fmt.Errorf("%w: data before fmt", ErrWAVHeader)
		case id == "data":
			format.Bytes = int64(size)
			if size == 0 || size >= endlessData {
				format.Bytes = -1
			}
			return format, nil
		case id == "fmt " && format.Rate != 0:
			return WAVFormat{}, fmt.Errorf("%w: two fmt chunks", ErrWAVHeader)
		case id == "fmt ":
			if format, err = readFormat(r, size); err != nil {
				return WAVFormat{}, err
			}
		default:
			if _, err := io.CopyN(io.Discard, r, padded(size)); err != nil {
				return WAVFormat{}, cutInHeader(err)
			}
		}
	}
}

func readChunkHeader(r io.Reader) (id string, size uint32, err error) {
	var head [8]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return "", 0, cutInHeader(err)
	}
	return string(head[:4]), binary.LittleEndian.Uint32(head[4:]), nil
}

// padded is a chunk's length in the file: chunks begin at even offsets.
func padded(size uint32) int64 { return int64(size) + int64(size&1) }

func cutInHeader(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: no sound before its end", ErrTruncated)
	}
	return err
}

// readFormat reads the fmt chunk: WAVEFORMAT, WAVEFORMATEX or WAVEFORMATEXTENSIBLE.
func readFormat(r io.Reader, size uint32) (WAVFormat, error) {
	if size < 16 || size > maxFormatBytes {
		return WAVFormat{}, fmt.Errorf("%w: fmt of %d bytes", ErrWAVHeader, size)
	}
	b := make([]byte, padded(size))
	if _, err := io.ReadFull(r, b); err != nil {
		return WAVFormat{}, cutInHeader(err)
	}
	tag := binary.LittleEndian.Uint16(b)
	rate := binary.LittleEndian.Uint32(b[4:])
	block := int(binary.LittleEndian.Uint16(b[12:]))
	f := WAVFormat{
		Channels: int(binary.LittleEndian.Uint16(b[2:])),
		Bits:     int(binary.LittleEndian.Uint16(b[14:])),
	}
	if tag == formatExtensible {
		if size < 40 {
			return WAVFormat{}, fmt.Errorf("%w: extensible fmt of %d bytes", ErrWAVHeader, size)
		}
		tag = binary.LittleEndian.Uint16(b[24:])
		if [14]byte(b[26:40]) != extensibleTail {
			return WAVFormat{}, fmt.Errorf("%w: format %x", ErrWAVEncoding, b[24:40])
		}
	}
	f.Float = tag == formatFloat
	switch {
	case tag != formatPCM && tag != formatFloat:
		return WAVFormat{}, fmt.Errorf("%w: format 0x%04x", ErrWAVEncoding, tag)
	case f.Channels < 1 || f.Channels > maxWAVChannels:
		return WAVFormat{}, fmt.Errorf("%w: %d", ErrWAVChannels, f.Channels)
	case rate < lowestRate || rate > highestRate:
		return WAVFormat{}, fmt.Errorf("%w: %d Hz", ErrWAVRate, rate)
	case f.Float && f.Bits != 32, f.Bits == 0, f.Bits%8 != 0, f.Bits > 32:
		return WAVFormat{}, fmt.Errorf("%w: %d bits", ErrWAVEncoding, f.Bits)
	case block != f.blockBytes():
		return WAVFormat{}, fmt.Errorf("%w: block align %d, want %d", ErrWAVHeader, block, f.blockBytes())
	}
	f.Rate = int(rate)
	return f, nil
}
