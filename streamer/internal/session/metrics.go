package session

import "github.com/prometheus/client_golang/prometheus"

// Collector shows how many sessions are on air, by state.
type Collector struct {
	manager *Manager
	desc    *prometheus.Desc
}

// NewCollector returns the collector of dongthanh_streamer_sessions{state}.
func NewCollector(m *Manager) *Collector {
	return &Collector{manager: m, desc: prometheus.NewDesc(
		"dongthanh_streamer_sessions", "Sessions that are starting or live.", []string{"state"}, nil)}
}

// Describe implements prometheus.Collector.
func (c *Collector) Describe(out chan<- *prometheus.Desc) { out <- c.desc }

// Collect implements prometheus.Collector.
func (c *Collector) Collect(out chan<- prometheus.Metric) {
	count := map[string]int{"starting": 0, "live": 0}
	for _, s := range c.manager.OnAir() {
		count[string(s.State)]++
	}
	for state, n := range count {
		out <- prometheus.MustNewConstMetric(c.desc, prometheus.GaugeValue, float64(n), state)
	}
}
