package session

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"dongthanh/internal/mediaclock"
	"dongthanh/internal/signed"
	"dongthanh/internal/wire"
	"dongthanh/internal/zone"
	"dongthanh/streamer/internal/ingest"
	"dongthanh/streamer/internal/origin"
	"dongthanh/streamer/internal/store"
	"dongthanh/streamer/internal/tap"
	"dongthanh/streamer/internal/voice"
)

const (
	startWait       = 15 * time.Second // from a microphone's answer to its first sound
	validity        = signed.MaxValidity
	leftGap         = 8 * time.Second // a page that was closed; loading it again takes a phone a few
	farewellBeacons = 5               // one a second; they outlast the 4 s of a relay's ring
	storeWait       = 5 * time.Second // a database that hangs must not hold a session
	emergencyWait   = time.Second     // and an emergency even less
)

// ending says who or what ends a session, and why, as the record tells it.
type ending struct{ by, reason string }

func (e ending) Error() string { return "session ended: " + e.reason }

// live is a session from its record to its end: run carries the sound, keep the record.
type live struct {
	m       *Manager
	request Request
	profile profile
	source  chan ingest.Source // holds one; there never is another
	line    *ingest.Line       // that source, if it is a line-in; set before anybody sees the session
	ctx     context.Context    // ends with the session's sound
	cancel  context.CancelCauseFunc

	aired    chan struct{} // closed with the first packet
	silenced chan struct{} // closed once the signed stop is on its way, or the sound has ended by itself

	transmission atomic.Pointer[origin.Transmission]
	tap          *tap.Tap // what is on air, for the recording and for officials who listen

	// Run's own; keep reads first, after aired or silenced.
	announced bool      // listeners may have heard of the transmission
	first     time.Time // when the first packet was sent; zero: none was
	order     []byte    // the signed stop, once there is one

	unrecorded bool // the disk has no record yet: an emergency did not wait for it. keep's own once it runs

	mu      sync.Mutex // guards what follows
	rec     store.Session
	given   bool           // a source was given, or the session is over: no other is taken
	seat    *ingest.Switch // the source of a session that has microphones; nil before the first
	speaker string         // who brought the first one
}

func newLive(m *Manager, x store.Session, r Request, p profile) *live {
	l := &live{
		m: m, request: r, profile: p, rec: x, source: make(chan ingest.Source, 1),
		aired: make(chan struct{}), silenced: make(chan struct{}), tap: tap.New(),
	}
	l.ctx, l.cancel = context.WithCancelCause(context.Background())
	return l
}

// end asks the session to end; the first reason counts.
func (l *live) end(e ending) { l.cancel(e) }

// give hands over the source of a session that has just one.
func (l *live) give(src ingest.Source) {
	l.given = true
	l.source <- src
}

// detach refuses sources from now on and lets go of one that nobody took.
func (l *live) detach() {
	l.mu.Lock()
	l.given = true
	l.mu.Unlock()
	select {
	case src := <-l.source:
		_ = src.Close() // it never sounded
	default:
	}
}

func (l *live) record() store.Session {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.rec
}

// set changes the record and tells the watchers and the audience, in the order of the changes.
func (l *live) set(change func(*store.Session)) store.Session {
	l.m.mu.Lock()
	defer l.m.mu.Unlock()
	l.mu.Lock()
	change(&l.rec)
	x := l.rec
	l.mu.Unlock()
	l.m.tell(x)
	if over(x) {
		l.m.Audience.Close(x)
	} else {
		l.m.Audience.Update(x)
	}
	return x
}

// session is the session as it stands now.
func (l *live) session() Session {
	s := Session{Session: l.record(), Level: l.level(), Presence: l.presence()}
	if !over(s.Session) {
		s.Line = l.line
	}
	return s
}

func (l *live) level() voice.Level {
	if t := l.transmission.Load(); t != nil {
		return t.Level()
	}
	return voice.Silence()
}

// run is the session's whole life. Nothing that may take long stands between the end of the sound and the stop.
func (l *live) run() {
	var record sync.WaitGroup
	record.Go(l.keep)
	src, err := l.broadcast()
	if err != nil && l.announced {
		l.stop()
	}
	e, state := l.verdict(err)
	now := time.Now()
	expected, hearing := l.m.Audience.Count(l.record().ID)
	x := l.set(func(x *store.Session) {
		x.State, x.Ended, x.EndedBy, x.EndReason = state, now, e.by, e.reason
		x.Started, x.Expected, x.Heard = l.first, expected, max(x.Heard, hearing)
	})
	close(l.silenced)
	l.tap.End()
	l.cancel(nil)
	l.detach()
	l.m.Log.Info("session ended", "session", x.ID, "state", state, "reason", e.reason, "by", e.by)
	if src != nil {
		_ = src.Close() // the sound has ended, and nothing is lost by a failure to let go of it
	}
	l.farewell()
	record.Wait()
	l.account()
}

// broadcast waits for the sound and transmits it. The transmission is prepared while the microphone connects, so that
// the first word does not wait for the disk. It returns the source, if there was one, and why the sound ended: nil if
// by itself.
func (l *live) broadcast() (ingest.Source, error) {
	var (
		t     *origin.Transmission
		fault error
		ready sync.WaitGroup
	)
	ready.Go(func() { t, fault = l.prepare() })
	src, err := l.await()
	ready.Wait()
	if err == nil {
		err = fault
	}
	if err == nil {
		err = l.transmit(t, src)
	}
	return src, err
}

