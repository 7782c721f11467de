package link

import (
	"context"
	"errors"
	"time"

	"dongthanh/internal/identity"
)

const (
	// renewPatience is how long one upstream may take to be joined with a new certificate before the next one's turn.
	renewPatience = 10 * time.Second
	// flowOverlap is how long the flow before goes on beside the new one: until the upstream has proved the new address
	// it sends to the old one.
	flowOverlap = 2 * time.Second
)

// errRenewed ends a control connection that was made with the certificate before.
var errRenewed = errors.New("joining again with a new certificate")

// SetCredentials replaces the certificate that upstreams are shown, from the next handshake on. Those that were shown
// another one are joined anew, one after another; the flow of each goes on meanwhile, so that no sound is lost. Given
// the credentials that are in force, it looks after those upstreams again.
func (l *Links) SetCredentials(c *identity.Credentials) {
	l.own.Store(c)
	select {
	case l.renewed <- struct{}{}:
	default: // renew will see it
	}
}

// renew joins anew, whenever there is a new certificate, until ctx ends.
func (l *Links) renew(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.renewed:
		}
		for _, u := range l.ups {
			if ctx.Err() == nil {
				l.rejoin(ctx, u)
			}
		}
	}
}

// rejoin has an upstream joined anew if it was shown another certificate than the one in force, and waits for that.
func (l *Links) rejoin(ctx context.Context, u *upstream) {
	l.mu.Lock()
	conn := u.conn
	old := conn != nil && u.shown != l.own.Load()
	l.mu.Unlock()
	if !old { // one that is not joined will be shown the new one
		return
	}
	select {
	case <-u.again:
	default:
	}
	conn.Close(errRenewed)
	patience := time.NewTimer(renewPatience)
	defer patience.Stop()
	select {
	case <-ctx.Done():
	case <-patience.C:
	case <-u.again:
	}
}

// welcomed tells rejoin that upstream u has been joined with the credentials c.
func (l *Links) welcomed(u *upstream, c *identity.Credentials) {
	select {
	case u.again <- struct{}{}:
	default:
	}
	if c != l.own.Load() { // they were replaced while this join was under way
		l.SetCredentials(l.own.Load())
	}
}

// replaceFlow ends the flow before: at once, or after an overlap if the connection was only made again, which it reports.
func (l *Links) replaceFlow(u *upstream) (again bool) {
	l.mu.Lock()
	again = u.rejoining && u.flow != nil
	older := u.before
	if again {
		u.flow, u.before = nil, u.flow
		time.AfterFunc(flowOverlap, u.before.end) // ending it twice is no fault
	}
	l.mu.Unlock()
	if !again {
		l.endFlow(u)
	} else if older != nil {
		older.end()
	}
	return again
}

// parted takes a connection away that is to be made again at once; for the picker it still stands.
func (l *Links) parted(u *upstream) {
	l.mu.Lock()
	defer l.mu.Unlock()
	u.conn, u.rejoining = nil, true
}
