package device

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"dongthanh/codec"
	"dongthanh/internal/mediaclock"
)

// waiting is how many blocks may wait for the disk: 4 s. When it is slower the device waits for it, and runs dry.
const waiting = 400

// file is the virtual loudspeaker: it writes what would sound, silence included, in real time, to a WAV file, and
// beside it when that file's first sample sounds (INTERFACES §2).
type file struct {
	pace
	path string
}

// timing is the content of the file beside the WAV: sample i sounds at StartUnixNS + i/Rate on the wall clock.
type timing struct {
	StartUnixNS int64   `json:"start_unix_ns"`
	Rate        float64 `json:"rate"`
}

// Run replaces both files and writes until ctx ends.
func (f *file) Run(ctx context.Context, fill func(Block)) (err error) {
	start, wall := f.begin()
	out, err := f.create(timing{StartUnixNS: wall.UnixNano(), Rate: f.rate})
	if err != nil {
		return fmt.Errorf("open file device: %w", err)
	}
	defer func() {
		if fault := out.Close(); err == nil && fault != nil {
			err = fmt.Errorf("close file device: %w", fault)
		}
	}()
	wav, err := codec.NewWAVWriter(out)
	if err != nil {
		return fmt.Errorf("open file device: %w", err)
	}

	// The disk may stall; sound must not. A goroutine of its own writes, fed through a bounded queue.
	free, full := make(chan []int16, waiting), make(chan []int16, waiting)
	for range waiting {
		free <- make([]int16, blockSamples)
	}
	failed := make(chan error, 1)
	var wg sync.WaitGroup
	wg.Go(func() {
		for block := range full {
			if err := wav.Write(block); err != nil {
				failed <- err
				return
			}
			free <- block
		}
		failed <- wav.Flush()
	})
	err = f.run(ctx, start, fill, func(pcm []int16) error {
		select {
		case block := <-free:
			copy(block, pcm)
			full <- block
			return nil
		case err := <-failed:
			failed <- err
			return err
		case <-ctx.Done():
			return nil
		}
	})
	close(full)
	wg.Wait()
	if fault := <-failed; err == nil {
		err = fault
	}
	if err != nil {
		return fmt.Errorf("write file device: %w", err)
	}
	return nil
}

// begin chooses when sample 0 sounds, on both clocks: read together, so of several tries the quickest counts.
func (f *file) begin() (mediaclock.Local, time.Time) {
	var start mediaclock.Local
	var wall time.Time
	best := time.Duration(1<<63 - 1)
	for range 5 {
		before := f.now()
		now := time.Now()
		after := f.now()
		if d := after.Sub(before); d < best {
			best, start, wall = d, before.Add(d/2), now
		}
	}
	return start.Add(2 * lead), wall.Add(2 * lead)
}

// create replaces both files: the one that tells the time is whole before the sound begins.
func (f *file) create(t timing) (*os.File, error) {
	if err := os.MkdirAll(filepath.Dir(f.path), 0o755); err != nil {
		return nil, err
	}
	old, err := os.Lstat(f.path)
	switch {
	case errors.Is(err, os.ErrNotExist):
	case err != nil:
		return nil, err
	case !old.Mode().IsRegular():
		return nil, fmt.Errorf("%s is there and is no ordinary file", f.path)
	default:
		if err := os.Remove(f.path); err != nil {
			return nil, err
		}
	}
	text, err := json.Marshal(t)
	if err != nil {
		return nil, err
	}
	beside := f.path + ".json"
	if err := os.WriteFile(beside+".new", append(text, '\n'), 0o644); err != nil {
		return nil, err
	}
	if err := os.Rename(beside+".new", beside); err != nil {
		return nil, err
	}
	return os.OpenFile(f.path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
}
