// Package codec turns sound into bytes and back: Opus over libopus, WAV files,
// and a resampler between clocks. Everything above it sees mono 48 kHz samples.
//
// It is the only package that may import gopkg.in/hraban/opus.v2, whose calls
// work on cap(buf) and not on len(buf): each call here passes a slice whose
// capacity ends where its length does, so libopus cannot write past the end.
// Packets are checked in Go (RFC 6716 §3.4) before C code sees a byte of them.
//
// It never starts a goroutine, reads a clock or logs, and it needs cgo: the
// streamer and the client may use it, a relay may not. No type here is safe for
// use by two goroutines at once.
package codec

import "errors"

const (
	// SampleRate is the rate of all PCM in this project, in Hz. It is also the
	// RTP clock of Opus (RFC 7587 §4.1).
	SampleRate = 48000

	// FrameSamples is the length of a 20 ms frame in samples per channel.
	FrameSamples = 960

	// PreSkip is how far what a Decoder returns lags behind what the Encoder was
	// given, in samples at 48 kHz: 120 of CELT overlap and 192 that the encoder
	// waits so that its modes line up (libopus OPUS_GET_LOOKAHEAD for the audio
	// and voip applications). Sample i of the decoder is sample i-PreSkip of the
	// programme; the player compensates.
	PreSkip = 312

	// maxPacketSamples is the longest packet that RFC 6716 §3.4 R5 allows: 120 ms.
	maxPacketSamples = 5760
)

var (
	// ErrPacket says that bytes are no Opus packet by RFC 6716 §3.4. The errors of
	// PacketSamples and of a Decoder wrap it and name the rule that was broken.
	ErrPacket = errors.New("malformed Opus packet")

	// ErrBuffer says that a caller's buffer has the wrong length for the call.
	ErrBuffer = errors.New("wrong buffer length")
)
