package session

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"dongthanh/internal/signed"
	"dongthanh/streamer/internal/store"
)

// fencesAhead is how many numbers for emergencies lie ready. More than that in one outage of the disk are counted on.
const fencesAhead = 8

// fences hands out fence numbers. Those of emergencies are drawn ahead, in order, so that an emergency sounds when the
// database cannot be written: a failed disk must silence nobody.
type fences struct {
	draw func(ctx context.Context, class string) (uint64, error)
	log  *slog.Logger

	mu    sync.Mutex // guards what follows
	ahead []uint64   // rising
	last  uint64     // the last one handed out
}

// fill draws until enough lie ready.
func (f *fences) fill(ctx context.Context) error {
	for {
		f.mu.Lock()
		short := len(f.ahead) < fencesAhead
		f.mu.Unlock()
		if !short {
			return nil
		}
		n, err := f.draw(ctx, ClassName(signed.ClassEmergency))
		if err != nil {
			return fmt.Errorf("draw fences ahead: %w", err)
		}
		f.mu.Lock()
		f.ahead = append(f.ahead, n)
		f.mu.Unlock()
	}
}

// next returns the fence of a new transmission. For an emergency it never fails and never waits.
func (f *fences) next(ctx context.Context, class string) (uint64, error) {
	if rank(class) < signed.ClassEmergency {
		return f.draw(ctx, class)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.ahead) == 0 {
		// Not drawn: another streamer may hand out the same. Loudspeakers then choose by transmission id, all alike.
		f.last++
		f.log.Error("the database has given no fence for long; counting on", "fence", f.last)
		return f.last, nil
	}
	f.last, f.ahead = f.ahead[0], f.ahead[1:]
	return f.last, nil
}

// diskFault reports whether an error of the store is the disk's fault and not the request's.
func diskFault(err error) bool {
	for _, of := range []error{store.ErrConflict, store.ErrUnknownZone, store.ErrInvalid, context.Canceled} {
		if errors.Is(err, of) {
			return false
		}
	}
	return err != nil
}
