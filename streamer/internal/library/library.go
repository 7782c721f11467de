// Package library keeps sound files: each is decoded from end to end before it is accepted, stored as it came under the
// hash of its content, and read back as mono PCM at 48 kHz. Nothing half read, half written or half understood is ever
// kept. It plays nothing; the streamer's api adds files and its session manager opens them.
package library

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"dongthanh/codec"
	"dongthanh/streamer/internal/store"
	"dongthanh/streamer/internal/voice"
)

const (
	// MaxBytes bounds a file. An hour of 16-bit mono at 24 kHz has 173 MB. Taste.
	MaxBytes = 200 << 20
	// MaxDuration bounds its sound, whatever the bytes: 200 MB of 8 kHz would sound for seven hours.
	MaxDuration = 2 * time.Hour

	folder   = "audio" // in the store's folder
	incoming = "tmp"   // in audio, so that a rename stays within one disk

	idLength = 2 * sha256.Size
)

// Records is the part of the store that the library needs; *store.Store has it.
type Records interface {
	AddAudio(ctx context.Context, a store.Audio) (store.Audio, error)
	Audio(ctx context.Context, id string) (store.Audio, error)
}

// Library is a folder of sound files with their records. Safe for concurrent use.
type Library struct {
	root    *os.Root // every path goes through it: no name and no link leads outside
	records Records
	log     *slog.Logger

	checking chan struct{} // holds one while a file is decoded: the other core belongs to what is on air
	placing  sync.Mutex    // held from putting a file in place until its record is stored
}

// Open opens the library in dir/audio and makes it where it is missing. Uploads that a crash left behind are removed.
// One program at a time may have it open. Close it in the end; records stay the caller's.
func Open(dir string, records Records, log *slog.Logger) (*Library, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	dir = filepath.Join(dir, folder)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open library: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open library: %w", err)
	}
	if err = root.RemoveAll(incoming); err == nil {
		err = root.Mkdir(incoming, 0o700)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open library %s: clear unfinished uploads: %w", dir, err), root.Close())
	}
	return &Library{root: root, records: records, log: log, checking: make(chan struct{}, 1)}, nil
}

// Close lets go of the folder. Sounds that are open stay readable.
func (l *Library) Close() error { return l.root.Close() }

// Add takes a WAV file from r, of at most MaxBytes and MaxDuration, decodes all of it and keeps it. name is what people
// call it, by the id of who adds it. Content that is there already is not stored again: the first record comes back.
//
// A file that is not accepted is a *Refusal, with a sentence for the official. A full disk is store.ErrFull. An error of
// r comes back wrapped. In each of these cases nothing is kept.
func (l *Library) Add(ctx context.Context, r io.Reader, name, by string) (store.Audio, error) {
	name = displayName(name)
	a, err := l.add(ctx, r, store.Audio{Name: name, CreatedBy: by})
	if err != nil {
		return store.Audio{}, fmt.Errorf("add audio %q: %w", name, full(err))
	}
	return a, nil
}

func (l *Library) add(ctx context.Context, r io.Reader, a store.Audio) (_ store.Audio, err error) {
	temp := path.Join(incoming, rand.Text())
	f, err := l.root.OpenFile(temp, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return store.Audio{}, err
	}
	defer func() {
		// After a success both have been done or were not needed; what remains of a failure must not fill the disk.
		if e := f.Close(); err == nil && e != nil {
			l.log.Warn("close audio", "id", a.ID, "err", e)
		}
		if e := l.root.Remove(temp); e != nil && !errors.Is(e, fs.ErrNotExist) {
			l.log.Warn("an unfinished upload stays on the disk", "path", temp, "err", e)
		}
	}()
	if a.ID, a.Bytes, err = receive(ctx, f, r); err != nil {
		return store.Audio{}, err
	}
	if known, err := l.records.Audio(ctx, a.ID); err == nil && l.has(known) {
		return known, nil
	} else if err != nil && !errors.Is(err, store.ErrNotFound) {
		return store.Audio{}, err
	}
	if a.Seconds, a.LUFS, err = l.check(ctx, f); err != nil {
		return store.Audio{}, err
	}
	if err := f.Sync(); err != nil {
		return store.Audio{}, err
	}
	a.Created = time.Now()
	return l.place(ctx, temp, a)
}

