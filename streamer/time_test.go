package main

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"dongthanh/streamer/internal/store"
)

// TestNetworkTimeGoesOn restarts a streamer whose wall clock was moved meanwhile.
func TestNetworkTimeGoesOn(t *testing.T) {
	for _, c := range []struct {
		name  string
		moved time.Duration // of the wall clock, while the streamer was down
		want  time.Duration // of network time at the start, against that wall clock
	}{
		{"as it should be", time.Second, 0},
		{"an hour on", time.Hour, 0},
		{"an hour back", -time.Hour, time.Hour + noteEvery},
		{"two days back", -48 * time.Hour, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				log := slog.New(slog.DiscardHandler)
				st, err := store.Open(t.Context(), dir, log)
				if err != nil {
					t.Fatal(err)
				}
				defer st.Close()
				root, err := openTime(t.Context(), st, time.Now(), log)
				if err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan error, 1)
				go func() { done <- noteTime(ctx, st, root, log) }()
				time.Sleep(10*noteEvery + time.Millisecond)
				cancel()
				if err := <-done; err != nil {
					t.Fatal(err)
				}
				noted := time.Now().Add(-time.Millisecond)
				wall := noted.Add(c.moved)
				root, err = openTime(t.Context(), st, wall, log)
				if err != nil {
					t.Fatal(err)
				}
				if got := root.Now().Time().Sub(wall); got != c.want {
					t.Errorf("network time begins %v after the wall clock, want %v", got, c.want)
				}
			})
		})
	}
}
