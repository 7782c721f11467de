package identity

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// Wallet holds the credentials of a node that runs, and renews them. Safe for concurrent use; Credentials never waits.
type Wallet struct {
	dir      string
	renewing sync.Mutex // held while the files change
	current  atomic.Pointer[Credentials]
}

// NewWallet holds what was loaded from dir.
func NewWallet(dir string, c *Credentials) *Wallet {
	w := &Wallet{dir: dir}
	w.current.Store(c)
	return w
}

// Credentials are those in force.
func (w *Wallet) Credentials() *Credentials { return w.current.Load() }

// Renew puts a chain in force that Credentials.Renew accepts, and stores it as Credentials.Save does. changed is false
// where it was in force already. If only the disk fails, it is in force until a restart, and the error says so beside
// changed being true: the streamer sends it again then.
func (w *Wallet) Renew(chain [][]byte, now time.Time) (changed bool, err error) {
	w.renewing.Lock()
	defer w.renewing.Unlock()
	old := w.current.Load()
	c, err := old.Renew(chain, now)
	if err != nil || c == old {
		return false, err
	}
	err = c.Save(w.dir)
	w.current.Store(c)
	if err != nil {
		return true, fmt.Errorf("keep the new certificate (it holds until a restart): %w", err)
	}
	return true, nil
}
