package session

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"dongthanh/codec"
	"dongthanh/internal/cluster"
	"dongthanh/internal/identity"
	"dongthanh/internal/mediaclock"
	"dongthanh/internal/packet"
	"dongthanh/internal/seq"
	"dongthanh/internal/signed"
	"dongthanh/internal/wire"
	"dongthanh/internal/zone"
	"dongthanh/streamer/internal/ingest"
	"dongthanh/streamer/internal/issuer"
	"dongthanh/streamer/internal/library"
	"dongthanh/streamer/internal/radio"
	"dongthanh/streamer/internal/speech"
	"dongthanh/streamer/internal/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// bed is a manager over a real store, issuer, codec and library, in fake time. Its loudspeakers are sink and audience.
type bed struct {
	*Manager
	t        *testing.T
	dir      string
	store    *faulty
	issuer   *issuer.Issuer
	library  *library.Library
	sink     *sink
	audience *audience
	log      *bytes.Buffer // of the manager; read it when nothing runs
	closing  sync.Once
}

// inTime runs f in a bubble of fake time, in which nothing but the test's own waiting passes any.
func inTime(t *testing.T, f func(t *testing.T, b *bed)) {
	t.Helper()
	t.Parallel() // each waits for the disk now and then
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, dir)
		defer b.end()
		f(t, b)
	})
}

func newBed(t *testing.T, dir string) *bed {
	t.Helper()
	b := &bed{t: t, dir: dir, sink: &sink{}, audience: &audience{counts: map[string][2]int{}}, log: &bytes.Buffer{}}
	s, err := store.Open(t.Context(), dir, nil)
	b.must(err)
	b.store = &faulty{Store: s}
	_, _, err = s.UpsertZones(t.Context(), []store.Zone{
		{Code: "31", Name: "Hải Phòng"}, {Code: "31/11296", Name: "Xã Vĩnh Bảo"}, {Code: "31/11296/02", Name: "Thôn Đông"},
		{Code: "31/11407", Name: "Xã Tiên Lãng"}, {Code: "33", Name: "Hưng Yên"},
	}, time.Now())
	b.must(err)
	b.issuer, err = issuer.Open(t.Context(), issuer.Options{
		Dir: filepath.Join(dir, "keys"), Store: s, MaxClass: signed.ClassEmergency, Log: slog.New(slog.DiscardHandler),
	})
	b.must(err)
	b.library, err = library.Open(dir, s, nil)
	b.must(err)
	b.restart()
	return b
}

// restart is what a new process does.
func (b *bed) restart() {
	b.t.Helper()
	var err error
	b.Manager, err = NewManager(b.t.Context(), Options{
		Config: DefaultConfig(), Records: b.store, Issuer: b.issuer, Sink: b.sink, Audience: b.audience, Library: b.library,
		Lines: b.lines(), Radio: radio.New(radio.Config{}, slog.New(slog.DiscardHandler)),
		Speaker: speech.New(slog.New(slog.DiscardHandler)),
		Now:     func() mediaclock.Instant { return mediaclock.At(time.Now()) }, Log: slog.New(slog.NewTextHandler(b.log, nil)),
	})
	b.must(err)
}