// receive copies r to f and returns the content's hash and length.
func receive(ctx context.Context, f io.Writer, r io.Reader) (id string, n int64, err error) {
	sum := sha256.New()
	n, err = io.Copy(io.MultiWriter(f, sum), io.LimitReader(contextReader{ctx, r}, MaxBytes+1))
	switch {
	case err != nil:
		return "", 0, err
	case n > MaxBytes:
		return "", 0, errTooLarge
	}
	return hex.EncodeToString(sum.Sum(nil)), n, nil
}

// check decodes the file from end to end.
func (l *Library) check(ctx context.Context, f io.ReadSeeker) (seconds, lufs float64, err error) {
	select {
	case l.checking <- struct{}{}:
		defer func() { <-l.checking }()
	case <-ctx.Done():
		return 0, 0, context.Cause(ctx)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return 0, 0, err
	}
	return measure(contextReader{ctx, f}, MaxDuration)
}

// measure returns length and loudness of a WAV file that sounds for at most the given time, or a *Refusal.
func measure(r io.Reader, most time.Duration) (seconds, lufs float64, err error) {
	wav, err := codec.NewWAVReader(r)
	if err != nil {
		return 0, 0, refuse(err, 0)
	}
	f := wav.Format() // may not know its length, but where it does there is no need to decode hours to see it
	if blocks := f.Bytes / int64(f.Channels*f.Bits/8); blocks > int64(most.Seconds()*float64(f.Rate)) {
		return 0, 0, errTooLong
	}
	loudness := voice.NewLoudness()
	pcm := make([]float32, codec.SampleRate)
	samples := 0
	for {
		n, err := wav.Read(pcm)
		samples += n
		length := time.Duration(samples) * time.Second / codec.SampleRate
		switch {
		case errors.Is(err, io.EOF) && samples == 0:
			return 0, 0, errEmpty
		case errors.Is(err, io.EOF):
			return length.Seconds(), loudness.Integrated(), nil
		case err != nil:
			return 0, 0, refuse(err, length)
		case length > most:
			return 0, 0, errTooLong
		}
		loudness.Add(pcm[:n])
	}
}

// place moves a checked file to its place and stores its record, both or neither.
func (l *Library) place(ctx context.Context, temp string, a store.Audio) (store.Audio, error) {
	l.placing.Lock()
	defer l.placing.Unlock()
	final := place(a.ID)
	_, err := l.root.Lstat(final)
	fresh := errors.Is(err, fs.ErrNotExist)
	if err := l.root.MkdirAll(path.Dir(final), 0o700); err != nil {
		return store.Audio{}, err
	}
	if err := l.root.Rename(temp, final); err != nil {
		return store.Audio{}, err
	}
	for dir := path.Dir(final); ; dir = path.Dir(dir) { // the names must survive a power cut as the bytes do
		if err := l.syncDir(dir); err != nil {
			return store.Audio{}, err
		}
		if dir == "." {
			break
		}
	}
	kept, err := l.records.AddAudio(ctx, a)
	if err != nil && fresh {
		if e := l.root.Remove(final); e != nil {
			l.log.Warn("a file without a record stays on the disk", "id", a.ID, "err", e)
		}
	}
	return kept, err
}

func (l *Library) syncDir(dir string) error {
	d, err := l.root.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// has reports whether the file of a record is there, whole as far as its length tells.
func (l *Library) has(a store.Audio) bool {
	i, err := l.root.Lstat(place(a.ID))
	return err == nil && i.Mode().IsRegular() && i.Size() == a.Bytes
}

// place is where the file of an id lies in the folder; the id must be valid. Two levels keep folders small.
func place(id string) string { return path.Join(id[:2], id[2:4], id+".wav") }

// full marks the system's errors of a full disk, or of a used-up quota, as the store marks them.
func full(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%w: %w", store.ErrFull, err)
	}
	return err
}

// contextReader ends with ctx.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c contextReader) Read(p []byte) (int, error) {
	if c.ctx.Err() != nil {
		return 0, context.Cause(c.ctx)
	}
	return c.r.Read(p)
}
