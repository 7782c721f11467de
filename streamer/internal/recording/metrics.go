package recording

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are what an operator's alarms look at.
type metrics struct {
	open, bytes, low prometheus.Gauge
	missing          prometheus.Counter
	stopped, removed *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer) (metrics, error) {
	opts := func(name, help string) prometheus.Opts {
		return prometheus.Opts{Name: "dongthanh_streamer_" + name, Help: help}
	}
	m := metrics{
		open:    prometheus.NewGauge(prometheus.GaugeOpts(opts("recordings", "Recordings that are being written."))),
		bytes:   prometheus.NewGauge(prometheus.GaugeOpts(opts("recordings_bytes", "Size of the recordings that are kept."))),
		low:     prometheus.NewGauge(prometheus.GaugeOpts(opts("recordings_trouble", "1 while sessions are not recorded: the disk is nearly full, or fails."))),
		missing: prometheus.NewCounter(prometheus.CounterOpts(opts("recordings_missing_seconds_total", "Sound of sessions that was not recorded."))),
		stopped: prometheus.NewCounterVec(prometheus.CounterOpts(opts("recordings_stopped_total", "Recordings that broke off, by reason.")), []string{"reason"}),
		removed: prometheus.NewCounterVec(prometheus.CounterOpts(opts("recordings_removed_total", "Old recordings that were removed, by reason.")), []string{"reason"}),
	}
	for _, reason := range []string{"disk_full", "fault"} {
		m.stopped.WithLabelValues(reason)
	}
	for _, reason := range []string{"age", "budget"} {
		m.removed.WithLabelValues(reason)
	}
	var faults []error
	for _, c := range m.all() {
		faults = append(faults, reg.Register(c))
	}
	return m, errors.Join(faults...)
}

func (m metrics) all() []prometheus.Collector {
	return []prometheus.Collector{m.open, m.bytes, m.low, m.missing, m.stopped, m.removed}
}

func (m metrics) unregister(reg prometheus.Registerer) {
	for _, c := range m.all() {
		reg.Unregister(c)
	}
}

func (m metrics) trouble(t Trouble) {
	if t == TroubleNone {
		m.low.Set(0)
	} else {
		m.low.Set(1)
	}
}