// verdict tells how the session ended.
func (l *live) verdict(err error) (ending, store.SessionState) {
	if err != nil && l.ctx.Err() != nil {
		err = context.Cause(l.ctx) // whatever failed, failed because of that
	}
	var e ending
	switch {
	case err == nil:
		return ending{reason: "source_end"}, store.SessionEnded
	case errors.As(err, &e):
		if l.first.IsZero() && e.by == "" {
			return e, store.SessionFailed
		}
		return e, store.SessionEnded
	case errors.Is(err, origin.ErrTooLong):
		return ending{reason: "time_limit"}, store.SessionEnded
	}
	if errors.Is(err, ingest.ErrLost) && !l.first.IsZero() {
		return ending{reason: "source_lost"}, store.SessionEnded
	}
	l.m.Log.Error("session failed", "session", l.record().ID, "error", err)
	if l.first.IsZero() {
		return ending{reason: "failed"}, store.SessionFailed
	}
	return ending{reason: "source_lost"}, store.SessionEnded
}

// await returns the source once it has sound, and also with an error if it was given one.
func (l *live) await() (src ingest.Source, err error) {
	select {
	case src = <-l.source:
	case <-l.ctx.Done():
		return nil, context.Cause(l.ctx)
	case <-time.After(l.m.Config.MicrophoneWait):
		return nil, ending{reason: "no_microphone"}
	}
	select {
	case <-src.Started():
		return src, nil
	case <-src.Done():
		return src, ending{reason: "source_lost"}
	case <-l.ctx.Done():
		return src, context.Cause(l.ctx)
	case <-time.After(l.m.Config.soundWait(l.request.Source)):
		return src, ending{reason: "no_sound"}
	}
}

// transmit puts the sound on air and returns nil when its last sample is due.
func (l *live) transmit(t *origin.Transmission, src ingest.Source) error {
	l.announced = true
	var due mediaclock.Instant
	err := t.Run(l.ctx, src, origin.Progress{
		OnAir: func() {
			l.first = time.Now()
			close(l.aired)
		},
		Ended: func(at mediaclock.Instant) { due = at },
	})
	if err != nil {
		return err
	}
	if l.ctx.Err() != nil {
		return context.Cause(l.ctx)
	}
	select {
	case <-time.After(due.Sub(l.m.Now())):
		return nil
	case <-l.ctx.Done():
		return context.Cause(l.ctx)
	}
}

// prepare draws key and fence and makes the transmission.
func (l *live) prepare() (*origin.Transmission, error) {
	ctx, cancel := context.WithTimeout(l.ctx, storeWait)
	defer cancel()
	x := l.record()
	keyZone := zone.Common(x.Zones)
	key, err := l.m.Records.EnsureZoneKey(ctx, keyZone, time.Now())
	if err != nil {
		return nil, err
	}
	fence, err := l.m.fences.next(ctx, x.Class)
	if err != nil {
		return nil, err
	}
	id, err := uuid.Parse(x.ID)
	if err != nil {
		return nil, fmt.Errorf("session id %q: %w", x.ID, err)
	}
	t, err := origin.New(origin.Plan{
		Session: id, Zones: x.Zones, KeyZone: keyZone, Epoch: key.Epoch, Secret: key.Secret,
		Kind: signed.KindLive, Class: rank(x.Class), Level: l.request.Level, Fence: fence,
		Delay: l.profile.delay, Frames: l.profile.frames, Voice: treatment(x.SourceKind, l.request.lufs),
		Opening: opening(l.request.Chime), RealTime: realTime(x.SourceKind),
		Encoder: encoder(l.m.Config.Encoder, x.SourceKind), Validity: validity, Tap: l.push,
	}, l.m.Issuer, l.m.Sink, l.m.Now)
	if err != nil {
		return nil, err
	}
	l.transmission.Store(t)
	l.set(func(x *store.Session) { x.Transmission, x.Fence = t.ID(), fence })
	return t, nil
}

// stop signs and sends the order that ends the transmission for good.
func (l *live) stop() {
	t := l.transmission.Load()
	s := signed.Stop{Version: 1, Transmissions: [][16]byte{t.ID()}, At: l.m.Now()}
	raw, issuer, err := l.m.Issuer.Stop(s)
	if err != nil {
		l.m.Log.Error("sign stop", "session", l.record().ID, "error", err)
		return
	}
	l.order = raw
	l.m.Sink.Stop(raw, s, issuer)
}

// farewell goes on for some seconds with beacons that carry the stop, for who missed all else, and then lets the
// fan-out forget the transmission.
func (l *live) farewell() {
	if !l.announced {
		return
	}
	t := l.transmission.Load()
	for range farewellBeacons {
		if l.order != nil {
			t.Announce(wire.ObjectStop, l.order)
		}
		select {
		case <-time.After(time.Second):
		case <-l.m.closed:
			return
		}
	}
	l.m.Sink.Close(t.ID())
}
