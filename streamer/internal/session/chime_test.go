package session

import (
	"io"
	"testing"
	"time"

	"dongthanh/streamer/internal/store"
)

// TestChime: a chime makes a file's session longer by itself, and is not there unless asked for. What a microphone says
// meanwhile is lost, so that its session does not become longer.
func TestChime(t *testing.T) {
	inTime(t, func(t *testing.T, b *bed) {
		packets := func(r Request) int {
			before := len(b.sink.now().media)
			x := b.begin(r)
			if r.Source == SourceBrowser {
				src, _ := speaker(3, io.EOF)
				b.must(b.Attach(x.ID, src))
			}
			b.until(x.ID, store.SessionEnded)
			time.Sleep(time.Second)
			return len(b.sink.now().media) - before
		}
		for name, c := range map[string]struct {
			request Request
			more    int
		}{"a file": {b.file(3, "31/11296"), 50}, "a microphone": {browser("31/11296"), 0}} {
			plain := packets(c.request)
			c.request.Chime = true
			if got := packets(c.request) - plain; got != c.more {
				t.Errorf("%s: the chime adds %d packets, want %d", name, got, c.more)
			}
		}
	})
}
