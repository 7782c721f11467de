package nodes

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"dongthanh/internal/control"
	"dongthanh/internal/signed"
	"dongthanh/streamer/internal/store"
)

// Why a loudspeaker cannot be ordered; test with errors.Is.
var (
	ErrNotLoudspeaker = errors.New("the node is no loudspeaker")
	ErrOffline        = errors.New("the node is not connected")
	ErrOnAir          = errors.New("a session is on air for the node")
)

const (
	// toneValidity is how late a test tone may begin: whoever pressed the button listens for it now.
	toneValidity = 10 * time.Second
	// compareAfter is how long after an order a report that still tells another volume means that it was lost.
	compareAfter = 30 * time.Second
)

// ordered is the last order to a loudspeaker.
type ordered struct {
	number uint64
	at     time.Time // of the last with a volume
}

// TurnTo wishes a loudspeaker's volume, in hundredths of a decibel: recorded when it returns, and ordered at once if it is
// connected, else when it is again. store.ErrNotFound, store.ErrInvalid: out of range, ErrNotLoudspeaker.
func (p *Picture) TurnTo(ctx context.Context, node string, volume int32) error {
	if _, err := p.speaker(node); err != nil {
		return err
	}
	if err := p.SetVolume(ctx, node, volume); err != nil {
		return err
	}
	p.update(func(t *table) bool {
		n, ok := t.enrolled[node]
		if !ok {
			return false
		}
		n.Volume = volume
		t.enrolled[node] = n
		p.queue([]string{node}, dueVolume)
		return true
	})
	p.Reload() // a list that is being read may lack it
	return nil
}

// Tone has a loudspeaker sound the test tone once. store.ErrNotFound, store.ErrInvalid: longer than signed.MaxTone,
// ErrNotLoudspeaker, ErrOffline, ErrOnAir.
func (p *Picture) Tone(node string, d time.Duration) error {
	n, err := p.speaker(node)
	if err != nil {
		return err
	}
	p.mu.Lock()
	connected, onAir := len(p.table.links[node]) > 0, p.table.meant(node)
	p.mu.Unlock()
	switch {
	case d <= 0 || d > signed.MaxTone:
		return fmt.Errorf("%w: tone of %v", store.ErrInvalid, d)
	case !connected:
		return ErrOffline
	case onAir:
		return ErrOnAir
	}
	return p.send(n, signed.Order{ToneMS: uint16(d.Milliseconds())}, toneValidity)
}

// speaker returns a trusted loudspeaker.
func (p *Picture) speaker(id string) (store.Node, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n, ok := p.table.enrolled[id]
	switch {
	case !ok:
		return store.Node{}, fmt.Errorf("node %q: %w", id, store.ErrNotFound)
	case n.Kind != store.NodeClient:
		return store.Node{}, fmt.Errorf("node %q: %w", id, ErrNotLoudspeaker)
	}
	return n, nil
}

// meant reports whether a session is on air for a loudspeaker.
func (t *table) meant(id string) bool {
	for _, a := range t.sessions {
		if slices.Contains(a.expected, id) {
			return true
		}
	}
	return false
}

// orderVolume orders the volume that is wished. A node that has gone is ordered when it comes anew.
func (p *Picture) orderVolume(id string) error {
	n, err := p.speaker(id)
	if err != nil {
		return nil // it was enrolled a moment ago, and no longer is
	}
	if err := p.send(n, signed.Order{Volume: &n.Volume}, signed.OrderValidity); err != nil && !errors.Is(err, ErrOffline) {
		return err
	}
	return nil
}

// send numbers, signs and sends an order. ErrOffline: there is no way to the node.
func (p *Picture) send(n store.Node, o signed.Order, validity time.Duration) error {
	o.Version, o.Node = 1, n.ID
	o.At = p.Now()
	o.NotAfter = o.At.Add(validity)
	o.Number = p.number(n.ID, uint64(max(o.At, 1)), o.Volume != nil)
	raw, issuer, err := p.Enroller.Order(o, n.Zone)
	if err != nil {
		return fmt.Errorf("order node %q: %w", n.ID, err)
	}
	if !p.Order(control.Order{Node: n.ID, Order: raw, Issuer: issuer}) {
		return fmt.Errorf("order node %q: %w", n.ID, ErrOffline)
	}
	return nil
}

// number returns the number of the next order to a loudspeaker: network time, so that none need be kept, or one more than
// the highest that was given or that the loudspeaker says it has seen, where that lies later: this clock has gone back.
func (p *Picture) number(id string, clock uint64, volume bool) uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	last := p.ordered[id]
	last.number = max(clock, last.number+1, p.table.reports[id].Order+1)
	if volume {
		last.at = time.Now()
	}
	p.ordered[id] = last
	return last.number
}

// compare orders the volume again if a loudspeaker tells of another than is wished, some time after it was ordered; mu is
// held. An order can be lost where a queue is full.
func (p *Picture) compare(r signed.Report, now time.Time) {
	n := p.table.enrolled[r.Node]
	if r.Volume != nil && *r.Volume != n.Volume && now.Sub(p.ordered[r.Node].at) >= compareAfter {
		p.queue([]string{r.Node}, dueVolume)
	}
}
