package session

import (
	"context"
	"errors"
	"fmt"
	"time"

	"dongthanh/codec"
	"dongthanh/internal/signed"
	"dongthanh/streamer/internal/ingest"
	"dongthanh/streamer/internal/library"
	"dongthanh/streamer/internal/store"
)

// Source kinds that a request can name.
const (
	SourceFile    = "file"
	SourceBrowser = "browser"
	SourceWHIP    = "whip" // a WebRTC program: a mixer, a line; what it sends is not taken for a voice
	SourceRTP     = "rtp"  // a line-in
	SourceURL     = "url"  // a radio's stream or a file by http
	SourceSpeech  = "tts"  // text that is spoken
)

// kinds are all of them.
var kinds = []string{SourceFile, SourceBrowser, SourceWHIP, SourceRTP, SourceURL, SourceSpeech}

// Library opens the audio of a SourceFile.
type Library interface {
	Open(ctx context.Context, id string) (*library.Sound, error)
}

// Lines opens the line-in of a SourceRTP.
type Lines interface {
	Open(ingest.LineOptions) (*ingest.Line, error)
}

// Radio opens the address of a SourceURL.
type Radio interface {
	Open(ctx context.Context, address string) (ingest.Source, error)
}

// Speaker speaks the text of a SourceSpeech.
type Speaker interface {
	Speak(ctx context.Context, text string, urgent bool) (*codec.WAVReader, error)
}

// open opens what a request names as its source, and notes how loud a file is; nil for a microphone, which comes by
// Attach.
func (m *Manager) open(ctx context.Context, r *Request) (ingest.Source, error) {
	switch r.Source {
	case SourceFile:
		sound, err := m.Library.Open(ctx, r.Audio)
		if errors.Is(err, store.ErrNotFound) || errors.Is(err, library.ErrLost) {
			err = fmt.Errorf("%w: %w", ErrAudio, err)
		}
		if err != nil {
			return nil, err
		}
		r.lufs = sound.Audio().LUFS
		return ingest.NewFile(sound, sound), nil
	case SourceRTP:
		line, err := m.Lines.Open(r.Line)
		if err != nil {
			return nil, err
		}
		return line, nil
	case SourceURL:
		return m.Radio.Open(ctx, r.URL)
	case SourceSpeech:
		sound, err := m.Speaker.Speak(ctx, r.Text, r.Class == signed.ClassEmergency)
		if err != nil {
			return nil, err
		}
		return ingest.NewFile(sound, nil), nil
	}
	return nil, nil
}

// soundWait is how long a source that is there may take to its first sound. Whoever starts a line-in's sender by hand
// has to read the port first.
func (c Config) soundWait(source string) time.Duration {
	if source == SourceRTP {
		return c.LineWait
	}
	return startWait
}
