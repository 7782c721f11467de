package ingest

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// lineTotals sums what line-ins counted.
type lineTotals struct {
	counts
	datagrams [verdicts]uint64
	ended     map[LineReason]uint64
}

func newLineTotals() lineTotals {
	return lineTotals{counts: newCounts(), ended: map[LineReason]uint64{LineGoodbye: 0, LineSilent: 0, LineStreamer: 0}}
}

func (t *lineTotals) add(l *Line) {
	for v := range l.judged {
		t.datagrams[v] += l.judged[v].Load()
	}
	t.count(l.Stats().Stats)
}

// lineCollector shows all line-ins to Prometheus. It reads when it is asked.
type lineCollector struct {
	lines                                   *Lines
	open, datagrams, packets, sound, endeds *prometheus.Desc
	delay                                   *prometheus.Desc
}

func newLineCollector(l *Lines) lineCollector {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("dongthanh_streamer_"+name, help, labels, nil)
	}
	return lineCollector{
		lines: l,
		open:  desc("lines", "RTP line-ins that are open."),
		datagrams: desc("line_datagrams_total",
			"Datagrams that came to line-ins, by what they are; all but sound, feedback and goodbye were dropped.", "reason"),
		packets: desc("line_packets_total", "RTP packets of line-ins' senders, by what became of them; lost: sequence numbers that never came.", "result"),
		sound:   desc("line_sound_seconds_total", "Sound of line-ins that was made up (concealed, withheld, starved) or left out (cut).", "kind"),
		delay:   desc("line_delay_seconds", "Longest time that the sound of an open line-in waits in its jitter buffer."),
		endeds:  desc("lines_ended_total", "Line-ins that have ended, by reason.", "reason"),
	}
}

// Describe implements prometheus.Collector.
func (c lineCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.open, c.datagrams, c.packets, c.sound, c.delay, c.endeds} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c lineCollector) Collect(ch chan<- prometheus.Metric) {
	sum := newLineTotals()
	longest := time.Duration(0)
	c.lines.mu.Lock()
	open := len(c.lines.open)
	for line := range c.lines.open {
		sum.add(line)
		longest = max(longest, line.Stats().Delay)
	}
	past := c.lines.past
	for v := range sum.datagrams {
		ch <- prometheus.MustNewConstMetric(c.datagrams, prometheus.CounterValue, float64(sum.datagrams[v]+past.datagrams[v]), verdict(v).String())
	}
	for result, n := range sum.packets {
		ch <- prometheus.MustNewConstMetric(c.packets, prometheus.CounterValue, float64(n+past.packets[result]), result)
	}
	for kind, n := range sum.sound {
		ch <- prometheus.MustNewConstMetric(c.sound, prometheus.CounterValue, (n + past.sound[kind]).Duration().Seconds(), kind)
	}
	for reason, n := range past.ended {
		ch <- prometheus.MustNewConstMetric(c.endeds, prometheus.CounterValue, float64(n), string(reason))
	}
	c.lines.mu.Unlock()
	ch <- prometheus.MustNewConstMetric(c.open, prometheus.GaugeValue, float64(open))
	ch <- prometheus.MustNewConstMetric(c.delay, prometheus.GaugeValue, longest.Seconds())
}
