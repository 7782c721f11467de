// Package testkit is for tests only: what several packages' tests need, and the tests that hold whole formats to
// other people's programs. No program imports it.
package testkit

import (
	"bytes"
	"sync"
)

// Journal is a log that is read while it is written. The zero value is empty and ready.
type Journal struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write adds p; it never fails.
func (j *Journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.b.Write(p)
}

// String returns everything written so far.
func (j *Journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.b.String()
}
