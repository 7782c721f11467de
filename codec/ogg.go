package codec

import (
	"encoding/binary"
	"fmt"
	"io"
)

const (
	oggHeaderBytes = 27 // of a page, before its segment table (RFC 3533 §6)
	oggCRCOffset   = 22
	oggSegments    = 255 // a page at most

	oggContinued = 1 // flags of a page
	oggFirst     = 2
	oggLast      = 4

	// oggPageSamples is how much sound a page holds: what a killed process had not written yet is half a second at most,
	// for two writes a second and 39 bytes of header each. RFC 7845 §3 recommends no more than one second.
	oggPageSamples = SampleRate / 2

	fillFrames = 6 // of 20 ms: the longest packet that stands for a gap (RFC 6716 §3.4 R5)
)

// OggWriter writes mono Opus packets as they come into an Ogg file (RFC 7845): a stream without a file's end, which can
// be played at any moment up to the last page written. FinishOgg makes it whole in the end, also after a crash. Use it
// from one goroutine.
type OggWriter struct {
	w       io.Writer
	serial  uint32
	pages   uint32
	toc     byte  // of the newest packet; 0: none yet
	written int64 // samples in pages that were written
	pending int64 // samples in the page being made
	lacing  []byte
	body    []byte
	failed  error // the first error; the file's end is unknown after it
}

// NewOggWriter writes the two header pages. serial names the stream; comments are "NAME=value" in UTF-8 (RFC 7845 §5.2),
// such as TITLE and DATE, of 60 kB in all. w stays the caller's.
func NewOggWriter(w io.Writer, serial uint32, comments []string) (*OggWriter, error) {
	o := &OggWriter{w: w, serial: serial, lacing: make([]byte, 0, oggSegments), body: make([]byte, 0, oggSegments*16)}
	head := append([]byte("OpusHead"), 1, 1) // version, channels
	head = binary.LittleEndian.AppendUint16(head, PreSkip)
	head = binary.LittleEndian.AppendUint32(head, SampleRate)
	head = append(head, 0, 0, 0) // gain, mapping family 0
	const vendor = "dongthanh"
	tags := binary.LittleEndian.AppendUint32([]byte("OpusTags"), uint32(len(vendor)))
	tags = append(tags, vendor...)
	tags = binary.LittleEndian.AppendUint32(tags, uint32(len(comments))) // #nosec G115 -- a handful
	for _, c := range comments {
		tags = binary.LittleEndian.AppendUint32(tags, uint32(len(c))) // #nosec G115 -- bounded below
		tags = append(tags, c...)
	}
	for i, packet := range [][]byte{head, tags} {
		if len(packet) > oggSegments*255-255 {
			return nil, fmt.Errorf("write Ogg comments: %d bytes do not fit in a page", len(packet))
		}
		o.add(packet)
		flags := byte(0)
		if i == 0 {
			flags = oggFirst
		}
		if err := o.page(flags); err != nil {
			return nil, err
		}
	}
	return o, nil
}

// Samples is how much sound the packets so far hold, in samples at 48 kHz, of which the first PreSkip are no programme.
func (o *OggWriter) Samples() int64 { return o.written + o.pending }

// Write appends an Opus packet, which stays the caller's. Errors wrap ErrPacket, or are the file's: then every later call
// returns the same.
func (o *OggWriter) Write(packet []byte) error {
	toc, err := ParseTOC(packet)
	if err != nil {
		return err
	}
	if err := o.append(packet, int64(toc.Samples())); err != nil {
		return err
	}
	o.toc = packet[0]
	return nil
}

// Skip stands for sound that is missing: packets of empty frames, on which a decoder conceals and then falls silent
// (RFC 7845 §4.1), so that what follows stands where it belongs. samples are a whole number of frames of 20 ms.
func (o *OggWriter) Skip(samples int64) error {
	if samples < 0 || samples%FrameSamples != 0 {
		return fmt.Errorf("skip %d samples: not a whole number of frames", samples)
	}
	fill := [2]byte{fillTOC(o.toc)}
	for left := samples / FrameSamples; left > 0; {
		n := min(left, fillFrames)
		fill[1] = byte(n) // of equal length, without padding: 0 bytes each (RFC 6716 §3.2.5)
		if err := o.append(fill[:], n*FrameSamples); err != nil {
			return err
		}
		left -= n
	}
	return nil
}

// fillTOC is the first byte of a packet of any number of 20 ms frames in the mode of another packet; 0: of none.
func fillTOC(toc byte) byte {
	config := int(toc >> 3)
	switch {
	case toc == 0:
		config = 31 // CELT, full band, 20 ms
	case config < 12: // SILK: 10, 20, 40, 60 ms
		config = config&^3 | 1
	case config < 16: // hybrid: 10, 20 ms
		config |= 1
	default:
		config |= 3
	}
	return byte(config)<<3 | 3 // mono, a number of frames that the next byte tells
}

func (o *OggWriter) append(packet []byte, samples int64) error {
	if o.failed != nil {
		return o.failed
	}
	if len(o.lacing)+len(packet)/255+1 > oggSegments {
		if err := o.page(0); err != nil {
			return err
		}
	}
	o.add(packet)
	o.pending += samples
	if o.pending >= oggPageSamples {
		return o.page(0)
	}
	return nil
}

// add puts a packet into the page being made (RFC 3533 §5).
func (o *OggWriter) add(packet []byte) {
	n := len(packet)
	for ; n >= 255; n -= 255 {
		o.lacing = append(o.lacing, 255)
	}
	o.lacing = append(o.lacing, byte(n))
	o.body = append(o.body, packet...)
}

// Flush writes the page that is being made, however short.
func (o *OggWriter) Flush() error {
	if o.failed != nil || len(o.lacing) == 0 {
		return o.failed
	}
	return o.page(0)
}

func (o *OggWriter) page(flags byte) error {
	p := make([]byte, oggHeaderBytes, oggHeaderBytes+len(o.lacing)+len(o.body))
	copy(p, "OggS")
	p[5] = flags
	binary.LittleEndian.PutUint64(p[6:], uint64(o.written+o.pending)) // #nosec G115 -- never negative
	binary.LittleEndian.PutUint32(p[14:], o.serial)
	binary.LittleEndian.PutUint32(p[18:], o.pages)
	p[26] = byte(len(o.lacing))
	p = append(append(p, o.lacing...), o.body...)
	binary.LittleEndian.PutUint32(p[oggCRCOffset:], oggCRC(p))
	if _, err := o.w.Write(p); err != nil {
		o.failed = fmt.Errorf("write Ogg page: %w", err)
		return o.failed
	}
	o.pages++
	o.written, o.pending = o.written+o.pending, 0
	o.lacing, o.body = o.lacing[:0], o.body[:0]
	return nil
}

// oggCRC is the checksum of a page whose own field is 0: polynomial 0x04c11db7, not reflected (RFC 3533 §6).
func oggCRC(page []byte) (crc uint32) {
	for _, b := range page {
		crc ^= uint32(b) << 24
		for range 8 {
			if crc&(1<<31) != 0 {
				crc = crc<<1 ^ 0x04c11db7
			} else {
				crc <<= 1
			}
		}
	}
	return crc
}
