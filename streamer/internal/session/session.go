// Package session is the life of a broadcast, from the request to the last sample: who is on air where, which
// transmission carries it, how it ends. Decisions are in plan.go and are pure; a session's loop is in live.go.
//
// It does not decide who may ask (accounts), nor who hears (nodes); loudspeakers decide for themselves what they
// play (DESIGN §8), so everything here is politeness and order, not the authority.
package session

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"dongthanh/internal/mediaclock"
	"dongthanh/internal/packet"
	"dongthanh/internal/signed"
	"dongthanh/internal/zone"
	"dongthanh/streamer/internal/ingest"
	"dongthanh/streamer/internal/origin"
	"dongthanh/streamer/internal/store"
	"dongthanh/streamer/internal/voice"
)

// Errors of Start, Attach and Stop, besides those of the store; test with errors.Is.
var (
	ErrZones    = errors.New("no zone, or more than a certificate can hold")
	ErrSource   = errors.New("unknown kind of source")
	ErrAudio    = errors.New("no such audio")
	ErrDelay    = errors.New("unknown delay profile")
	ErrOver     = errors.New("session is over")
	ErrAttached = errors.New("session has its microphone already")
	// ErrNotSpeaker says that the microphone of a session was another's.
	ErrNotSpeaker = errors.New("session is another's to speak in")
	ErrClosing    = errors.New("streamer is shutting down")
)

// BusyError tells that a zone is on air already with a session that does not yield to the new one.
type BusyError struct{ Session store.Session }

func (e *BusyError) Error() string { return "zone is on air with session " + e.Session.ID }

// Request asks for a broadcast.
type Request struct {
	Zones  []zone.Zone
	Class  signed.Class
	Delay  string // a delay profile; empty: auto
	Title  string
	Source string             // one of the kinds
	Audio  string             // id of the library's audio, for SourceFile
	Line   ingest.LineOptions // for SourceRTP
	URL    string             // for SourceURL
	Text   string             // for SourceSpeech
	Chime  bool               // the opening chime comes first
	By     string             // user or token id
	Level  uint8              // administrative level of who speaks, from the principal's zone
	Replay *store.Replay

	lufs float64 // loudness of the file, as the library measured it
}

// Session is a broadcast as its record stands, with how loud it is now.
type Session struct {
	store.Session
	Level    voice.Level     // silence unless on air
	Presence ingest.Presence // of its microphone, where it has one
	Line     *ingest.Line    // of a SourceRTP that has not ended
}

// Records is the part of the store a session needs.
type Records interface {
	CreateSession(ctx context.Context, x store.Session, replay *store.Replay) (store.Session, bool, error)
	Session(ctx context.Context, id string) (store.Session, error)
	Sessions(ctx context.Context, before string, limit int) ([]store.Session, error)
	SetTransmission(ctx context.Context, id string, transmission [16]byte, fence uint64) error
	SetLive(ctx context.Context, id string, at time.Time) error
	EndSession(ctx context.Context, id string, state store.SessionState, at time.Time, by, reason string) error
	EndInterrupted(ctx context.Context, at time.Time, reason string) ([]string, error)
	RecordListeners(ctx context.Context, id string, expected, hearing int) error
	AddListeners(ctx context.Context, session string, list []store.Listener) error
	NextFence(ctx context.Context, class string) (uint64, error)
	EnsureZoneKey(ctx context.Context, z zone.Zone, at time.Time) (store.ZoneKey, error)
}

// Issuer signs what a session needs signed.
type Issuer interface {
	origin.Issuer
	Stop(signed.Stop) (raw, issuer []byte, err error)
}

// Sink is the first fan-out.
type Sink interface {
	origin.Sink
	Stop(raw []byte, s signed.Stop, issuer []byte)
	Close(packet.TransmissionID)
}

// Audience learns which transmissions are on air, counts who hears them, and shows the zones as taken.
type Audience interface {
	Open(x store.Session)
	Update(x store.Session)
	Close(x store.Session)
	Count(session string) (expected, hearing int)
	// Account tells of each loudspeaker what it heard of a session that is over, and forgets the session.
	Account(session string) []store.Listener
}

