package codec

import "fmt"

// Limits of RFC 6716 §3.
const (
	maxFrameBytes   = 1275 // §3.2.1 and §3.4 R2
	firstTwoByteLen = 252  // §3.2.1: from here on a length takes two bytes
	paddingChained  = 255  // §3.2.5: 254 bytes of padding, and another length byte follows
)

// One value a rule, made once: a hostile sender must not be able to make us allocate.
var (
	errEmptyPacket  = fmt.Errorf("%w: no TOC byte (R1)", ErrPacket)
	errFrameTooLong = fmt.Errorf("%w: frame longer than 1275 bytes (R2)", ErrPacket)
	errOddHalves    = fmt.Errorf("%w: two equal frames in an odd number of bytes (R3)", ErrPacket)
	errFirstLength  = fmt.Errorf("%w: length of the first of two frames (R4)", ErrPacket)
	errFrameCount   = fmt.Errorf("%w: no frame, or more than 120 ms (R5)", ErrPacket)
	errEqualFrames  = fmt.Errorf("%w: bytes do not divide into equal frames (R6)", ErrPacket)
	errCode3Header  = fmt.Errorf("%w: frame count or padding cut short (R6, R7)", ErrPacket)
	errFrameLengths = fmt.Errorf("%w: frame lengths exceed the packet (R7)", ErrPacket)
)

// TOC is what the first bytes of an Opus packet say about it (RFC 6716 §3.1, §3.2).
type TOC struct {
	Config       int  // 0..31, table 2: 0-11 SILK, 12-15 hybrid, 16-31 CELT
	Stereo       bool // two coded channels; a Decoder mixes them down
	Frames       int  // 1..48
	FrameSamples int  // samples per channel of one frame at 48 kHz: 120..2880
}

// Samples is the packet's length in samples per channel at 48 kHz, at most 5760.
func (t TOC) Samples() int { return t.Frames * t.FrameSamples }

// PacketSamples returns the length of an Opus packet in samples per channel at
// 48 kHz. It accepts exactly the packets that libopus accepts: all of RFC 6716
// §3.1 to §3.4 is checked, R1 to R7. Errors wrap ErrPacket. It does not allocate
// and keeps nothing of packet.
func PacketSamples(packet []byte) (int, error) {
	t, err := ParseTOC(packet)
	return t.Samples(), err
}

// ParseTOC checks the framing of a whole Opus packet (RFC 6716 §3.1 to §3.4, R1
// to R7) and returns what its header says. The compressed frames themselves are
// not looked at: any bytes decode to some sound. Errors wrap ErrPacket, and the
// TOC is then zero. It does not allocate and keeps nothing of packet.
func ParseTOC(packet []byte) (TOC, error) {
	if len(packet) == 0 {
		return TOC{}, errEmptyPacket
	}
	t := TOC{Config: int(packet[0] >> 3), Stereo: packet[0]&4 != 0}
	t.FrameSamples = frameSamples(t.Config)
	var err error
	switch body := packet[1:]; packet[0] & 3 {
	case 0:
		t.Frames = 1
		err = checkFrame(len(body))
	case 1:
		t.Frames = 2
		if len(body)%2 != 0 {
			return TOC{}, errOddHalves
		}
		err = checkFrame(len(body) / 2)
	case 2:
		t.Frames = 2
		err = checkTwoFrames(body)
	case 3:
		t.Frames, err = checkManyFrames(body, t.FrameSamples)
	}
	if err != nil {
		return TOC{}, err
	}
	return t, nil
}

// frameSamples is table 2 of RFC 6716 in samples at 48 kHz.
func frameSamples(config int) int {
	switch {
	case config < 12: // SILK: 10, 20, 40, 60 ms
		return [4]int{480, 960, 1920, 2880}[config&3]
	case config < 16: // hybrid: 10, 20 ms
		return 480 << (config & 1)
	default: // CELT: 2.5, 5, 10, 20 ms
		return 120 << (config & 3)
	}
}

func checkFrame(size int) error {
	if size > maxFrameBytes {
		return errFrameTooLong
	}
	return nil
}

// frameLength reads a frame length of one or two bytes (§3.2.1). used is 0 when
// the length itself is cut short.
func frameLength(b []byte) (size, used int) {
	switch {
	case len(b) >= 1 && b[0] < firstTwoByteLen:
		return int(b[0]), 1
	case len(b) >= 2:
		return 4*int(b[1]) + int(b[0]), 2
	}
	return 0, 0
}

// checkTwoFrames checks code 2: a length, the first frame, the second (§3.2.4).
func checkTwoFrames(b []byte) error {
	first, used := frameLength(b)
	rest := len(b) - used - first
	if used == 0 || rest < 0 {
		return errFirstLength
	}
	return checkFrame(rest)
}

// checkManyFrames checks code 3 (§3.2.5) and returns its number of frames.
func checkManyFrames(b []byte, frameSamples int) (int, error) {
	if len(b) == 0 {
		return 0, errCode3Header
	}
	vbr, padded, count := b[0]&0x80 != 0, b[0]&0x40 != 0, int(b[0]&0x3f)
	b = b[1:]
	if count == 0 || count*frameSamples > maxPacketSamples {
		return 0, errFrameCount
	}
	for padded {
		if len(b) == 0 {
			return 0, errCode3Header
		}
		pad := int(b[0])
		b = b[1:]
		if padded = pad == paddingChained; padded {
			pad--
		}
		if pad > len(b) {
			return 0, errCode3Header
		}
		b = b[:len(b)-pad] // padding stands at the end of the packet
	}
	if !vbr {
		if len(b)%count != 0 {
			return 0, errEqualFrames
		}
		return count, checkFrame(len(b) / count)
	}
	frames := 0 // bytes of all frames but the last
	for range count - 1 {
		size, used := frameLength(b)
		if used == 0 {
			return 0, errFrameLengths
		}
		frames += size
		b = b[used:]
	}
	if frames > len(b) {
		return 0, errFrameLengths
	}
	return count, checkFrame(len(b) - frames)
}
