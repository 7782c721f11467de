package library

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"dongthanh/codec"
)

// format is what a file is by its first bytes; its name says nothing.
type format int

const (
	formatUnknown format = iota
	formatWAV            // codec reads it, ffmpeg never sees it
	formatOgg            // RFC 3533: Opus, Vorbis, FLAC
	formatFLAC           // RFC 9639
	formatMP3
	formatMP4 // ISO 14496-12: M4A, 3GP, MP4, MOV
	formatADTS
	formatAMR // RFC 4867 §5
	formatHTML
	formatZIP
)

// demuxer is ffmpeg's name of the format; "" where ffmpeg is not asked.
func (f format) demuxer() string {
	switch f {
	case formatOgg:
		return "ogg"
	case formatFLAC:
		return "flac"
	case formatMP3:
		return "mp3"
	case formatMP4:
		return "mov"
	case formatADTS:
		return "aac"
	case formatAMR:
		return "amr"
	}
	return ""
}

// Demuxer returns ffmpeg's name for what begins with head, some 64 bytes, or "" if it is no sound that is known. What
// begins within a frame, as radio does, is not recognised.
func Demuxer(head []byte) string {
	switch f := formatOf(head); {
	case f == formatWAV && bytes.HasPrefix(head, []byte("RIFF")):
		return "wav"
	case bytes.HasPrefix(head, []byte("ID3")):
		return formatMP3.demuxer()
	default:
		return f.demuxer()
	}
}

const (
	sniffBytes = 64
	// maxParts bounds the pages or boxes of a file: two hours in pages of 20 ms are 360 000.
	maxParts = 1 << 20
)

// sniff tells the format of a file of that many bytes, and where its first frame lies: behind an ID3v2 tag, if it has one.
func sniff(r io.ReaderAt, size int64) (format, int64, error) {
	head, err := peek(r, 0)
	if err != nil {
		return formatUnknown, 0, err
	}
	if len(head) < 10 || string(head[:3]) != "ID3" || head[3] < 2 || head[3] > 4 {
		return formatOf(head), 0, nil
	}
	// ID3v2.4 §3.1: a length of four times seven bits, after the ten bytes of the header.
	at := int64(10) + int64(head[6]&0x7f)<<21 + int64(head[7]&0x7f)<<14 + int64(head[8]&0x7f)<<7 + int64(head[9]&0x7f)
	if at >= size {
		return formatMP3, 0, nil // nothing behind the tag: the decoder will say so
	}
	if head, err = peek(r, at); err != nil {
		return formatUnknown, 0, err
	}
	if f := formatOf(head); f == formatFLAC || f == formatADTS {
		return f, at, nil
	}
	return formatMP3, at, nil
}

// peek reads up to sniffBytes at an offset.
func peek(r io.ReaderAt, at int64) ([]byte, error) {
	b := make([]byte, sniffBytes)
	n, err := r.ReadAt(b, at)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return b[:n], nil
}

func formatOf(head []byte) format {
	begins := func(magic string) bool { return bytes.HasPrefix(head, []byte(magic)) }
	switch {
	case begins("RIFF"), begins("RF64"), begins("BW64"), begins("RIFX"):
		return formatWAV
	case begins("OggS"):
		return formatOgg
	case begins("fLaC"):
		return formatFLAC
	case begins("#!AMR\n"), begins("#!AMR-WB\n"):
		return formatAMR
	case begins("PK\x03\x04"), begins("PK\x05\x06"):
		return formatZIP
	case len(head) >= 12 && string(head[4:8]) == "ftyp":
		return formatMP4
	case len(head) >= 4 && head[0] == 0xff && head[1]&0xf6 == 0xf0: // 12 bits of sync, layer 0
		return formatADTS
	case len(head) >= 4 && head[0] == 0xff && head[1]&0xe6 == 0xe2 && head[1]&0x18 != 0x08 &&
		head[2]>>4 != 15 && head[2]&0x0c != 0x0c: // 11 bits of sync, layer III, nothing reserved
		return formatMP3
	}
	text := bytes.ToLower(bytes.TrimLeft(bytes.TrimPrefix(head, []byte("\xef\xbb\xbf")), " \t\r\n"))
	for _, tag := range []string{"<html", "<!doctype", "<script", "<?xml", "<svg", "<head", "<body"} {
		if bytes.HasPrefix(text, []byte(tag)) {
			return formatHTML
		}
	}
	return formatUnknown
}

// scan looks at the skeleton of a file that ffmpeg will decode, for what ffmpeg forgives: an end that is missing. It
// refuses what says by itself that it is too long, which saves decoding it. seconds is what the file declares where that
// can be relied on, else 0.
//
// An MP3 without a Xing header, ADTS and AMR do not say where they end: cut between two frames they are merely shorter.
func scan(r io.ReaderAt, size int64, f format, at int64, most time.Duration) (seconds float64, err error) {
	switch f {
	case formatOgg:
		seconds, err = scanOgg(r, size)
	case formatFLAC:
		seconds, err = scanFLAC(r, at)
	case formatMP3:
		seconds, err = scanMP3(r, size, at)
	case formatMP4:
		return 0, scanMP4(r, size)
	}
	if err == nil && seconds > most.Seconds() {
		err = errTooLong
	}
	if f == formatOgg {
		return 0, err // a chained file begins anew: good enough to refuse, not to compare
	}
	return seconds, err
}