// Options are what a Manager needs; all but Recorder are required.
type Options struct {
	Config   Config
	Recorder Recorder // nil: nothing is recorded
	Records  Records
	Issuer   Issuer
	Sink     Sink
	Audience Audience
	Library  Library
	Lines    Lines
	Radio    Radio
	Speaker  Speaker
	Now      func() mediaclock.Instant // network time
	Log      *slog.Logger
}

// Manager owns the sessions of one streamer.
type Manager struct {
	Options

	fences *fences

	starting sync.Mutex // held from the look for a conflict until the session counts as one, over the database
	urgent   sync.Mutex // the same for emergencies, which only another one can keep out: they wait behind no ordinary start

	mu       sync.Mutex // guards what follows; never held over the database, since a stop needs it
	live     map[string]*live
	watchers map[chan store.Session]struct{}
	closing  bool
	closed   chan struct{} // closed with closing
	running  sync.WaitGroup
}

// NewManager makes a manager and ends, on record, what a crash left on air.
func NewManager(ctx context.Context, o Options) (*Manager, error) {
	ended, err := o.Records.EndInterrupted(ctx, time.Now(), "interrupted")
	if err != nil {
		return nil, err
	}
	if len(ended) > 0 {
		o.Log.Warn("sessions were interrupted by a restart", "sessions", ended)
	}
	f := &fences{draw: o.Records.NextFence, log: o.Log}
	if err := f.fill(ctx); err != nil {
		return nil, err
	}
	return &Manager{
		Options: o, fences: f, live: map[string]*live{}, watchers: map[chan store.Session]struct{}{}, closed: make(chan struct{}),
	}, nil
}

// Close stops every session, with a signed stop, and returns when all have ended. Call it once.
func (m *Manager) Close() {
	m.mu.Lock()
	m.closing = true
	close(m.closed)
	for _, l := range m.live {
		l.end(ending{reason: "shutdown"})
	}
	m.mu.Unlock()
	m.running.Wait()
}

// Start begins a session and returns its record at once; the sound follows. A repeated Replay returns the first
// session and true. Errors: BusyError, ErrZones, ErrSource, ErrAudio, ErrDelay, ErrClosing, the
// store's, and those of whoever opens the source.
func (m *Manager) Start(ctx context.Context, r Request) (store.Session, bool, error) {
	x, profile, err := draft(r, time.Now())
	if err != nil {
		return store.Session{}, false, err
	}
	src, err := m.open(ctx, &r)
	if err != nil {
		return store.Session{}, false, err
	}
	x, again, err := m.admit(ctx, x, r, profile, src)
	if (err != nil || again) && src != nil {
		_ = src.Close()
	}
	return x, again, err
}

// admit checks for a conflict and creates the record as one step, so that of two requests at once one is refused.
func (m *Manager) admit(ctx context.Context, x store.Session, r Request, p profile, src ingest.Source) (store.Session, bool, error) {
	turn, wait := &m.starting, storeWait
	if r.Class == signed.ClassEmergency {
		turn, wait = &m.urgent, emergencyWait
	}
	turn.Lock()
	defer turn.Unlock()
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	if busy := conflict(m.onAir(), x); busy != nil && r.Replay == nil {
		return store.Session{}, false, &BusyError{Session: *busy}
	}
	recorded, again, err := m.Records.CreateSession(ctx, x, r.Replay)
	unrecorded := diskFault(err) && r.Class == signed.ClassEmergency
	switch {
	case unrecorded:
		m.Log.Error("emergency without a record: the disk fails; it will be written when the disk is back", "session", x.ID, "error", err)
	case err != nil:
		return store.Session{}, false, err
	default:
		x = recorded
	}
	if again {
		if x.EndReason == store.EndBusy {
			return store.Session{}, false, &BusyError{Session: x} // the same answer as to the first request
		}
		if l, err := m.find(x.ID); err == nil {
			x = l.record() // the record on disk may be behind
		}
		return x, true, nil
	}
	l := newLive(m, x, r, p)
	l.unrecorded = unrecorded
	if src != nil {
		l.give(src)
		l.line, _ = src.(*ingest.Line)
	}
	if reason, err := m.enter(l, x); err != nil {
		l.cancel(nil)
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeWait)
		defer cancel()
		return store.Session{}, false, errors.Join(err, m.Records.EndSession(ctx, x.ID, store.SessionFailed, time.Now(), "", reason))
	}
	return x, false, nil
}

