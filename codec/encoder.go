package codec

import (
	"errors"
	"fmt"

	"gopkg.in/hraban/opus.v2"
)

// Defaults and bounds of an EncoderConfig.
const (
	defaultBitrate = 32000 // hybrid, full band speech; below about 14 kbit/s it is cut at 8 kHz (measured)
	minBitrate     = 6000  // RFC 6716 §2.1.1
	maxBitrate     = 510000

	defaultComplexity = 5 // half the CPU of 10; the difference is not audible on a horn loudspeaker

	defaultFrames = 2 // 40 ms: halves the cost of headers and signatures
	maxFrames     = 3

	minFrameBytes = 40 // less a frame, and libopus sends frames without sound
)

// MaxPacketBytes is the bound on an Opus packet unless the configuration sets
// another: with 88 bytes of header and 20 of tag and MKI the UDP payload of a media
// packet stays within 548 bytes, which pass everywhere.
const MaxPacketBytes = 440

// EncoderConfig says how to encode. The zero value of each field means its default.
type EncoderConfig struct {
	// Bitrate is the mean in bits a second, 6000..510000; default 32000. The
	// encoder holds it by constrained VBR.
	Bitrate int
	// Complexity is libopus's effort, 1..10; default 5.
	Complexity int
	// FramesPerPacket is the number of 20 ms frames in a packet, 1..3; default 2.
	FramesPerPacket int
	// Music keeps everything down to 3 Hz and codes tones well. Without it libopus
	// is tuned for speech and removes what lies below some 60 to 100 Hz. Set it for
	// music, files and line-in, at 48 kbit/s or more.
	Music bool
	// MaxPacketBytes bounds every packet, 40 a frame to 1275; default 440. It wins
	// over Bitrate.
	MaxPacketBytes int
}

func (c EncoderConfig) withDefaults() EncoderConfig {
	for _, d := range []struct {
		field *int
		value int
	}{
		{&c.Bitrate, defaultBitrate},
		{&c.Complexity, defaultComplexity},
		{&c.FramesPerPacket, defaultFrames},
		{&c.MaxPacketBytes, MaxPacketBytes},
	} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	return c
}

// Validate reports every fault at once, or nil. Zero fields are valid.
func (c EncoderConfig) Validate() error {
	c = c.withDefaults()
	var faults []error
	for _, f := range []struct {
		name            string
		value, min, max int
	}{
		{"bitrate", c.Bitrate, minBitrate, maxBitrate},
		{"complexity", c.Complexity, 1, 10},
		{"frames per packet", c.FramesPerPacket, 1, maxFrames},
		{"packet bytes", c.MaxPacketBytes, minFrameBytes * max(1, min(c.FramesPerPacket, maxFrames)), maxFrameBytes},
	} {
		if f.value < f.min || f.value > f.max {
			faults = append(faults, fmt.Errorf("%s: %d, want %d to %d", f.name, f.value, f.min, f.max))
		}
	}
	return errors.Join(faults...)
}

// Encoder makes Opus packets from mono PCM at 48 kHz. Use it from one goroutine.
type Encoder struct {
	enc      *opus.Encoder
	samples  int // a packet
	maxBytes int
}

// NewEncoder returns an encoder, or an error that lists every fault of cfg.
func NewEncoder(cfg EncoderConfig) (*Encoder, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("configure Opus encoder: %w", err)
	}
	cfg = cfg.withDefaults()
	app := opus.AppVoIP
	if cfg.Music {
		app = opus.AppAudio
	}
	enc, err := opus.NewEncoder(SampleRate, 1, app)
	if err != nil {
		return nil, fmt.Errorf("create Opus encoder: %w", err)
	}
	if err := enc.SetBitrate(cfg.Bitrate); err != nil {
		return nil, fmt.Errorf("set Opus bitrate %d: %w", cfg.Bitrate, err)
	}
	if err := enc.SetComplexity(cfg.Complexity); err != nil {
		return nil, fmt.Errorf("set Opus complexity %d: %w", cfg.Complexity, err)
	}
	return &Encoder{enc: enc, samples: cfg.FramesPerPacket * FrameSamples, maxBytes: cfg.MaxPacketBytes}, nil
}

// PacketSamples is the number of samples that Encode takes: FramesPerPacket × 960.
func (e *Encoder) PacketSamples() int { return e.samples }

// MaxPacketBytes is the bound on a packet's size, and the least length of dst.
func (e *Encoder) MaxPacketBytes() int { return e.maxBytes }

// Encode writes one Opus packet into dst and returns its size, which is never
// above MaxPacketBytes. pcm holds PacketSamples samples in [-1,1]; louder ones
// may be clipped, and NaN silences its frame, at most its packet. len(dst) must be
// at least MaxPacketBytes; nothing behind that bound is touched. Both stay the
// caller's. It does not allocate. Errors wrap ErrBuffer, or are libopus's.
//
// libopus packs the frames itself (RFC 6716 §3.2). That is better than joining
// packets of 20 ms: it keeps one mode for the whole packet, which is required,
// since all frames share one TOC, and at low rates it uses SILK's own frames of
// 40 and 60 ms. A lost packet is the same span of sound either way.
func (e *Encoder) Encode(pcm []float32, dst []byte) (int, error) {
	if len(pcm) != e.samples {
		return 0, fmt.Errorf("encode Opus packet: %w: %d samples, want %d", ErrBuffer, len(pcm), e.samples)
	}
	if len(dst) < e.maxBytes {
		return 0, fmt.Errorf("encode Opus packet: %w: room for %d bytes, want %d", ErrBuffer, len(dst), e.maxBytes)
	}
	n, err := e.enc.EncodeFloat32(pcm, dst[:e.maxBytes:e.maxBytes])
	if err != nil {
		return 0, fmt.Errorf("encode Opus packet: %w", err)
	}
	return n, nil
}
