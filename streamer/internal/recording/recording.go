// Package recording keeps the sound of every session as an Ogg Opus file: the encoder's own packets, never encoded again.
// It may lose sound where the disk is slow or full, says how much, and never holds up what is on air; it leaves the
// database room to write. It decides nothing about who may listen; the streamer's api asks that before it opens a file.
//
// A file is YYYY/MM/SESSION.ogg, dated by the session's id. While it is written, and until it is whole, its name ends in
// ".part": that is what a crash leaves behind, and what the next start makes whole.
package recording

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"dongthanh/internal/config"
	"dongthanh/streamer/internal/store"
	"dongthanh/streamer/internal/tap"
)

const (
	folder    = "recordings" // in the store's folder
	extension = ".ogg"
	part      = ".part" // after extension

	// QueuePackets is how much of a session may wait for the disk: 20 s of packets of 40 ms, so that a disk that pauses
	// costs nothing, in 230 kB.
	QueuePackets = 512

	// floor is what recordings leave free on the disk: as much as the database wants to see before it takes its reserve.
	floor = 256 << 20

	storeWait = 5 * time.Second
)

// ErrNone says that a session has no recording, or none any more.
var ErrNone = errors.New("no recording")

// Config is how long recordings are kept.
type Config struct {
	KeepDays int   `yaml:"keep_days"`
	MaxBytes int64 `yaml:"max_bytes"` // of all recordings; 0: nothing is recorded
}

// DefaultConfig keeps three whole months: no text we have read fixes a time for recordings, reports to the province are
// made by the quarter, and three months is what logs of a system of security level 3 are kept for (TCVN 11930:2017, from
// memory: to be checked against the standard). 20 GB are 700 hours of sound at 64 kbit/s.
func DefaultConfig() Config { return Config{KeepDays: 92, MaxBytes: 20_000_000_000} }

// Validate reports every fault.
func (c Config) Validate() (faults []config.Fault) {
	if c.KeepDays < 1 || c.KeepDays > 36500 {
		faults = append(faults, config.Faultf("keep_days", "%d, want 1 to 36500", c.KeepDays))
	}
	if c.MaxBytes < 0 {
		faults = append(faults, config.Faultf("max_bytes", "%d, want 0 (nothing is recorded) or more", c.MaxBytes))
	}
	return faults
}

// Records is the part of the store that recordings need; *store.Store has it.
type Records interface {
	AddRecording(ctx context.Context, x store.Recording) error
	Recording(ctx context.Context, session string) (store.Recording, error)
	Recordings(ctx context.Context) ([]store.Recording, error)
	RemoveRecording(ctx context.Context, session string, at time.Time) error
}

// Options are what a Recorder needs; all but Floor are required.
type Options struct {
	Dir     string // the store's
	Config  Config
	Records Records
	Log     *slog.Logger
	Metrics prometheus.Registerer
	Floor   uint64 // bytes that stay free on the disk; 0: 256 MB
}

// Recorder writes recordings, opens them and removes the oldest. Safe for concurrent use.
type Recorder struct {
	Options
	root    *os.Root // every path goes through it: no name and no link leads outside
	dir     string
	metrics metrics
	running sync.WaitGroup
	closing chan struct{}

	pruning sync.Mutex // held while old recordings are looked for and removed

	mu      sync.Mutex // guards what follows
	uses    map[string]use
	trouble Trouble
}

// Open opens the recordings in o.Dir, makes the folder where it is missing, and makes whole what a crash left unfinished.
// One program at a time may have it open.
func Open(ctx context.Context, o Options) (*Recorder, error) {
	if o.Floor == 0 {
		o.Floor = floor
	}
	r := &Recorder{Options: o, dir: filepath.Join(o.Dir, folder), uses: map[string]use{}, closing: make(chan struct{})}
	if err := os.MkdirAll(r.dir, 0o700); err != nil {
		return nil, fmt.Errorf("open recordings: %w", err)
	}
	var err error
	if r.root, err = os.OpenRoot(r.dir); err != nil {
		return nil, fmt.Errorf("open recordings: %w", err)
	}
	if err = r.mend(ctx, r.root.FS()); err == nil {
		r.metrics, err = newMetrics(o.Metrics)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open recordings %s: %w", r.dir, err), r.root.Close())
	}
	return r, nil
}

