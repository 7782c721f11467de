package loudspeaker

import (
	"context"
	"math"
	"time"

	"dongthanh/client/internal/playout"
	"dongthanh/internal/mediaclock"
	"dongthanh/internal/signed"
)

const (
	tick        = 100 * time.Millisecond
	reportEvery = 2 * time.Second
	reportsKept = 3 // loss is told of the last three reports, some 6 s
	// quietReport is how often a change may be reported: a stream that flickers must not flood its upstream.
	quietReport = 200 * time.Millisecond
	// repeatReport is how soon after a change it is told once more: a datagram may be lost, and who hears is to be true
	// within a second.
	repeatReport = 300 * time.Millisecond
)

// watch looks at what is on air and at what sounds, until ctx ends: it reports, logs, and clears away what has ended.
func (l *Loudspeaker) watch(ctx context.Context) {
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			l.farewell()
			return
		case <-ticker.C:
			l.handle(l.table.Tick(l.now(l.options.Clock.Now())))
			l.measure()
			l.tell()
			l.beat()
		case <-l.changed:
		}
		l.look(time.Now())
	}
}

// deviceHangs is how long a device that has asked once may be silent. One whose card is away asks on, for blocks without
// sound: to start the program anew would bring no card back.
const deviceHangs = 5 * time.Second

// beat says that this loop comes to its turn, and the device's too.
func (l *Loudspeaker) beat() {
	last := mediaclock.Local(l.asked.Load())
	if l.options.Beat != nil && (last == 0 || l.options.Clock.Now().Sub(last) < deviceHangs) {
		l.options.Beat()
	}
}

// measure takes the round trip to the active upstream.
func (l *Loudspeaker) measure() {
	if s := l.links.State(); s.Active >= 0 {
		l.rtt.Store(int64(s.Upstreams[s.Active].RTT))
	}
}

// seen is one stream of the picture.
type seen struct {
	e *entry
	playout.Status
}

// streams copies the picture. A device that hangs shows nothing new, and is not heard.
func (l *Loudspeaker) streams() ([]seen, playout.Summary) {
	stalled := l.stalled(l.options.Clock.Now())
	l.picture.mu.Lock()
	defer l.picture.mu.Unlock()
	all := make([]seen, l.picture.n)
	for i := range all {
		all[i] = seen{l.picture.entries[i], l.picture.status[i]}
		all[i].Hearing = all[i].Hearing && !stalled
	}
	return all, l.picture.summary
}

// look reports what changed, and every two seconds what is heard.
func (l *Loudspeaker) look(now time.Time) {
	all, sum := l.streams()
	current := l.listening()
	for _, s := range all {
		if current[s.e.on] != s.e {
			continue // forgotten already
		}
		age := now.Sub(s.e.reported)
		if s.Hearing != s.e.hearing && age >= quietReport || s.e.again && age >= repeatReport ||
			s.Hearing && age >= reportEvery || s.State == playout.Ended && s.e.hearing {
			l.report(s, sum, now)
		}
		if s.Hearing && !s.e.sounding {
			s.e.sounding = true
			l.log.Info("sounding", "session", sessionID(s.e.on))
		}
		if s.State == playout.Ended {
			c := s.Counts
			l.log.Info("ended", "session", sessionID(s.e.on), "played", c.Played, "repaired", c.Repaired,
				"concealed", c.Concealed, "late", c.Late, "undecodable", s.Faults)
			l.forget(s.e)
		}
	}
}

// farewell logs what was on air when the program ended.
func (l *Loudspeaker) farewell() {
	all, _ := l.streams()
	for _, s := range all {
		if s.e.sounding && s.State != playout.Ended {
			c := s.Counts
			l.log.Info("ended with the program", "session", sessionID(s.e.on), "played", c.Played, "repaired", c.Repaired,
				"concealed", c.Concealed, "late", c.Late)
		}
	}
}

// report signs and sends what is heard of one transmission.
func (l *Loudspeaker) report(s seen, sum playout.Summary, now time.Time) {
	e := s.e
	network, _, ok := l.links.At(l.options.Clock.Now())
	if !ok {
		return // nothing sounds without network time
	}
	oldest := e.since[e.reports%reportsKept]
	e.since[e.reports%reportsKept] = s.Counts
	e.reports++
	l.number++
	r := signed.Report{
		Version: 1, Node: l.node().ID, Number: l.number, Transmission: e.on.Cert.Transmission,
		Hearing: s.Hearing && s.State != playout.Ended, At: network, Highest: uint64(s.Highest),
		Played: uint32(s.Counts.Played), Repaired: uint32(s.Counts.Repaired),
		Concealed: uint32(s.Counts.Concealed), Late: uint32(s.Counts.Late),
		RTTMicros:    uint32(min(l.rtt.Load()/1000, math.MaxUint32)),
		LossPermille: loss(oldest, s.Counts),
		ClockMicros:  int32(min(max(sum.Fault.Microseconds(), math.MinInt32), math.MaxInt32)),
		ArrivalMS:    uint32(s.Arrival.Milliseconds()),
	}
	r.Volume, r.Order = l.setting()
	raw, err := l.wallet.Credentials().SignReport(r)
	if err != nil {
		l.log.Error("cannot report", "session", sessionID(e.on), "error", err)
		return
	}
	l.links.Report(raw)
	e.again = r.Hearing != e.hearing
	e.hearing, e.reported = r.Hearing, now
}

// loss is how many of a thousand frames between two counts did not come by themselves in time.
func loss(from, to playout.Counts) uint16 {
	all := to.Total() - from.Total()
	if all == 0 {
		return 0
	}
	return uint16(1000 * (all - (to.Played - from.Played)) / all)
}
