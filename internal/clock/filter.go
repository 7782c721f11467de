package clock

import (
	"math"
	"slices"
	"time"

	"dongthanh/internal/mediaclock"
)

// The filter's numbers (facts/reliability.md §4.2, "lucky"), tried against simulated links in the tests.
const (
	window     = 60 * time.Second
	minKeep    = 12                // idle nodes ping every 15 s: keep this many samples
	maxAge     = 240 * time.Second // however few they are
	maxSamples = 256
	luckyShare = 8
	minLucky   = 3

	floorNoise   = 10e3 // ns: what timers and interrupts cost on the best link
	priorSkew    = 60e3 // ppb: what is believed of a crystal before it was watched
	trainedSkew  = 4e3  // ppb: how far its skew wanders from its mean within a window
	trainedAfter = 2 * time.Minute

	stepFloor   = 100 * time.Millisecond // an upstream's time that differs by less is slewed after
	stepConfirm = 3                      // exchanges that must agree before another time scale is believed
	driftPPB    = 20_000                 // growth of the error without news, once the skew is known
	unknownPPB  = 100_000                // and before
)

// Estimate is what a Filter knows of its upstream's time.
type Estimate struct {
	Line  Line
	Error time.Duration // bound at Line.Local: upstream's own + half the best round trip + noise
	Drift int64         // ppb by which the error grows from Line.Local on
	N     int           // samples it rests on since the last step; 0: nothing is known
	RTT   time.Duration // the lowest in the window
}

// ErrorAt returns the bound of the error at a later moment.
func (e Estimate) ErrorAt(l mediaclock.Local) time.Duration {
	return e.Error + time.Duration(ppb(max(0, int64(l-e.Line.Local)), e.Drift))
}

// Filter turns exchanges with one upstream into an Estimate: of the samples of the last minute the eighth with the
// lowest round trip is believed, and a line is fitted through it. The zero value is ready.
type Filter struct {
	samples []Sample // by T4
	odd     []Sample // latest exchanges that contradict the estimate
	skew    float64  // ppb, mean over the past
	trained time.Duration
	est     Estimate
	since   mediaclock.Local // of the first sample since the last step
}

// Estimate returns the current estimate.
func (f *Filter) Estimate() Estimate { return f.est }

// Add takes an exchange and reports whether it was believed. Implausible ones, and those older than the newest, are
// ignored; ones that contradict the estimate beyond any delay are believed once three in a row agree.
func (f *Filter) Add(s Sample) bool {
	if !s.plausible() || (len(f.samples) > 0 && s.T4 < f.samples[len(f.samples)-1].T4) {
		return false
	}
	if f.est.N > 0 && f.contradicts(s) {
		return f.step(s)
	}
	f.odd = f.odd[:0]
	f.take(s)
	return true
}

// contradicts reports whether no split of the round trip can bring s within the error of the estimate.
func (f *Filter) contradicts(s Sample) bool {
	diff := s.offset() - (int64(f.est.Line.At(s.mid())) - int64(s.mid()))
	return time.Duration(max(diff, -diff)) > s.rtt()/2+f.est.ErrorAt(s.mid())+stepFloor
}

// step collects exchanges of a new time scale, as after the streamer's restart.
func (f *Filter) step(s Sample) bool {
	if n := len(f.odd); n > 0 {
		d := s.offset() - f.odd[n-1].offset()
		if time.Duration(max(d, -d)) > (s.rtt()+f.odd[n-1].rtt())/2+stepFloor {
			f.odd = f.odd[:0]
		}
	}
	f.odd = append(f.odd, s)
	if len(f.odd) < stepConfirm {
		return false
	}
	odd := slices.Clone(f.odd)
	*f = Filter{skew: f.skew, trained: f.trained}
	for _, o := range odd {
		f.take(o)
	}
	return true
}

// take adds a believed sample and fits anew.
func (f *Filter) take(s Sample) {
	if f.est.N == 0 {
		f.since = s.T4
	} else {
		f.trained += s.T4.Sub(f.samples[len(f.samples)-1].T4)
	}
	f.samples = append(f.samples, s)
	f.forget(s.T4)
	f.fit(s.T4)
	f.est.N++
}

// forget drops the samples that are too old or too many.
func (f *Filter) forget(now mediaclock.Local) {
	drop := max(0, len(f.samples)-maxSamples)
	for drop < len(f.samples)-1 {
		age, left := now.Sub(f.samples[drop].T4), len(f.samples)-drop
		if age <= window || (age <= maxAge && left <= minKeep) {
			break
		}
		drop++
	}
	f.samples = slices.Delete(f.samples, 0, drop)
}

// lucky returns the samples with the lowest round trips; those waited in no queue.
func (f *Filter) lucky() []Sample {
	l := slices.Clone(f.samples)
	slices.SortStableFunc(l, func(a, b Sample) int { return int(a.rtt() - b.rtt()) })
	return l[:min(len(l), max(minLucky, len(l)/luckyShare))]
}

// fit puts a line through the lucky samples by least squares, drawn towards the skew known so far: on a noisy link a
// few seconds of samples say nothing about the skew, on a good one they say all.
func (f *Filter) fit(now mediaclock.Local) {
	lucky := f.lucky()
	best, worst := lucky[0].rtt(), lucky[len(lucky)-1].rtt()
	noise := floorNoise + float64(worst-best)/2
	base := lucky[0].offset()

	var mx, my float64
	for _, s := range lucky {
		mx += float64(s.mid()-now) / 1e9
		my += float64(s.offset() - base)
	}
	n := float64(len(lucky))
	mx, my = mx/n, my/n
	var sxx, sxy float64
	for _, s := range lucky {
		x, y := float64(s.mid()-now)/1e9-mx, float64(s.offset()-base)-my
		sxx, sxy = sxx+x*x, sxy+x*y
	}
	// Units: x in s, y in ns, hence the slope in ns/s = ppb.
	wander := priorSkew
	if f.trained >= trainedAfter {
		wander = trainedSkew
	}
	pull := noise * noise / (wander * wander)
	skew := clamp((sxy+pull*f.skew)/(sxx+pull), MaxSlope)
	f.skew += (skew - f.skew) * math.Min(1, sxx/(sxx+pull)) * f.share()

	at := base + int64(my-skew*mx)
	f.est.Line = Line{Local: now, Instant: mediaclock.Instant(int64(now) + at), Skew: int64(skew), Until: now}
	f.est.RTT = best
	f.est.Error = best/2 + time.Duration(noise) + f.upstreamError(lucky)
	f.est.Drift = unknownPPB
	if f.trained >= window {
		f.est.Drift = driftPPB
	}
}

// share is the weight of one fit in the mean skew: fits of one window overlap, so each counts little.
func (f *Filter) share() float64 {
	if f.trained < trainedAfter {
		return 0.2
	}
	return 0.02
}

// upstreamError is the largest error that the upstream gave with the samples believed.
func (f *Filter) upstreamError(lucky []Sample) time.Duration {
	var e time.Duration
	for _, s := range lucky {
		e = max(e, s.Error)
	}
	return e
}

func clamp(v, limit float64) float64 { return math.Min(limit, math.Max(-limit, v)) }
