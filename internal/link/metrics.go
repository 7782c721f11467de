package link

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	rejected map[string]prometheus.Counter // filled by newMetrics, then only read
}

// newMetrics registers what Links export.
func (l *Links) newMetrics() error {
	prefix, reg := l.options.Prefix, l.options.Registerer
	rejected := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: prefix + "upstream_datagrams_rejected_total", Help: "Datagrams from upstreams that were not taken, by reason.",
	}, []string{"reason"})
	l.metrics.rejected = map[string]prometheus.Counter{}
	for _, r := range []string{rejectFormat, rejectFlow, rejectTag, rejectPong, rejectUnknown} {
		l.metrics.rejected[r] = rejected.WithLabelValues(r)
	}
	for _, c := range []prometheus.Collector{
		rejected,
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: prefix + "failovers_total", Help: "Switches from one upstream to another.",
		}, func() float64 { return float64(l.Failovers()) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: prefix + "clock_steps_total", Help: "Jumps of network time, as against slewing.",
		}, func() float64 { return float64(l.reading().steps) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: prefix + "clock_offset_seconds", Help: "Network time as used, minus the best estimate of the active upstream's.",
		}, func() float64 { return l.reading().offset.Seconds() }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: prefix + "clock_error_seconds", Help: "Bound of the error of network time.",
		}, func() float64 { return l.reading().Error.Seconds() }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: prefix + "upstreams_joined", Help: "Upstreams to which the control connection stands.",
		}, func() float64 { return float64(l.joined()) }),
	} {
		if err := reg.Register(c); err != nil {
			return fmt.Errorf("register metrics of upstreams: %w", err)
		}
	}
	return nil
}

func (m *metrics) reject(reason string) { m.rejected[reason].Inc() }
