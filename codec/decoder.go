package codec

import (
	"fmt"

	"gopkg.in/hraban/opus.v2"
)

// maxConcealSamples is the longest gap that one call conceals: 60 ms. Beyond it
// libopus's guess is no longer like the sound that is missing.
const maxConcealSamples = 3 * FrameSamples

// Decoder turns Opus packets into mono PCM at 48 kHz, and makes up for missing
// ones. Stereo packets are mixed down. The int16 and float32 calls may be mixed.
// Use it from one goroutine.
type Decoder struct {
	dec *opus.Decoder
}

// NewDecoder returns a decoder that has heard nothing yet.
func NewDecoder() (*Decoder, error) {
	dec, err := opus.NewDecoder(SampleRate, 1)
	if err != nil {
		return nil, fmt.Errorf("create Opus decoder: %w", err)
	}
	return &Decoder{dec: dec}, nil
}

// Reset forgets all sound heard, as NewDecoder does. It allocates (hraban/opus
// has no reset of a decoder), so call it between streams and not between packets.
func (d *Decoder) Reset() error {
	fresh, err := NewDecoder()
	if err != nil {
		return fmt.Errorf("reset Opus decoder: %w", err)
	}
	*d = *fresh
	return nil
}

// Decode writes the samples of one packet into pcm and returns their number. pcm
// must have room for PacketSamples(packet), at most 5760; what lies beyond is not
// touched. A malformed packet gives an error that wraps ErrPacket before libopus
// sees it; the decoder's state is then unchanged, and the caller may Conceal. It
// does not allocate unless it fails. Other errors wrap ErrBuffer or are libopus's.
func (d *Decoder) Decode(packet []byte, pcm []int16) (int, error) {
	n, err := decodable(packet, len(pcm))
	if err != nil {
		return 0, err
	}
	return decoded(d.dec.Decode(packet, pcm[:n:n]))
}

// DecodeFloat is Decode with samples in [-1,1], which may overshoot a little.
func (d *Decoder) DecodeFloat(packet []byte, pcm []float32) (int, error) {
	n, err := decodable(packet, len(pcm))
	if err != nil {
		return 0, err
	}
	return decoded(d.dec.DecodeFloat32(packet, pcm[:n:n]))
}

// Conceal fills pcm with a guess at the sound of packets that never came. len(pcm)
// must be 960, 1920 or 2880: exactly the missing span, since the decoder's state
// moves on by it. Successive calls fade out by themselves. Before the first packet
// the guess is silence. Errors wrap ErrBuffer or are libopus's.
func (d *Decoder) Conceal(pcm []int16) error {
	n, err := concealable(len(pcm))
	if err != nil {
		return err
	}
	return concealed(d.dec.DecodePLC(pcm[:n:n]))
}

// ConcealFloat is Conceal with samples in [-1,1].
func (d *Decoder) ConcealFloat(pcm []float32) error {
	n, err := concealable(len(pcm))
	if err != nil {
		return err
	}
	return concealed(d.dec.DecodePLCFloat32(pcm[:n:n]))
}

// RecoverFloat fills pcm as ConcealFloat does, with what the packet that follows the missing ones repeats of the last of
// them (in-band FEC, RFC 6716 §2.1.7): far closer than a guess where the sender put it in, the same guess where not. next
// is decoded afterwards as always. Errors wrap ErrPacket or ErrBuffer or are libopus's.
func (d *Decoder) RecoverFloat(next []byte, pcm []float32) error {
	n, err := concealable(len(pcm))
	if err != nil {
		return err
	}
	if _, err := PacketSamples(next); err != nil {
		return fmt.Errorf("recover lost packet: %w", err)
	}
	return concealed(d.dec.DecodeFECFloat32(next, pcm[:n:n]))
}

// decodable returns the number of samples in packet if it is well formed and fits.
func decodable(packet []byte, room int) (int, error) {
	n, err := PacketSamples(packet)
	if err != nil {
		return 0, fmt.Errorf("decode Opus packet of %d bytes: %w", len(packet), err)
	}
	if room < n {
		return 0, fmt.Errorf("decode Opus packet: %w: room for %d samples, want %d", ErrBuffer, room, n)
	}
	return n, nil
}

func decoded(n int, err error) (int, error) {
	if err != nil {
		return 0, fmt.Errorf("decode Opus packet: %w", err)
	}
	return n, nil
}

func concealable(n int) (int, error) {
	if n == 0 || n%FrameSamples != 0 || n > maxConcealSamples {
		return 0, fmt.Errorf("conceal lost packet: %w: %d samples, want 960, 1920 or 2880", ErrBuffer, n)
	}
	return n, nil
}

func concealed(err error) error {
	if err != nil {
		return fmt.Errorf("conceal lost packet: %w", err)
	}
	return nil
}
