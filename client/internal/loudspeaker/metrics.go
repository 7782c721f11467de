package loudspeaker

import (
	"fmt"
	"math"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"dongthanh/internal/onair"
)

// reason tells why a packet was not taken, beside onair's verdicts.
type reason uint8

const (
	wrongTag       reason = iota // signed, but the tag does not hold: some relay altered it
	noKey                        // the secret of its zone and epoch has not come
	otherZone                    // authentic, and not meant for this loudspeaker
	tooLate                      // after its instant
	tooEarly                     // beyond the jitter buffer
	overflow                     // the device does not empty the queue
	requestDropped               // not a packet: a request that the sender could not take
	reasons
)

func (r reason) String() string {
	return [reasons]string{"tag", "no_key", "other_zone", "late", "early", "queue_full", "request_queue_full"}[r]
}

func (l *Loudspeaker) reject(r reason) { l.rejected[r].Add(1) }

// newMetrics registers what INTERFACES §7 lists for a client and link does not export, and a little more.
func (l *Loudspeaker) newMetrics(reg prometheus.Registerer) error {
	var all []prometheus.Collector
	counter := func(name, help, label, value string, read func() float64) {
		all = append(all, prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: name, Help: help, ConstLabels: prometheus.Labels{label: value},
		}, read))
	}
	for i, result := range []string{"played", "repaired", "concealed", "late"} {
		counter("dongthanh_client_frames_total", "Frames of 20 ms of programme, by what became of each.", "result", result,
			func() float64 { return float64(l.frames[i].Load()) })
	}
	const name, help = "dongthanh_client_packets_rejected_total", "Media packets that were not taken, by reason."
	for _, v := range onair.Verdicts() {
		if v != onair.Accepted && v != onair.Held && v != onair.Variant {
			counter(name, help, "reason", v.String(), func() float64 { return float64(l.table.Count(v)) })
		}
	}
	for r := range requestDropped {
		counter(name, help, "reason", r.String(), func() float64 { return float64(l.rejected[r].Load()) })
	}
	gauge := func(name, help string, read func() float64) {
		all = append(all, prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, read))
	}
	gauge("dongthanh_client_playout_delay_seconds", "From a sample's entry into the encoder to its sound, of what sounds or sounded last.",
		func() float64 { return time.Duration(l.delay.Load()).Seconds() })
	gauge("dongthanh_client_playout_error_seconds", "When what sounds now sounds, minus when it should by network time.",
		func() float64 { return time.Duration(l.fault.Load()).Seconds() })
	gauge("dongthanh_client_playout_stretch_ratio", "By how much sound is stretched to follow the device's drift, as a fraction.",
		func() float64 { return math.Float64frombits(l.stretch.Load()) })
	gauge("dongthanh_client_volume_decibels", "Volume that everything is played at; 0 is full.",
		func() float64 { return float64(l.volume.Load()) / 100 })
	gauge("dongthanh_client_transmissions", "Transmissions that are listened to.",
		func() float64 { return float64(len(*l.entries.Load())) })
	all = append(all, prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "dongthanh_client_requests_dropped_total", Help: "Requests for missing packets that the sender could not take.",
	}, func() float64 { return float64(l.rejected[requestDropped].Load()) }))
	for _, c := range all {
		if err := reg.Register(c); err != nil {
			return fmt.Errorf("register metrics of the loudspeaker: %w", err)
		}
	}
	return nil
}