// enter starts a session whose record is made, or says why not.
func (m *Manager) enter(l *live, x store.Session) (reason string, err error) {
	if busy := conflict(m.onAir(), x); busy != nil {
		return store.EndBusy, &BusyError{Session: *busy}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closing {
		return "shutdown", ErrClosing
	}
	m.live[x.ID] = l
	m.Audience.Open(x)
	m.tell(x)
	l.recordSound(x)
	m.running.Go(l.run)
	return "", nil
}

// onAir lists the sessions that have not ended.
func (m *Manager) onAir() []store.Session {
	m.mu.Lock()
	defer m.mu.Unlock()
	list := make([]store.Session, 0, len(m.live))
	for _, l := range m.live {
		if x := l.record(); !over(x) {
			list = append(list, x)
		}
	}
	return list
}

func over(x store.Session) bool {
	return x.State == store.SessionEnded || x.State == store.SessionFailed
}

// Stop silences a session everywhere and returns once the signed stop is on its way. Stopping an ended session
// changes nothing and is no error.
func (m *Manager) Stop(ctx context.Context, id, by string) error {
	l, err := m.find(id)
	if errors.Is(err, ErrOver) {
		_, err = m.Records.Session(ctx, id) // ErrNotFound where there never was one
		return err
	}
	l.end(ending{by: by, reason: "stop"})
	select {
	case <-l.silenced:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Get returns a session, on air or not; store.ErrNotFound.
func (m *Manager) Get(ctx context.Context, id string) (Session, error) {
	if l, err := m.find(id); err == nil {
		return l.session(), nil
	}
	x, err := m.Records.Session(ctx, id)
	return Session{Session: x, Level: voice.Silence()}, err
}

// List returns at most limit sessions, newest first, from before the session with id before (empty: the newest).
func (m *Manager) List(ctx context.Context, before string, limit int) ([]Session, error) {
	m.mu.Lock()
	live := maps.Clone(m.live) // before the disk is read: what ends meanwhile is told from here, the disk's word is older
	m.mu.Unlock()
	list, err := m.Records.Sessions(ctx, before, limit)
	if err != nil {
		return nil, err
	}
	out := make([]Session, len(list))
	for i, x := range list {
		out[i] = Session{Session: x, Level: voice.Silence()}
		l := live[x.ID]
		if l == nil { // it may have begun since
			l, _ = m.find(x.ID)
		}
		if l != nil {
			out[i] = l.session()
		}
	}
	return out, nil
}

// OnAir returns the sessions that are starting or live, the oldest first.
func (m *Manager) OnAir() []Session {
	var out []Session
	for _, x := range m.onAir() {
		if l, err := m.find(x.ID); err == nil {
			s := l.session()
			s.Session = x
			out = append(out, s)
		}
	}
	slices.SortFunc(out, func(a, b Session) int { return strings.Compare(a.ID, b.ID) })
	return out
}

// find returns a session that is on air, or whose end is not on disk yet; else ErrOver.
func (m *Manager) find(id string) (*live, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if l := m.live[id]; l != nil {
		return l, nil
	}
	return nil, ErrOver
}

// Watch returns a channel of changed records and a function that ends it. A watcher that is 64 changes behind loses
// the oldest: each record is whole, so the newest is what counts.
func (m *Manager) Watch() (<-chan store.Session, func()) {
	c := make(chan store.Session, 64)
	m.mu.Lock()
	m.watchers[c] = struct{}{}
	m.mu.Unlock()
	return c, func() {
		m.mu.Lock()
		delete(m.watchers, c)
		m.mu.Unlock()
	}
}

// tell passes a changed record to the watchers. m.mu is held.
func (m *Manager) tell(x store.Session) {
	for c := range m.watchers {
		for sent := false; !sent; {
			select {
			case c <- x:
				sent = true
			default:
				select {
				case <-c:
				default:
				}
			}
		}
	}
}
