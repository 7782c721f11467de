package codec

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// OggFile is what FinishOgg works on: an *os.File opened for reading and writing.
type OggFile interface {
	io.ReadWriteSeeker
	io.WriterAt
	Truncate(size int64) error
}

// OggInfo is what an Ogg file of an OggWriter holds.
type OggInfo struct {
	Bytes   int64
	Samples int64 // of programme at 48 kHz, gaps included
	Missing int64 // of these, sound that is missing
}

// errOggEnd says that no whole page follows.
var errOggEnd = errors.New("no whole page")

// FinishOgg makes a file of an OggWriter whole: it cuts off what follows the last whole page, which is what a crash or a
// full disk leaves behind, and marks that page as the last (RFC 3533 §6). It may be done twice, and needs no room on the
// disk. A file without a whole page of sound holds 0 samples and is left as it is.
func FinishOgg(f OggFile) (OggInfo, error) {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return OggInfo{}, fmt.Errorf("finish Ogg file: %w", err)
	}
	var (
		info OggInfo
		r    = bufio.NewReaderSize(f, 1<<16)
		last []byte // the newest page
		at   int64  // where it begins
		p    oggPage
	)
	for n := 0; ; n++ {
		err := p.read(r)
		if errors.Is(err, errOggEnd) {
			break
		}
		if err != nil {
			return OggInfo{}, fmt.Errorf("finish Ogg file: %w", err)
		}
		if n >= 2 { // after the headers
			samples, missing := p.samples()
			info.Samples += samples
			info.Missing += missing
		}
		at, last = info.Bytes, append(last[:0], p.raw...)
		info.Bytes += int64(len(p.raw))
	}
	if info.Samples == 0 {
		return OggInfo{}, nil
	}
	info.Samples = max(info.Samples-PreSkip, 0)
	last[5] |= oggLast
	clear(last[oggCRCOffset : oggCRCOffset+4])
	binary.LittleEndian.PutUint32(last[oggCRCOffset:], oggCRC(last))
	_, err := f.WriteAt(last, at)
	if err = errors.Join(err, f.Truncate(info.Bytes)); err != nil {
		return OggInfo{}, fmt.Errorf("finish Ogg file: %w", err)
	}
	return info, nil
}

// oggPage is a page with nothing but whole packets, as an OggWriter makes them.
type oggPage struct {
	raw    []byte
	lacing []byte // in raw
	body   []byte // in raw
}

// read reads the next page; errOggEnd: there is none, or not all of it, or it is damaged.
func (p *oggPage) read(r *bufio.Reader) error {
	p.raw = append(p.raw[:0], make([]byte, oggHeaderBytes)...)
	if err := readOgg(r, p.raw); err != nil {
		return err
	}
	if string(p.raw[:5]) != "OggS\x00" || p.raw[5]&oggContinued != 0 {
		return errOggEnd
	}
	segments := int(p.raw[26])
	p.raw = append(p.raw, make([]byte, segments)...)
	if err := readOgg(r, p.raw[oggHeaderBytes:]); err != nil {
		return err
	}
	size := 0
	for _, n := range p.raw[oggHeaderBytes:] {
		size += int(n)
	}
	begin := len(p.raw)
	p.raw = append(p.raw, make([]byte, size)...)
	p.lacing, p.body = p.raw[oggHeaderBytes:begin], p.raw[begin:]
	if err := readOgg(r, p.body); err != nil {
		return err
	}
	sum := binary.LittleEndian.Uint32(p.raw[oggCRCOffset:])
	clear(p.raw[oggCRCOffset : oggCRCOffset+4])
	if oggCRC(p.raw) != sum {
		return errOggEnd
	}
	binary.LittleEndian.PutUint32(p.raw[oggCRCOffset:], sum)
	return nil
}

// readOgg fills b; errOggEnd where the file ends before.
func readOgg(r io.Reader, b []byte) error {
	_, err := io.ReadFull(r, b)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errOggEnd
	}
	return err
}

// samples counts the sound of the page's packets, and how much of it is missing: packets of empty frames.
func (p *oggPage) samples() (all, missing int64) {
	rest, size := p.body, 0
	for _, n := range p.lacing {
		size += int(n)
		if n == 255 {
			continue
		}
		packet := rest[:size]
		rest, size = rest[size:], 0
		toc, err := ParseTOC(packet)
		if err != nil {
			continue // no OggWriter wrote it
		}
		all += int64(toc.Samples())
		if len(packet) == 1 || len(packet) == 2 && packet[0]&3 == 3 {
			missing += int64(toc.Samples())
		}
	}
	return all, missing
}