// lines opens line-ins for real.
func (b *bed) lines() *ingest.Lines {
	b.t.Helper()
	lines, err := ingest.NewLines(ingest.LineConfig{}, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	b.must(err)
	return lines
}

// shut closes the manager, once.
func (b *bed) shut() { b.closing.Do(b.Manager.Close) }

func (b *bed) end() {
	b.t.Helper()
	b.shut()
	if err := errors.Join(b.library.Close(), b.store.Close()); err != nil {
		b.t.Error(err)
	}
}

func (b *bed) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

// audio puts so many seconds of a tone into the library.
func (b *bed) audio(seconds float64) (id string) {
	b.t.Helper()
	path := filepath.Join(b.dir, "tone.wav")
	f, err := os.Create(path)
	b.must(err)
	defer f.Close()
	w, err := codec.NewWAVWriter(f)
	b.must(err)
	pcm := make([]int16, int(seconds*codec.SampleRate))
	for i := range pcm {
		pcm[i] = int16(10000 * math.Sin(2*math.Pi*997*float64(i)/codec.SampleRate))
	}
	b.must(w.Write(pcm))
	b.must(w.Flush())
	_, err = f.Seek(0, io.SeekStart)
	b.must(err)
	a, err := b.library.Add(b.t.Context(), f, "tone.wav", "lan")
	b.must(err)
	return a.ID
}

// file is a request to play so many seconds of a tone.
func (b *bed) file(seconds float64, zones ...zone.Zone) Request {
	b.t.Helper()
	return Request{Zones: zones, Delay: "live", Title: "Bản tin", Source: SourceFile, Audio: b.audio(seconds), By: "lan", Level: 2}
}

func browser(zones ...zone.Zone) Request {
	return Request{Zones: zones, Delay: "live", Source: SourceBrowser, By: "lan", Level: 2}
}

// speak is a microphone session that is on air, with an hour to say.
func (b *bed) speak(r Request) store.Session {
	b.t.Helper()
	x := b.begin(r)
	src, _ := speaker(3600, io.EOF)
	b.must(b.Attach(x.ID, src))
	return b.until(x.ID, store.SessionLive)
}

// begin starts a session that must be admitted.
func (b *bed) begin(r Request) store.Session {
	b.t.Helper()
	x, again, err := b.Start(b.t.Context(), r)
	if err != nil || again || x.State != store.SessionStarting {
		b.t.Fatalf("Start = %s, %v, %v; want a new one that is starting", x.State, again, err)
	}
	return x
}

// Attach brings lan's microphone.
func (b *bed) Attach(id string, src ingest.Source) error {
	_, err := b.Manager.Attach(id, src, Claim{By: "lan"})
	return err
}

// until waits for the state of a session, and returns its record then.
func (b *bed) until(id string, want store.SessionState) store.Session {
	b.t.Helper()
	return b.within(time.Minute, id, want)
}

// ends waits for the end of a session, over the longest gap of its microphone.
func (b *bed) ends(id string) {
	b.t.Helper()
	b.within(2*time.Minute, id, store.SessionEnded)
}

func (b *bed) within(wait time.Duration, id string, want store.SessionState) store.Session {
	b.t.Helper()
	changed, end := b.Watch()
	defer end()
	for limit := time.After(wait); ; {
		if x := b.record(id); x.State == want {
			return x
		}
		select {
		case <-changed:
		case <-limit:
			b.t.Fatalf("session is %s (%s) after %v, want %s", b.record(id).State, b.record(id).EndReason, wait, want)
		}
	}
}

func (b *bed) record(id string) store.Session {
	b.t.Helper()
	x, err := b.Get(b.t.Context(), id)
	b.must(err)
	return x.Session
}

// trust is what a loudspeaker goes by.
func (b *bed) trust() *identity.Trust {
	b.t.Helper()
	t := identity.NewTrust(b.issuer.Credentials().Roots, time.Now)
	b.must(t.AddIssuer(b.issuer.DER()))
	return t
}

// stopped checks that exactly one stop was sent, that it holds, and that it is of the session's transmission. It returns
// when it was ordered.
func (b *bed) stopped(x store.Session) mediaclock.Instant {
	b.t.Helper()
	var of []mediaclock.Instant
	for _, raw := range b.sink.now().stops {
		s, _, err := b.trust().Stop(raw)
		b.must(err)
		if slices.Contains(s.Transmissions, x.Transmission) {
			of = append(of, s.At)
		}
	}
	if len(of) != 1 {
		b.t.Fatalf("%d stops of the session, want 1", len(of))
	}
	return of[0]
}

// check compares how a session ended with what is wanted, in memory and on disk.
func (b *bed) check(id string, state store.SessionState, reason, by string) store.Session {
	b.t.Helper()
	synctest.Wait()
	x := b.record(id)
	disk, err := b.store.Store.Session(b.t.Context(), id)
	b.must(err)
	for _, r := range []store.Session{x, disk} {
		if r.State != state || r.EndReason != reason || r.EndedBy != by || r.Ended.IsZero() {
			b.t.Errorf("session %s by %q because of %s at %v, want %s by %q because of %s", r.State, r.EndedBy, r.EndReason, r.Ended, state, by, reason)
		}
	}
	return disk
}

// sent is what transmissions sent, and when.
type sent struct {
	opened  []*cluster.Transmission
	media   []seq.Index
	mediaAt []time.Time
	beacons []wire.ObjectKind
	stops   [][]byte
	closed  []packet.TransmissionID
}

// sink records what is sent.
type sink struct {
	mu sync.Mutex
	sent
}

// now returns what was sent so far; nothing is ever taken out of a list, so that they may be shared.
func (s *sink) now() sent {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sent
}

func (s *sink) Open(t *cluster.Transmission) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.opened = append(s.opened, t)
}