var errCut = &Refusal{
	fmt.Errorf("%w: not a whole file", codec.ErrTruncated),
	"Tệp âm thanh bị cắt cụt, thiếu phần sau. Hãy tải lên lại tệp đầy đủ.",
}

// scanOgg walks the pages (RFC 3533 §6). The last one must be whole and must say that it is the last; of an Opus stream
// the positions give the length, in samples at 48 kHz (RFC 7845 §4).
func scanOgg(r io.ReaderAt, size int64) (seconds float64, err error) {
	const (
		header      = 27
		endOfStream = 4
	)
	var (
		page  [header + 255]byte
		pages int
		last  byte
		opus  bool
		begin int64 = -1
		end   int64
	)
	for at := int64(0); at < size; {
		n, err := r.ReadAt(page[:], at)
		if err != nil && !errors.Is(err, io.EOF) {
			return 0, err
		}
		if n >= 4 && string(page[:4]) != "OggS" {
			if last&endOfStream != 0 {
				break // something else behind the end
			}
			return 0, damaged("no Ogg page at byte %d", at)
		}
		if n < header || n < header+int(page[26]) {
			return 0, errCut
		}
		if pages++; pages > maxParts {
			return 0, damaged("over %d Ogg pages", maxParts)
		}
		body := int64(header) + int64(page[26])
		if at == 0 && n >= int(body)+8 {
			opus = string(page[body:body+8]) == "OpusHead"
		}
		for _, segment := range page[header:body] {
			body += int64(segment)
		}
		if at += body; at > size {
			return 0, errCut
		}
		last = page[5]
		if position := int64(binary.LittleEndian.Uint64(page[6:])); position > 0 { // -1: no packet ends here
			if begin < 0 {
				begin = position
			}
			end = position
		}
	}
	if last&endOfStream == 0 {
		return 0, errCut
	}
	if opus && begin >= 0 {
		return float64(end-begin) / codec.SampleRate, nil
	}
	return 0, nil
}

// scanFLAC reads the stream's length from STREAMINFO, which comes first (RFC 9639 §8.2); 0 if the encoder did not know.
func scanFLAC(r io.ReaderAt, at int64) (seconds float64, err error) {
	var b [4 + 4 + 18]byte
	if _, err := r.ReadAt(b[:], at); errors.Is(err, io.EOF) {
		return 0, errCut
	} else if err != nil {
		return 0, err
	}
	v := binary.BigEndian.Uint64(b[18:]) // 20 bits of rate, 3 of channels, 5 of sample size, 36 of samples
	rate, samples := v>>44, v&(1<<36-1)
	if b[4]&0x7f != 0 || rate == 0 {
		return 0, errDamaged
	}
	return float64(samples) / float64(rate), nil
}

// scanMP3 compares the length in bytes that a Xing or Info header gives, if there is one, with what is there, and returns
// the least that its number of frames can sound.
func scanMP3(r io.ReaderAt, size, at int64) (seconds float64, err error) {
	const (
		frame   = 1441 // bytes of the longest; some encoders count one more than they write
		trimmed = 0.2  // seconds at most that the encoder added: 2 × 4095 samples, beside the header's own frame
	)
	var b [200]byte
	n, err := r.ReadAt(b[:], at)
	if err != nil && !errors.Is(err, io.EOF) {
		return 0, err
	}
	i := max(bytes.Index(b[:n], []byte("Xing")), bytes.Index(b[:n], []byte("Info")))
	if i < 4 || i+16 > n {
		return 0, nil
	}
	flags, i := binary.BigEndian.Uint32(b[i+4:]), i+8
	if flags&1 != 0 {
		rate, samples := []float64{44100, 48000, 32000, 44100}[b[2]>>2&3], 1152.0
		if b[1]&0x08 == 0 { // MPEG-2: half of both
			rate, samples = rate/2, samples/2
		}
		if b[1]&0x18 == 0 { // MPEG-2.5: half the rate again
			rate /= 2
		}
		seconds = max(0, float64(binary.BigEndian.Uint32(b[i:]))*samples/rate-trimmed*max(1, 44100/rate))
		i += 4
	}
	if flags&2 != 0 && int64(binary.BigEndian.Uint32(b[i:])) > size-at+frame {
		return 0, errCut
	}
	return seconds, nil
}

// scanMP4 walks the outermost boxes (ISO 14496-12 §4.2): none may reach beyond the end, and there must be a moov.
func scanMP4(r io.ReaderAt, size int64) error {
	var b [16]byte
	moov := false
	for at, boxes := int64(0), 0; at < size; boxes++ {
		n, err := r.ReadAt(b[:], at)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if n < 8 {
			break // less than a box: padding of some writers
		}
		length, kind := int64(binary.BigEndian.Uint32(b[:])), string(b[4:8])
		switch {
		case length == 0: // to the end of the file
			length = size - at
		case length == 1 && n == len(b):
			length = int64(min(binary.BigEndian.Uint64(b[8:]), 1<<62))
		}
		switch {
		case length < 8:
			return damaged("box of %d bytes", length)
		case boxes > maxParts:
			return damaged("over %d boxes", maxParts)
		case length > size-at:
			return errCut
		}
		moov = moov || kind == "moov"
		at += length
	}
	if !moov {
		return errCut // phones write it last
	}
	return nil
}
