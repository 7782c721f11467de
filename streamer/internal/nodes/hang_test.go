package nodes

import (
	"context"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"dongthanh/internal/zone"
	"dongthanh/streamer/internal/store"
)

// TestDatabaseHangs: while the records cannot be read, who has fallen silent still leaves the count.
func TestDatabaseHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var reads atomic.Int64
		p, err := New(ctx, Options{Log: slog.New(slog.DiscardHandler), Enrolled: func(ctx context.Context) ([]store.Node, error) {
			if reads.Add(1) > 1 {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			return []store.Node{enrolled(store.NodeClient, "a", "31/11296/01")}, nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error)
		go func() { done <- p.Run(ctx) }()
		p.Open(store.Session{ID: "S", Zones: []zone.Zone{"31"}, Transmission: [16]byte{1}})
		p.update(func(t *table) bool { return t.report(hears("a", 1), time.Now()) })
		p.Reload()
		time.Sleep(time.Second)
		if _, hearing := p.Count("S"); hearing != 1 || reads.Load() != 2 {
			t.Errorf("%d hear after %d reads, want one after two", hearing, reads.Load())
		}
		time.Sleep(Lease)
		if _, hearing := p.Count("S"); hearing != 0 {
			t.Errorf("%d hear although nothing was reported for %v", hearing, Lease+time.Second)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