func (s *sink) Media(p packet.Packet) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.media, s.mediaAt = append(s.media, p.Index), append(s.mediaAt, time.Now())
}

func (s *sink) Beacon(b wire.BeaconBody, _ []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.beacons = append(s.beacons, b.Kind)
}

func (s *sink) Stop(raw []byte, _ signed.Stop, _ []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stops = append(s.stops, raw)
}

func (s *sink) Close(id packet.TransmissionID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = append(s.closed, id)
}

// audience counts what it is told to, and records the calls.
type audience struct {
	mu     sync.Mutex
	calls  []string // act and state, such as "update live"
	counts map[string][2]int
}

func (a *audience) note(act string, x store.Session) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.calls = append(a.calls, act+" "+string(x.State))
}

func (a *audience) Open(x store.Session)   { a.note("open", x) }
func (a *audience) Update(x store.Session) { a.note("update", x) }
func (a *audience) Close(x store.Session)  { a.note("close", x) }

func (a *audience) Count(id string) (expected, hearing int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.counts[id][0], a.counts[id][1]
}

// Account tells that nobody is known.
func (a *audience) Account(string) []store.Listener { return nil }

func (a *audience) hear(id string, expected, hearing int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.counts[id] = [2]int{expected, hearing}
}

// faulty is the real store, with calls that can be made to hang.
type faulty struct {
	*store.Store
	mu   sync.Mutex
	hung map[string]bool // by act
	read func()          // called once a list has been read from the disk; nil: nothing is done
}

func (f *faulty) Sessions(ctx context.Context, before string, limit int) ([]store.Session, error) {
	list, err := f.Store.Sessions(ctx, before, limit)
	if f.read != nil {
		f.read()
	}
	return list, err
}

func (f *faulty) hang(acts ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hung = map[string]bool{}
	for _, a := range acts {
		f.hung[a] = true
	}
}

// wait hangs as a disk does: until the caller gives up.
func (f *faulty) wait(ctx context.Context, act string) error {
	f.mu.Lock()
	hung := f.hung[act]
	f.mu.Unlock()
	if !hung {
		return nil
	}
	<-ctx.Done()
	return ctx.Err()
}

func (f *faulty) CreateSession(ctx context.Context, x store.Session, r *store.Replay) (store.Session, bool, error) {
	if err := f.wait(ctx, "create"); err != nil {
		return store.Session{}, false, err
	}
	return f.Store.CreateSession(ctx, x, r)
}

func (f *faulty) EnsureZoneKey(ctx context.Context, z zone.Zone, at time.Time) (store.ZoneKey, error) {
	if err := f.wait(ctx, "key"); err != nil {
		return store.ZoneKey{}, err
	}
	return f.Store.EnsureZoneKey(ctx, z, at)
}

func (f *faulty) NextFence(ctx context.Context, class string) (uint64, error) {
	if err := f.wait(ctx, "fence"); err != nil {
		return 0, err
	}
	return f.Store.NextFence(ctx, class)
}

func (f *faulty) SetLive(ctx context.Context, id string, at time.Time) error {
	if err := f.wait(ctx, "live"); err != nil {
		return err
	}
	return f.Store.SetLive(ctx, id, at)
}

func (f *faulty) EndSession(ctx context.Context, id string, s store.SessionState, at time.Time, by, why string) error {
	if err := f.wait(ctx, "end"); err != nil {
		return err
	}
	return f.Store.EndSession(ctx, id, s, at, by, why)
}

// sound is PCM of a tone for so many samples, then err.
type sound struct {
	left int
	at   int
	err  error
}

func (s *sound) Read(pcm []float32) (int, error) {
	n := min(len(pcm), s.left)
	for i := range n {
		pcm[i] = float32(0.3 * math.Sin(2*math.Pi*997*float64(s.at+i)/codec.SampleRate))
	}
	s.left, s.at = s.left-n, s.at+n
	if n == 0 {
		return 0, s.err
	}
	return n, nil
}

// speaker is a source that speaks for so many seconds and then ends with err. closed tells that it was closed.
func speaker(seconds float64, err error) (src ingest.Source, closed chan struct{}) {
	c := closer{make(chan struct{})}
	return ingest.NewFile(&sound{left: int(seconds * codec.SampleRate), err: err}, c), c.closed
}

type closer struct{ closed chan struct{} }

func (c closer) Close() error { close(c.closed); return nil }

func isClosed(c chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
