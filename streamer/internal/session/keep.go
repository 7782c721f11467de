package session

import (
	"context"
	"errors"
	"time"

	"dongthanh/streamer/internal/store"
)

const (
	recordEvery = 2 * time.Second
	storeAgain  = 5 * time.Second // before an end that could not be written is tried again
)

// keep brings the record on disk up to date: the first packet, who hears the session, the end. It is apart from run,
// since a database that hangs must hold neither the sound nor its end.
func (l *live) keep() {
	tick := time.NewTicker(recordEvery)
	defer tick.Stop()
	for aired := l.aired; ; {
		select {
		case <-aired:
			aired = nil // once
			l.goLive()
		case <-tick.C:
			if aired == nil {
				l.count()
			}
		case <-l.silenced:
			if aired != nil && !l.first.IsZero() {
				l.goLive() // the first packet was the last
			}
			l.conclude()
			return
		}
	}
}

// goLive records the first packet.
func (l *live) goLive() {
	x := l.set(func(x *store.Session) {
		if x.State == store.SessionStarting {
			x.State, x.Started = store.SessionLive, l.first
		}
	})
	l.save("set live", func(ctx context.Context) error {
		return errors.Join(l.m.Records.SetTransmission(ctx, x.ID, x.Transmission, x.Fence), l.m.Records.SetLive(ctx, x.ID, x.Started))
	})
}

// count records how many hear the session, if they have become more.
func (l *live) count() {
	before := l.record()
	expected, hearing := l.m.Audience.Count(before.ID)
	if over(before) || (hearing <= before.Heard && expected == before.Expected) {
		return
	}
	x := l.set(func(x *store.Session) { x.Expected, x.Heard = expected, max(x.Heard, hearing) })
	l.save("record listeners", func(ctx context.Context) error {
		return l.m.Records.RecordListeners(ctx, x.ID, x.Expected, x.Heard)
	})
}

// conclude records the end, and forgets the session once that is on disk: until then only the memory knows that it is
// over.
func (l *live) conclude() {
	x := l.record()
	for !l.save("end", func(ctx context.Context) error {
		if err := l.catchUp(ctx, x); err != nil {
			return err
		}
		return errors.Join(
			l.m.Records.EndSession(ctx, x.ID, x.State, x.Ended, x.EndedBy, x.EndReason),
			l.m.Records.RecordListeners(ctx, x.ID, x.Expected, x.Heard))
	}) {
		select {
		case <-time.After(storeAgain):
		case <-l.m.closed: // the next start will find it as interrupted
			return
		}
	}
	l.m.mu.Lock()
	delete(l.m.live, x.ID)
	l.m.mu.Unlock()
}

// catchUp writes the record of an emergency that began while the disk failed, and draws fences for those to come.
func (l *live) catchUp(ctx context.Context, x store.Session) error {
	if l.unrecorded {
		if _, _, err := l.m.Records.CreateSession(ctx, x, nil); err != nil {
			return err
		}
		l.unrecorded = false
		err := l.m.Records.SetTransmission(ctx, x.ID, x.Transmission, x.Fence)
		if !x.Started.IsZero() {
			err = errors.Join(err, l.m.Records.SetLive(ctx, x.ID, x.Started))
		}
		if err != nil {
			return err
		}
	}
	return l.m.fences.fill(ctx)
}

// save writes to the database and logs a failure: a disk that fails silences nobody. It reports whether to go on.
func (l *live) save(act string, write func(context.Context) error) bool {
	ctx, cancel := context.WithTimeout(context.Background(), storeWait)
	defer cancel()
	err := write(ctx)
	if err == nil || errors.Is(err, store.ErrConflict) || errors.Is(err, store.ErrNotFound) {
		return true // the record says so already, or is gone
	}
	l.m.Log.Error("session record", "act", act, "session", l.record().ID, "error", err)
	return false
}
