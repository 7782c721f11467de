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
	"dongthanh/streamer/internal/voice"
)

const (
	startWait       = 15 * time.Second // from a microphone's answer to its first sound
	validity        = signed.MaxValidity
	farewellBeacons = 5 // one a second; they outlast the 4 s of a relay's ring
	recordEvery     = 2 * time.Second
	storeWait       = 5 * time.Second // a database that hangs must not hold a session
)

// ending says who or what ends a session, and why, as the record tells it.
type ending struct{ by, reason string }

// live is a session that has not ended: one goroutine, run.
type live struct {
	m       *Manager
	request Request
	profile profile
	source  chan ingest.Source // holds one; a second is refused
	ctx     context.Context    // ends with the session's sound
	cancel  context.CancelCauseFunc
	// silenced is closed once the signed stop is on its way or the sound has ended by itself.
	silenced chan struct{}

	transmission atomic.Pointer[origin.Transmission]
	order        []byte // the signed stop, once there is one; run's goroutine only

	mu       sync.Mutex // guards what follows
	rec      store.Session
	attached bool // a source was given, or the session is over: no other is taken
}

func newLive(m *Manager, x store.Session, r Request, p profile) *live {
	l := &live{m: m, request: r, profile: p, rec: x, source: make(chan ingest.Source, 1), silenced: make(chan struct{})}
	l.ctx, l.cancel = context.WithCancelCause(context.Background())
	return l
}

func (e ending) Error() string { return "session ended: " + e.reason }

// end asks the session to end; the first reason counts.
func (l *live) end(e ending) { l.cancel(e) }

// attach hands over the session's one source.
func (l *live) attach(src ingest.Source) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.attached {
		return ErrAttached
	}
	l.attached = true
	l.source <- src
	return nil
}

