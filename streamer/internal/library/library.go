// Package library keeps sound files: each is decoded from end to end before it is accepted, stored under the hash of its
// content, and read back as mono PCM at 48 kHz. Nothing half read, half written or half understood is ever kept. It plays
// nothing; the streamer's api adds files and its session manager opens them.
//
// A WAV file stays as it came. Of any other format (Ogg, FLAC, MP3, M4A, 3GP, ADTS, AMR) the sound stays, as a WAV file
// that a child process, ffmpeg, made of it: a broadcast then begins at once and needs no ffmpeg, and whatever else the
// upload carried is gone.
package library

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math"
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

	ffmpeg string        // program, looked up in PATH for each file: it may be installed later
	wait   time.Duration // for one decoding
	most   time.Duration // of sound

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
	return &Library{
		root: root, records: records, log: log,
		ffmpeg: "ffmpeg", wait: decodeWait, most: MaxDuration,
		checking: make(chan struct{}, 1),
	}, nil
}

// Close lets go of the folder. Sounds that are open stay readable.
func (l *Library) Close() error { return l.root.Close() }

// Add takes a file from r, of at most MaxBytes and MaxDuration, decodes all of it and keeps it. Its first bytes tell its
// format; all but WAV need ffmpeg on this machine. name is what people call it, by the id of who adds it. Content that is
// there already is not stored again: the first record comes back.
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

func (l *Library) add(ctx context.Context, r io.Reader, a store.Audio) (store.Audio, error) {
	in, err := l.temporary()
	if err != nil {
		return store.Audio{}, err
	}
	defer l.discard(in)
	if a.ID, a.Bytes, err = receive(ctx, in.file, r); err != nil {
		return store.Audio{}, err
	}
	if known, err := l.records.Audio(ctx, a.ID); err == nil && l.has(known) {
		return known, nil
	} else if err != nil && !errors.Is(err, store.ErrNotFound) {
		return store.Audio{}, err
	}
	kind, frames, err := sniff(in.file, a.Bytes)
	if err != nil {
		return store.Audio{}, err
	}
	if kind == formatWAV {
		if a.Seconds, a.LUFS, err = l.check(ctx, in.file); err != nil {
			return store.Audio{}, err
		}
		return l.keep(ctx, in, place(a.ID), a)
	}
	if kind.demuxer() == "" {
		return store.Audio{}, refuseFormat(kind)
	}
	out, err := l.temporary()
	if err != nil {
		return store.Audio{}, err
	}
	defer l.discard(out)
	if a.Seconds, a.LUFS, err = l.convert(ctx, in.file, out.file, kind, frames, a.Bytes); err != nil {
		return store.Audio{}, err
	}
	return l.keep(ctx, out, decodedPlace(a.ID), a)
}

// unfinished is a file that a crash must not leave behind.
type unfinished struct {
	path string // in the library's folder
	file *os.File
}

func (l *Library) temporary() (unfinished, error) {
	path := path.Join(incoming, rand.Text())
	f, err := l.root.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	return unfinished{path, f}, err
}

// discard closes a file, and removes it unless it has been moved: what remains of a failure must not fill the disk.
func (l *Library) discard(u unfinished) {
	if err := u.file.Close(); err != nil {
		l.log.Warn("close audio", "path", u.path, "err", err)
	}
	if err := l.root.Remove(u.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		l.log.Warn("an unfinished upload stays on the disk", "path", u.path, "err", err)
	}
}

// keep makes a checked file last.
func (l *Library) keep(ctx context.Context, u unfinished, final string, a store.Audio) (store.Audio, error) {
	if err := u.file.Sync(); err != nil {
		return store.Audio{}, err
	}
	a.Created = time.Now()
	return l.place(ctx, u.path, final, a)
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

// check decodes a WAV file from end to end.
func (l *Library) check(ctx context.Context, f io.ReadSeeker) (seconds, lufs float64, err error) {
	if err := l.turn(ctx); err != nil {
		return 0, 0, err
	}
	defer func() { <-l.checking }()
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return 0, 0, err
	}
	return measure(contextReader{ctx, f}, l.most)
}

// convert decodes a file of another format into out, a WAV file.
func (l *Library) convert(ctx context.Context, in, out *os.File, kind format, frames, size int64) (seconds, lufs float64, err error) {
	declared, err := scan(in, size, kind, frames, l.most)
	if err != nil {
		return 0, 0, err
	}
	if err := l.turn(ctx); err != nil {
		return 0, 0, err
	}
	defer func() { <-l.checking }()
	if seconds, lufs, err = l.decode(ctx, in, out, kind.demuxer()); err == nil && seconds < declared-missing {
		err = errCut
		if kind == formatMP3 { // its bytes are all there
			err = errDamaged
		}
	}
	return seconds, lufs, err
}

// turn waits until no other file is decoded; who gets it takes one from l.checking in the end.
func (l *Library) turn(ctx context.Context) error {
	select {
	case l.checking <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
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
func (l *Library) place(ctx context.Context, temp, final string, a store.Audio) (store.Audio, error) {
	l.placing.Lock()
	defer l.placing.Unlock()
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
	f, err := l.open(a)
	return err == nil && f.Close() == nil
}

// open opens the file of a record, or returns an error that wraps ErrLost.
func (l *Library) open(a store.Audio) (*os.File, error) {
	if i, err := l.root.Lstat(place(a.ID)); err == nil {
		if !i.Mode().IsRegular() || i.Size() != a.Bytes {
			return nil, fmt.Errorf("%w: %d bytes, want %d", ErrLost, i.Size(), a.Bytes)
		}
		return l.openFile(place(a.ID))
	}
	i, err := l.root.Lstat(decodedPlace(a.ID))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrLost, err)
	}
	if !i.Mode().IsRegular() || i.Size() <= wavHeader || i.Size() > math.MaxUint32 {
		return nil, fmt.Errorf("%w: %d bytes", ErrLost, i.Size())
	}
	f, err := l.openFile(decodedPlace(a.ID))
	if err != nil {
		return nil, err
	}
	var b [wavHeader]byte // it says how long we made it; the record has the length of the upload
	if _, err := f.ReadAt(b[:], 0); err != nil || !bytes.Equal(b[:], wavHead(uint32(i.Size()-wavHeader))) {
		return nil, errors.Join(fmt.Errorf("%w: another length than its header says", ErrLost), f.Close())
	}
	return f, nil
}

func (l *Library) openFile(path string) (*os.File, error) {
	f, err := l.root.Open(path)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrLost, err)
	}
	return f, nil
}

// place is where the WAV file of an id lies in the folder; the id must be valid. Two levels keep folders small.
func place(id string) string { return path.Join(id[:2], id[2:4], id+".wav") }

// decodedPlace is where the sound of a file lies that came in another format.
func decodedPlace(id string) string { return path.Join(id[:2], id[2:4], id+".decoded.wav") }

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
