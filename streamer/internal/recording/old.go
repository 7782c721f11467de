package recording

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"

	"dongthanh/streamer/internal/store"
)

// restFor is how long a recording is left alone after somebody has read of it.
const restFor = 10 * time.Minute

// prune removes recordings that are older than they are kept, and the oldest beyond the budget. Those that are being
// listened to stay until the next time.
func (r *Recorder) prune(ctx context.Context) {
	r.pruning.Lock()
	defer r.pruning.Unlock()
	list, err := r.Records.Recordings(ctx)
	if err != nil {
		r.Log.Error("look for old recordings", "error", err)
		return
	}
	total := int64(0)
	for _, x := range list {
		total += x.Bytes
	}
	now := time.Now()
	oldest := now.AddDate(0, 0, -r.Config.KeepDays)
	for _, x := range list {
		reason := ""
		switch {
		case x.Recorded.Before(oldest):
			reason = "age"
		case total > r.Config.MaxBytes:
			reason = "budget"
		}
		if reason == "" || r.inUse(x.Session, now) {
			continue
		}
		if err := r.remove(ctx, x, now); err != nil {
			r.Log.Error("remove old recording", "session", x.Session, "error", err)
			continue
		}
		total -= x.Bytes
		r.metrics.removed.WithLabelValues(reason).Inc()
		r.Log.Info("old recording removed", "session", x.Session, "reason", reason, "recorded", x.Recorded, "bytes", x.Bytes)
	}
	r.metrics.bytes.Set(float64(total))
}

func (r *Recorder) inUse(session string, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	u, ok := r.uses[session]
	if ok && u.now == 0 && now.Sub(u.last) > restFor {
		delete(r.uses, session)
		return false
	}
	return ok
}

// remove notes that a file is gone before it is: what a crash leaves between the two, the next start removes.
func (r *Recorder) remove(ctx context.Context, x store.Recording, now time.Time) error {
	if err := r.Records.RemoveRecording(ctx, x.Session, now); err != nil {
		return err
	}
	name, ok := place(x.Session)
	if !ok {
		return nil
	}
	if err := r.root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// mend makes whole what a crash left in the tree of recordings, and removes files whose record says that they are gone. A
// folder that the disk does not give is passed over: for the sake of old sound nobody must be kept from speaking.
func (r *Recorder) mend(ctx context.Context, tree fs.FS) error {
	kept, err := r.Records.Recordings(ctx)
	if err != nil {
		return err
	}
	known := map[string]bool{}
	for _, x := range kept {
		known[x.Session] = true
	}
	return fs.WalkDir(tree, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			r.Log.Error("look through the recordings", "name", name, "error", err)
			return fs.SkipDir
		}
		if d.IsDir() {
			return nil
		}
		session, unfinished := strings.CutSuffix(path.Base(name), part)
		session, ogg := strings.CutSuffix(session, extension)
		if want, ok := place(session); !ogg || !ok || want != strings.TrimSuffix(name, part) {
			r.Log.Warn("a file among the recordings is none", "name", name)
			return nil
		}
		if known[session] && !unfinished {
			return nil
		}
		if err := r.adopt(ctx, strings.TrimSuffix(name, part), session, unfinished); err != nil {
			r.Log.Error("recording left by a crash", "session", session, "error", err)
		}
		return nil
	})
}

// adopt makes one file whole and stores its record.
func (r *Recorder) adopt(ctx context.Context, name, session string, unfinished bool) error {
	x, err := r.Records.Recording(ctx, session)
	if err == nil && !x.Removed.IsZero() {
		return r.root.Remove(name)
	}
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	if !unfinished { // it only lacks its record
		if err := r.root.Rename(name, name+part); err != nil {
			return err
		}
	}
	f, err := r.root.OpenFile(name+part, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	i, err := f.Stat()
	if err != nil {
		return err
	}
	x, err = r.complete(f, name, session, 0)
	if errors.Is(err, ErrNone) {
		return nil
	}
	if err != nil {
		return err
	}
	x.Recorded = i.ModTime() // when its last sound was written
	if err := r.Records.AddRecording(ctx, x); err != nil {
		return fmt.Errorf("store its record: %w", err)
	}
	r.Log.Info("recording finished that a crash left", "session", session, "seconds", x.Seconds)
	return nil
}