// detach refuses sources from now on and lets go of one that nobody took.
func (l *live) detach() {
	l.mu.Lock()
	l.attached = true
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

// set changes the record and tells the watchers and the audience.
func (l *live) set(change func(*store.Session)) store.Session {
	l.mu.Lock()
	change(&l.rec)
	x := l.rec
	l.mu.Unlock()
	l.m.mu.Lock()
	l.m.tell(x)
	l.m.mu.Unlock()
	return x
}

func (l *live) level() voice.Level {
	if t := l.transmission.Load(); t != nil {
		return t.Level()
	}
	return voice.Silence()
}

// run is the session's whole life.
func (l *live) run() {
	l.m.Audience.Open(l.record())
	e, state := l.broadcast()
	close(l.silenced)
	l.cancel(nil)
	l.detach()
	now := time.Now()
	x := l.set(func(x *store.Session) {
		x.State, x.Ended, x.EndedBy, x.EndReason = state, now, e.by, e.reason
	})
	l.m.Audience.Close(x)
	l.m.mu.Lock()
	delete(l.m.live, x.ID)
	l.m.mu.Unlock()
	l.save("end", func(ctx context.Context) error {
		return l.m.Records.EndSession(ctx, x.ID, state, now, e.by, e.reason)
	})
	l.m.Log.Info("session ended", "session", x.ID, "state", state, "reason", e.reason, "by", e.by)
	l.farewell()
}

// broadcast waits for the sound, transmits it, and tells how the session ended. The transmission is prepared while
// the microphone connects, so that the first word does not wait for the disk.
func (l *live) broadcast() (ending, store.SessionState) {
	var (
		t     *origin.Transmission
		fault error
		ready sync.WaitGroup
	)
	ready.Go(func() { t, fault = l.prepare() })
	src, err := l.await()
	ready.Wait()
	if src != nil {
		if err = fault; err == nil {
			err = l.transmit(t, src)
		}
		_ = src.Close() // the sound has ended, and nothing is lost by a failure to let go of it
	}
	wasLive := l.record().State == store.SessionLive
	if l.transmission.Load() != nil && err != nil {
		l.stop()
	}
	var e ending
	switch {
	case err == nil:
		return ending{reason: "source_end"}, store.SessionEnded
	case errors.As(err, &e):
		if wasLive || e.by != "" {
			return e, store.SessionEnded
		}
		return e, store.SessionFailed
	case errors.Is(err, origin.ErrTooLong):
		return ending{reason: "time_limit"}, store.SessionEnded
	}
	l.m.Log.Error("session failed", "session", l.record().ID, "error", err)
	if wasLive {
		return ending{reason: "source_lost"}, store.SessionEnded
	}
	return ending{reason: "failed"}, store.SessionFailed
}

// await returns the source once it has sound.
func (l *live) await() (ingest.Source, error) {
	var src ingest.Source
	select {
	case src = <-l.source:
	case <-l.ctx.Done():
		return nil, context.Cause(l.ctx)
	case <-time.After(l.m.Config.MicrophoneWait):
		return nil, ending{reason: "no_microphone"}
	}
	var err error
	select {
	case <-src.Started():
		return src, nil
	case <-src.Done():
		err = ending{reason: "source_lost"}
	case <-l.ctx.Done():
		err = context.Cause(l.ctx)
	case <-time.After(startWait):
		err = ending{reason: "no_sound"}
	}
	return nil, errors.Join(err, src.Close())
}

// transmit puts the sound on air and returns nil when its last sample is due.
func (l *live) transmit(t *origin.Transmission, src ingest.Source) error {
	var due mediaclock.Instant
	err := t.Run(l.ctx, src, origin.Progress{
		OnAir: func() { l.m.running.Go(l.onAir) },
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
	fence, err := l.m.Records.NextFence(ctx, x.Class)
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
		Delay: l.profile.delay, Frames: l.profile.frames, Live: x.SourceKind == SourceBrowser,
		Encoder: encoder(l.m.Config.Encoder, x.SourceKind), Validity: validity,
	}, l.m.Issuer, l.m.Sink, l.m.Now)
	if err != nil {
		return nil, err
	}
	l.transmission.Store(t)
	l.m.Audience.Update(l.set(func(x *store.Session) { x.Transmission, x.Fence = t.ID(), fence }))
	return t, nil
}

// onAir records the first packet, and from then on who hears it, until the sound ends.
func (l *live) onAir() {
	now := time.Now()
	x := l.set(func(x *store.Session) {
		if x.State == store.SessionStarting {
			x.State, x.Started = store.SessionLive, now
		}
	})
	l.m.Audience.Update(x)
	l.save("set live", func(ctx context.Context) error {
		return errors.Join(l.m.Records.SetTransmission(ctx, x.ID, x.Transmission, x.Fence), l.m.Records.SetLive(ctx, x.ID, now))
	})
	tick := time.NewTicker(recordEvery)
	defer tick.Stop()
	most := -1
	for {
		select {
		case <-l.silenced:
			return
		case <-tick.C:
		}
		expected, hearing := l.m.Audience.Count(x.ID)
		if hearing <= most {
			continue
		}
		most = hearing
		l.set(func(x *store.Session) { x.Expected, x.Heard = expected, hearing })
		l.save("record listeners", func(ctx context.Context) error {
			return l.m.Records.RecordListeners(ctx, x.ID, expected, hearing)
		})
	}
}

// stop signs and sends the order that ends the transmission for good.
func (l *live) stop() {
	t := l.transmission.Load()
	s := signed.Stop{Version: 1, Transmissions: [][16]byte{t.ID()}, At: l.m.Now()}
	raw, err := l.m.Issuer.Stop(s)
	if err != nil {
		l.m.Log.Error("sign stop", "session", l.record().ID, "error", err)
		return
	}
	l.order = raw
	l.m.Sink.Stop(raw, s, l.m.Issuer.DER())
}

// farewell goes on for some seconds with beacons that carry the stop, for who missed all else, and then lets the
// fan-out forget the transmission.
func (l *live) farewell() {
	t := l.transmission.Load()
	if t == nil {
		return
	}
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

// save writes to the database and logs a failure: a disk that fails silences nobody.
func (l *live) save(act string, write func(context.Context) error) {
	ctx, cancel := context.WithTimeout(context.Background(), storeWait)
	defer cancel()
	if err := write(ctx); err != nil && !errors.Is(err, store.ErrConflict) {
		l.m.Log.Error("session record", "act", act, "session", l.record().ID, "error", err)
	}
}
