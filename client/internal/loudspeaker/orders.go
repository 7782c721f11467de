package loudspeaker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"dongthanh/internal/control"
	"dongthanh/internal/identity"
	"dongthanh/internal/signed"
)

// errReplayed is an order whose number was taken already.
var errReplayed = errors.New("replayed or overtaken by a newer one")

// maxOrders may wait; one more is lost. They wait for network time only, and the streamer orders again whatever a
// loudspeaker's report does not show.
const maxOrders = 16

// orders are what was ordered and what became of it.
type orders struct {
	queue chan control.Order
	count *prometheus.CounterVec
	save  func(settings, string) error // to a folder; the disk may be slow

	mu   sync.Mutex // guards kept; never held while the disk works, since reports ask for it
	kept settings
}

func newOrders(kept settings, reg prometheus.Registerer) (*orders, error) {
	o := &orders{queue: make(chan control.Order, maxOrders), save: settings.save, kept: kept}
	o.count = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "dongthanh_client_orders_total", Help: "Orders to this loudspeaker, by what became of each.",
	}, []string{"result"})
	for _, r := range append(verdicts(), verdict{result: "obeyed"}, verdict{result: "other"}, verdict{result: "queue_full"}) {
		o.count.WithLabelValues(r.result)
	}
	if err := reg.Register(o.count); err != nil {
		return nil, fmt.Errorf("register metrics of orders: %w", err)
	}
	return o, nil
}

// verdict names why an order is not obeyed, for a metric's label.
type verdict struct {
	fault  error
	result string
}

func verdicts() []verdict {
	return []verdict{
		{signed.ErrMalformed, "malformed"}, {signed.ErrCritical, "malformed"}, {signed.ErrSignature, "signature"},
		{identity.ErrUnknownIssuer, "issuer"}, {identity.ErrUnknownRoot, "issuer"}, {identity.ErrScope, "scope"},
		{identity.ErrAddressee, "other_node"}, {identity.ErrExpired, "time"}, {identity.ErrNotYetValid, "time"},
		{errReplayed, "replayed"},
	}
}

// judged counts an order.
func (o *orders) judged(err error) {
	result := "other"
	if err == nil {
		result = "obeyed"
	}
	for _, v := range verdicts() {
		if errors.Is(err, v.fault) {
			result = v.result
			break
		}
	}
	o.count.WithLabelValues(result).Inc()
}

// put takes an order from the control channel, which must not wait.
func (o *orders) put(m control.Order, _ int) {
	select {
	case o.queue <- m:
	default:
		o.count.WithLabelValues("queue_full").Inc()
	}
}

// takeOrders judges orders and carries them out until ctx ends: on a goroutine of its own, since the disk may be slow,
// and not before network time is known, which tells whether they are still valid.
func (l *Loudspeaker) takeOrders(ctx context.Context) {
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case m := <-l.orders.queue:
			for {
				if _, _, ok := l.links.At(l.options.Clock.Now()); ok {
					break
				}
				select {
				case <-ctx.Done():
					return
				case <-ticker.C:
				}
			}
			err := l.carryOut(m)
			l.orders.judged(err)
			if err != nil {
				l.refused.Add(err)
			}
		}
	}
}

// carryOut judges one order and carries it out; takeOrders alone calls it. Its number is on the disk before anything is done, so that it is done
// once; a disk that fails is no reason to disobey.
func (l *Loudspeaker) carryOut(m control.Order) error {
	if err := l.trust.AddIssuer(m.Issuer); err != nil {
		return fmt.Errorf("order: %w", err)
	}
	o, err := l.trust.Order(m.Order, l.node())
	if err != nil {
		return err
	}
	kept := l.orders.get() // nobody else changes it
	if o.Number <= kept.Number {
		l.untold.Store(true) // the streamer has lost its count, perhaps
		return fmt.Errorf("order %d: %w: %d was taken", o.Number, errReplayed, kept.Number)
	}
	kept.Number = o.Number
	if o.Volume != nil {
		kept.Volume = *o.Volume
	}
	if err := l.orders.save(kept, l.options.Dir); err != nil {
		l.log.Error("an order is carried out, and forgotten at the next start", "error", err)
	}
	l.orders.set(kept)
	if o.Volume != nil && l.volume.Swap(*o.Volume) != *o.Volume {
		l.log.Info("volume set by order", "decibels", float64(*o.Volume)/100)
	}
	if o.Tone() > 0 {
		l.log.Info("test tone by order", "length", o.Tone())
		l.tone.Store(int64(o.Tone()))
	}
	l.untold.Store(true)
	return nil
}

// setting returns what a report tells of this loudspeaker's settings.
func (l *Loudspeaker) setting() (volume *int32, number uint64) {
	kept := l.orders.get()
	return &kept.Volume, kept.Number
}

func (o *orders) get() settings {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.kept
}

func (o *orders) set(kept settings) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.kept = kept
}

// tell reports the settings, if the streamer is to be told and there is a way to it. Unlike the reports of what is heard
// it goes by control, where it is not lost.
func (l *Loudspeaker) tell() {
	now, _, ok := l.links.At(l.options.Clock.Now())
	if !ok || !l.untold.Swap(false) {
		return
	}
	l.number++
	r := signed.Report{Version: 1, Node: l.node().ID, Number: l.number, At: now}
	r.Volume, r.Order = l.setting()
	raw, err := l.wallet.Credentials().SignReport(r)
	if err != nil {
		l.log.Error("cannot report", "error", err)
		return
	}
	if !l.links.SendActive(control.Message{Reports: &control.Reports{Reports: [][]byte{raw}}}) {
		l.untold.Store(true)
	}
}
