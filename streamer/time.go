package main

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"time"

	"dongthanh/internal/clock"
	"dongthanh/internal/mediaclock"
	"dongthanh/streamer/internal/store"
)

// Network time must not go back at a restart: nodes hold on to the time they have been told under a signature, and
// would find every sample of a streamer that lives in their past too late. So the streamer notes the time now and
// then, and begins no earlier than its last note.
const (
	timeSetting = "network_time_ns"
	noteEvery   = 5 * time.Second
	// sane bounds how far ahead of the wall clock a note may lie to be believed. Beyond it the wall clock was wrong
	// when the note was made, and nodes find their way back within a minute.
	sane = 24 * time.Hour
)

// openTime returns network time: the wall clock, or the last note where that lies later.
func openTime(ctx context.Context, st *store.Store, wall time.Time, log *slog.Logger) (clock.Root, error) {
	text, err := st.Setting(ctx, timeSetting)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return clock.Root{}, err
	}
	if ns, err := strconv.ParseInt(text, 10, 64); err == nil {
		switch noted := time.Unix(0, ns); {
		case noted.Sub(wall) > sane:
			log.Warn("network time goes back: the wall clock was wrong before, or is wrong now", "by", noted.Sub(wall))
		case noted.After(wall):
			log.Warn("the wall clock has gone back; network time goes on from where it was", "by", noted.Sub(wall))
			wall = noted.Add(noteEvery) // it may have run on for as long after the note
		}
	}
	return clock.NewRoot(mediaclock.NewMonotonic(), wall), nil
}

// noteTime notes network time until ctx ends. A disk that fails is logged once: it costs nothing but a later restart.
func noteTime(ctx context.Context, st *store.Store, root clock.Root, log *slog.Logger) error {
	tick := time.NewTicker(noteEvery)
	defer tick.Stop()
	failing := false
	for {
		limit, cancel := context.WithTimeout(ctx, noteEvery)
		err := st.SetSetting(limit, timeSetting, strconv.FormatInt(int64(root.Now()), 10))
		cancel()
		if err != nil && !failing && ctx.Err() == nil {
			log.Error("note network time", "error", err)
		}
		failing = err != nil
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}
