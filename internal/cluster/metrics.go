package cluster

import (
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"dongthanh/internal/udp"
)

// Reasons of the metric packets_dropped_total, beside those of package udp.
const (
	dropUnknown   = "unknown"   // media of a transmission that is not open
	dropStopped   = "stopped"   // media of one that was stopped
	dropDuplicate = "duplicate" // media that the ring has already
	dropStale     = "stale"     // media older than the ring
	dropLate      = "late"      // copies for which the socket had no room within a frame
	dropSend      = "send"      // datagrams that the system refused to send
	dropBudget    = "budget"    // packets asked for again beyond the subscriber's budget
	dropAbsent    = "absent"    // packets asked for that the ring does not hold
	dropResume    = "resume"    // RESUMEs that came too soon after another
	dropReport    = "report"    // reports for which there was no room; the oldest are lost
	dropBusy      = "busy"      // work for which a queue had no room; the newest is lost
	dropMember    = "member"    // members out of bounds in a downstream's word
)

var hubDrops = [...]string{dropUnknown, dropStopped, dropDuplicate, dropStale, dropLate, dropSend, dropBudget,
	dropAbsent, dropResume, dropReport, dropBusy, dropMember}

// metrics are the Hub's. The counters that the media path uses are looked up once.
type metrics struct {
	received, sent, resent prometheus.Counter
	subscribers            prometheus.Gauge
	dropped                *prometheus.CounterVec
	drops                  map[string]prometheus.Counter // never changes
}

func newMetrics(prefix string, reg prometheus.Registerer) (*metrics, error) {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: prefix + name, Help: help})
	}
	m := &metrics{
		received: counter("packets_received_total", "Datagrams read from upstreams."),
		sent:     counter("packets_sent_total", "Copies of media packets sent to subscribers, retransmissions included."),
		resent:   counter("retransmissions_total", "Media packets sent again, by NACK or RESUME."),
		subscribers: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: prefix + "subscribers", Help: "Nodes whose address is proved, so that they can be fed."}),
		dropped: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: prefix + "packets_dropped_total", Help: "Datagrams, or copies of them, that were dropped, by reason."}, []string{"reason"}),
		drops: map[string]prometheus.Counter{},
	}
	for _, r := range hubDrops {
		m.drops[r] = m.dropped.WithLabelValues(r)
	}
	for _, r := range udp.Drops {
		m.drops[string(r)] = m.dropped.WithLabelValues(string(r))
	}
	var errs []error
	for _, c := range []prometheus.Collector{m.received, m.sent, m.resent, m.subscribers, m.dropped} {
		errs = append(errs, reg.Register(c))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("register metrics of the fan-out: %w", err)
	}
	return m, nil
}

func (m *metrics) drop(reason string) { m.drops[reason].Inc() }

func (m *metrics) dropN(reason string, n int) {
	if n > 0 {
		m.drops[reason].Add(float64(n))
	}
}