// Record begins to record a session from a queue of its tap, of QueuePackets, and returns at once. The recording ends
// with the queue.
func (r *Recorder) Record(x store.Session, q *tap.Queue) {
	if r.Config.MaxBytes == 0 {
		q.Leave()
		return
	}
	r.running.Go(func() { r.record(x, q) })
}

// Run removes old recordings and watches the disk until ctx ends.
func (r *Recorder) Run(ctx context.Context) error {
	look, old := time.NewTicker(time.Minute), time.NewTicker(time.Hour)
	defer look.Stop()
	defer old.Stop()
	r.prune(ctx)
	for {
		r.look()
		select {
		case <-ctx.Done():
			return nil
		case <-look.C:
		case <-old.C:
			r.prune(ctx)
		}
	}
}

// Close waits for the recordings that are being finished: every session must have ended. Files that are open stay
// readable.
func (r *Recorder) Close() error {
	close(r.closing)
	r.running.Wait()
	r.metrics.unregister(r.Metrics)
	return r.root.Close()
}

// Trouble is why recordings stopped.
type Trouble string

// The troubles.
const (
	TroubleNone  Trouble = ""
	TroubleDisk  Trouble = "disk"  // it is full, or nearly
	TroubleFault Trouble = "fault" // it does not take what is written
)

// Trouble tells whether recordings are being lost now; it is over once one begins well, or the disk has room again.
func (r *Recorder) Trouble() Trouble {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.trouble
}

func (r *Recorder) setTrouble(t Trouble) {
	r.mu.Lock()
	r.trouble = t
	r.mu.Unlock()
	r.metrics.trouble(t)
}

// look sets the trouble by what is free on the disk; another trouble stays until a recording begins well.
func (r *Recorder) look() {
	low := !r.room()
	if t := r.Trouble(); low != (t == TroubleDisk) {
		if low {
			r.setTrouble(TroubleDisk)
			r.Log.Error("recordings stop: the disk is nearly full", "dir", r.dir, "kept_free", r.Floor)
		} else {
			r.setTrouble(TroubleNone)
			r.Log.Info("recordings go on: the disk has room again", "dir", r.dir)
		}
	}
}

// room reports whether the disk has more than what stays free.
func (r *Recorder) room() bool {
	var disk syscall.Statfs_t
	if err := syscall.Statfs(r.dir, &disk); err != nil {
		return true // writing will tell
	}
	return disk.Bavail*uint64(disk.Bsize) > r.Floor // #nosec G115 -- a block size is positive
}

// place is where the recording of a session lies, by the month of the session's id (a UUID of version 7, RFC 9562). ok is
// false for what is no such id, whatever else it is: no path is made of it.
func place(session string) (name string, ok bool) {
	id, err := uuid.Parse(session)
	if err != nil || id.Version() != 7 || id.String() != session {
		return "", false
	}
	return path.Join(time.Unix(id.Time().UnixTime()).UTC().Format("2006/01"), session+extension), true
}

// use is who reads a recording.
type use struct {
	now  int
	last time.Time
}

// File is an open recording. It is not removed while it is open, nor soon after: a browser comes back for the next part.
type File struct {
	*os.File
	release func()
}

// Close closes the file; call it once.
func (f *File) Close() error {
	f.release()
	return f.File.Close()
}

// Open opens a session's recording with its record. ErrNone: there is none, or its file is gone.
func (r *Recorder) Open(ctx context.Context, session string) (*File, store.Recording, error) {
	name, ok := place(session)
	if !ok {
		return nil, store.Recording{}, fmt.Errorf("open recording %q: %w", session, ErrNone)
	}
	release := r.take(session)
	x, err := r.Records.Recording(ctx, session)
	if errors.Is(err, store.ErrNotFound) || err == nil && !x.Removed.IsZero() {
		err = ErrNone
	}
	var f *os.File
	if err == nil {
		if f, err = r.root.Open(name); errors.Is(err, fs.ErrNotExist) {
			r.Log.Error("a recording is gone from the disk", "session", session)
			err = ErrNone
		}
	}
	if err != nil {
		release()
		return nil, store.Recording{}, fmt.Errorf("open recording %s: %w", session, err)
	}
	return &File{File: f, release: release}, x, nil
}

// take keeps a recording from being removed until what it returns is called.
func (r *Recorder) take(session string) (release func()) {
	add := func(n int) {
		r.mu.Lock()
		defer r.mu.Unlock()
		u := r.uses[session]
		r.uses[session] = use{now: u.now + n, last: time.Now()}
	}
	add(1)
	return sync.OnceFunc(func() { add(-1) })
}
