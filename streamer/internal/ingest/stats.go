package ingest

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"dongthanh/internal/mediaclock"
	"dongthanh/streamer/internal/ingest/jitter"
)

// Stats is what a Microphone has counted and measured so far.
type Stats struct {
	jitter.Stats
	RTT     time.Duration // of the connection's last check; 0: none yet
	Refused uint64        // packets of a payload type that was not agreed on, or that are no RTP
}

// gauges holds a Microphone's Stats for goroutines that must not hold up its sound.
type gauges struct {
	rtt     atomic.Int64
	refused atomic.Uint64

	mu     sync.Mutex // guards buffer; the media's goroutines only try to take it
	buffer jitter.Stats
}

// set keeps what the buffer has counted, unless somebody is just reading: the next frame brings it up to date.
func (g *gauges) set(s jitter.Stats) {
	if g.mu.TryLock() {
		g.buffer = s
		g.mu.Unlock()
	}
}

func (g *gauges) get() Stats {
	g.mu.Lock()
	defer g.mu.Unlock()
	return Stats{Stats: g.buffer, RTT: time.Duration(g.rtt.Load()), Refused: g.refused.Load()}
}

// Stats returns what the microphone has counted, a frame old at most. It may be called from any goroutine.
func (m *Microphone) Stats() Stats { return m.gauges.get() }

// counts sums what jitter buffers counted.
type counts struct {
	packets map[string]uint64             // of sound, by what became of them
	sound   map[string]mediaclock.Samples // by why it was made up or left out
}

// newCounts has every label from the start.
func newCounts() counts {
	c := counts{packets: map[string]uint64{}, sound: map[string]mediaclock.Samples{}}
	c.count(jitter.Stats{})
	return c
}

func (t *counts) count(s jitter.Stats) {
	for result, n := range map[string]uint64{
		"taken": s.Packets, "padding": s.Padding, "lost": s.Lost, "late": s.Late, "duplicate": s.Duplicate,
		"malformed": s.Malformed, "flood": s.Flood, "overflow": s.Overflow,
	} {
		t.packets[result] += n
	}
	for kind, n := range map[string]mediaclock.Samples{
		"concealed": s.Concealed, "withheld": s.Withheld, "starved": s.Starved, "cut": s.Cut,
	} {
		t.sound[kind] += n
	}
}

// totals sums what microphones counted.
type totals struct {
	counts
	ended   map[Reason]uint64
	unheard uint64 // packets that a listener was too slow for
}

func newTotals() totals {
	t := totals{counts: newCounts(), ended: map[Reason]uint64{
		ReasonBrowser: 0, ReasonLost: 0, ReasonNever: 0, ReasonRefused: 0, ReasonStreamer: 0,
	}}
	t.add(Stats{}) // every label is there from the start, ours too
	return t
}

func (t *totals) add(s Stats) {
	t.count(s.Stats)
	t.packets["refused"] += s.Refused
}

// collector shows all microphones to Prometheus. It reads when it is asked; nothing is counted on a frame's path.
type collector struct {
	m                                            *Microphones
	open, packets, sound, delay, endeds, refused *prometheus.Desc
	listening, unheard                           *prometheus.Desc
}

func newCollector(m *Microphones) collector {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("dongthanh_streamer_"+name, help, labels, nil)
	}
	return collector{
		m:    m,
		open: desc("microphones", "Browser microphones that are open."),
		packets: desc("microphone_packets_total",
			"RTP packets of browser microphones, by what became of them; lost: sequence numbers that never came.", "result"),
		sound: desc("microphone_sound_seconds_total",
			"Sound of browser microphones that was made up (concealed, withheld, starved) or left out (cut).", "kind"),
		delay:     desc("microphone_delay_seconds", "Longest time that the sound of an open microphone waits in its jitter buffer."),
		endeds:    desc("microphones_ended_total", "Browser microphones that have ended, by reason.", "reason"),
		listening: desc("listeners", "Pages that hear what is on air over WebRTC."),
		unheard:   desc("listener_packets_dropped_total", "Packets that were left out for pages that listen, since they are slow."),
		refused:   desc("microphone_connections_refused_total", "TCP connections to the microphones' port beyond how many there may be."),
	}
}

// Describe implements prometheus.Collector.
func (c collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.open, c.packets, c.sound, c.delay, c.endeds, c.refused, c.listening, c.unheard} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c collector) Collect(ch chan<- prometheus.Metric) {
	sum := newTotals()
	longest := time.Duration(0)
	c.m.mu.Lock()
	open := len(c.m.open)
	sum.merge(c.m.past)
	for mic := range c.m.open {
		s := mic.Stats()
		sum.add(s)
		longest = max(longest, s.Delay)
	}
	listening, unheard := len(c.m.listeners), sum.unheard
	for l := range c.m.listeners {
		unheard += l.queue.Lost() + l.skipped.Load()
	}
	c.m.mu.Unlock()
	ch <- prometheus.MustNewConstMetric(c.listening, prometheus.GaugeValue, float64(listening))
	ch <- prometheus.MustNewConstMetric(c.unheard, prometheus.CounterValue, float64(unheard))
	ch <- prometheus.MustNewConstMetric(c.open, prometheus.GaugeValue, float64(open))
	ch <- prometheus.MustNewConstMetric(c.delay, prometheus.GaugeValue, longest.Seconds())
	ch <- prometheus.MustNewConstMetric(c.refused, prometheus.CounterValue, float64(c.m.ports.refused.Load()))
	for result, n := range sum.packets {
		ch <- prometheus.MustNewConstMetric(c.packets, prometheus.CounterValue, float64(n), result)
	}
	for kind, n := range sum.sound {
		ch <- prometheus.MustNewConstMetric(c.sound, prometheus.CounterValue, n.Duration().Seconds(), kind)
	}
	for reason, n := range sum.ended {
		ch <- prometheus.MustNewConstMetric(c.endeds, prometheus.CounterValue, float64(n), string(reason))
	}
}

func (t *totals) merge(u totals) {
	for k, n := range u.packets {
		t.packets[k] += n
	}
	for k, n := range u.sound {
		t.sound[k] += n
	}
	for k, n := range u.ended {
		t.ended[k] += n
	}
	t.unheard += u.unheard
}
