package logging

import (
	"bytes"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// stuck is a writer that waits until it is let go.
type stuck struct {
	mu   sync.Mutex
	buf  bytes.Buffer
	free chan struct{}
}

func (s *stuck) Write(b []byte) (int, error) {
	<-s.free
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.Write(b)
}

func (s *stuck) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.String()
}

func TestQueueNeverWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &stuck{free: make(chan struct{})}
		q := NewQueue(w)
		line := []byte(strings.Repeat("a", 1023) + "\n")
		begun := time.Now()
		const lines = 2000
		for range lines {
			if n, err := q.Write(line); n != len(line) || err != nil {
				t.Fatalf("Write = %d, %v", n, err)
			}
		}
		if took := time.Since(begun); took != 0 {
			t.Errorf("a stuck reader held the log for %v", took)
		}
		close(w.free)
		synctest.Wait()
		if _, err := q.Write([]byte("at last\n")); err != nil {
			t.Fatal(err)
		}
		q.Close(time.Second)
		got := strings.Split(strings.TrimSpace(w.text()), "\n")
		kept := 0
		for _, l := range got {
			if l == strings.Repeat("a", 1023) {
				kept++
			}
		}
		if kept < queueBytes/1024-1 || kept >= lines {
			t.Errorf("%d of %d lines came through, want what the queue holds", kept, lines)
		}
		if tail := got[len(got)-2:]; !strings.HasSuffix(tail[0], "log lines were lost: the log's reader is too slow") || tail[1] != "at last" {
			t.Errorf("the end is %q, want the count of what was lost and the last line", tail)
		}
	})
}

func TestQueueClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &stuck{free: make(chan struct{})}
		close(w.free)
		q := NewQueue(w)
		for range 100 {
			_, _ = q.Write([]byte("line\n"))
		}
		q.Close(time.Second)
		if got := strings.Count(w.text(), "line\n"); got != 100 {
			t.Errorf("%d lines are written at the end, want 100", got)
		}
		_, _ = q.Write([]byte("too late\n"))

		w = &stuck{free: make(chan struct{})}
		q = NewQueue(w)
		_, _ = q.Write([]byte("never read\n"))
		begun := time.Now()
		q.Close(time.Second)
		if took := time.Since(begun); took != time.Second {
			t.Errorf("Close waited %v for a stuck reader, want 1 s", took)
		}
		close(w.free)
	})
}
