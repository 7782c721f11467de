package library

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"dongthanh/codec"
	"dongthanh/streamer/internal/ingest"
	"dongthanh/streamer/internal/store"
)

// ErrLost says that the record is there, and the file is not or has another length.
var ErrLost = errors.New("audio file is lost or damaged")

// Sound reads one file of the library. Use it from one goroutine; Close it in the end.
type Sound struct {
	record store.Audio
	file   *os.File
	wav    *codec.WAVReader
}

// Open opens a file by its id: store.ErrNotFound, or ErrLost if the disk has lost it.
func (l *Library) Open(ctx context.Context, id string) (*Sound, error) {
	if len(id) != idLength || strings.Trim(id, "0123456789abcdef") != "" {
		return nil, fmt.Errorf("open audio %.80q: %w", id, store.ErrNotFound)
	}
	a, err := l.records.Audio(ctx, id)
	if err != nil {
		return nil, err
	}
	f, err := l.open(a)
	if err != nil {
		return nil, fmt.Errorf("open audio %s: %w", id, err)
	}
	wav, err := codec.NewWAVReader(f)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open audio %s: %w: %w", id, ErrLost, err), f.Close())
	}
	return &Sound{record: a, file: f, wav: wav}, nil
}

// Audio returns the record.
func (s *Sound) Audio() store.Audio { return s.record }

// Read fills pcm with the next mono samples at 48 kHz, in [-1,1] unless a float file exceeds it, and returns their
// number: less than len(pcm) only at the end. With 0 it returns io.EOF at the end, or what is wrong with the disk. It
// reads the disk some kilobytes at a time, so it may block: not for the path of a frame.
func (s *Sound) Read(pcm []float32) (int, error) { return s.wav.Read(pcm) }

// Close closes the file.
func (s *Sound) Close() error { return s.file.Close() }

// Source opens a file for a transmission, which reads ahead and never blocks; closing it closes the file. The answers
// are those of Open.
func (l *Library) Source(ctx context.Context, id string) (ingest.Source, error) {
	s, err := l.Open(ctx, id)
	if err != nil {
		return nil, err
	}
	return ingest.NewFile(s, s), nil
}
