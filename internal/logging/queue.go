package logging

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// queueBytes bounds the lines that wait for a log's reader: some thousand of them.
const queueBytes = 512 << 10

// Queue takes lines for a writer that may be slow or stuck, such as a pipe whose reader hangs, and never makes its
// caller wait: sound must not stop for a log. When the queue is full the newest line is lost, and counted in a line of
// its own once there is room: what led to the trouble says more than its repetitions.
type Queue struct {
	to   io.Writer
	wake chan struct{} // holds one
	done chan struct{} // closed when the writer has ended

	mu     sync.Mutex // guards what follows
	lines  []byte
	lost   int
	closed bool
}

// NewQueue starts the writer. Close it in the end.
func NewQueue(to io.Writer) *Queue {
	q := &Queue{to: to, wake: make(chan struct{}, 1), done: make(chan struct{})}
	go q.run()
	return q
}

// Write takes a copy of one or more whole lines. It never fails and never waits.
func (q *Queue) Write(line []byte) (int, error) {
	q.mu.Lock()
	switch {
	case q.closed:
	case len(q.lines)+len(line) > queueBytes:
		q.lost++
	default:
		if q.lost > 0 {
			q.lines = fmt.Appendf(q.lines, "%d log lines were lost: the log's reader is too slow\n", q.lost)
			q.lost = 0
		}
		q.lines = append(q.lines, line...)
	}
	q.mu.Unlock()
	q.poke()
	return len(line), nil
}

// Close writes what waits, for as long as within at most, and ends the writer. A writer that is stuck for longer is left
// to the end of the process.
func (q *Queue) Close(within time.Duration) {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	q.poke()
	select {
	case <-q.done:
	case <-time.After(within):
	}
}

// file returns the file behind the queue, whose kind decides how a log looks; nil if there is none.
func (q *Queue) file() *os.File {
	f, _ := q.to.(*os.File)
	return f
}

func (q *Queue) poke() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// run writes until the queue is closed and empty.
func (q *Queue) run() {
	defer close(q.done)
	for range q.wake {
		for {
			q.mu.Lock()
			lines, closed := q.lines, q.closed
			q.lines = nil
			q.mu.Unlock()
			if len(lines) > 0 {
				_, _ = q.to.Write(lines) // a log that cannot be written has nobody to tell
				continue
			}
			if closed {
				return
			}
			break
		}
	}
}
