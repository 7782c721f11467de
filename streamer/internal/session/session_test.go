package session

import (
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"dongthanh/internal/mediaclock"
	"dongthanh/internal/signed"
	"dongthanh/internal/testkit"
	"dongthanh/internal/wire"
	"dongthanh/internal/zone"
	"dongthanh/streamer/internal/store"
)

// TestFileEndsByItself follows a file of one second from the request to the instant at which its last sample sounds.
func TestFileEndsByItself(t *testing.T) {
	inTime(t, func(t *testing.T, b *bed) {
		begun := time.Now()
		x := b.begin(b.file(1, "31/11296"))
		b.audience.hear(x.ID, 3, 2)
		if got, err := b.Get(t.Context(), x.ID); err != nil || got.Level.RMS > -100 {
			t.Errorf("before the first packet: %v dBFS, %v; want silence", got.Level.RMS, err)
		}
		live := b.until(x.ID, store.SessionLive)
		if after := time.Since(begun); after > 200*time.Millisecond {
			t.Errorf("live %v after the request, want within 200 ms", after)
		}
		if live.Started.IsZero() || live.Transmission == [16]byte{} || live.Fence == 0 {
			t.Errorf("live without start, transmission or fence: %+v", live)
		}
		time.Sleep(500 * time.Millisecond)
		if got, _ := b.Get(t.Context(), x.ID); got.Level.RMS < -30 || got.Level.Peak < -20 {
			t.Errorf("level of a tone on air = %+v", got.Level)
		}
		if list := b.OnAir(); len(list) != 1 || list[0].ID != x.ID {
			t.Errorf("on air: %+v, want the session", list)
		}
		b.until(x.ID, store.SessionEnded)

		s := b.sink.now()
		cert, _, err := b.trust().Session(s.opened[0].Raw)
		b.must(err)
		due := cert.PlayAt(uint64(s.media[len(s.media)-1]) + 1)
		if now := mediaclock.At(time.Now()); now != due {
			t.Errorf("ended %v after the last sample is due, want then", now.Sub(due))
		}
		disk := b.check(x.ID, store.SessionEnded, "source_end", "")
		if d := disk.Started.Sub(s.mediaAt[0]); d > 0 || d < -time.Millisecond { // stored in milliseconds
			t.Errorf("started %v, first packet %v", disk.Started, s.mediaAt[0])
		}
		if disk.Expected != 3 || disk.Heard != 2 || disk.Transmission != cert.Transmission || disk.Fence != cert.Fence {
			t.Errorf("record %+v", disk)
		}
		if cert.Class != signed.ClassNormal || cert.Level != 2 || len(cert.Zones) != 1 || cert.KeyZone != "31/11296" || cert.Delay() != 400*time.Millisecond {
			t.Errorf("certificate %+v", cert)
		}
		if len(b.OnAir()) != 0 {
			t.Error("still on air")
		}
		if len(s.closed) != 0 {
			t.Error("the fan-out forgot the transmission while its last packets may be asked for")
		}
		time.Sleep(farewellBeacons * time.Second)
		synctest.Wait()
		if s = b.sink.now(); len(s.closed) != 1 || s.closed[0] != cert.Transmission || len(s.stops) != 0 {
			t.Errorf("closed %v, %d stops; want the transmission closed and no stop", s.closed, len(s.stops))
		}
	})
}

// TestTextEndsByItself has a text spoken to its end.
func TestTextEndsByItself(t *testing.T) {
	testkit.Program(t, "espeak-ng")
	inTime(t, func(t *testing.T, b *bed) {
		x := b.begin(Request{Zones: []zone.Zone{"31"}, Source: SourceSpeech, Text: "Xin chào bà con thôn Đông."})
		b.until(x.ID, store.SessionLive)
		b.until(x.ID, store.SessionEnded)
		b.check(x.ID, store.SessionEnded, "source_end", "")
		if n := len(b.sink.now().media); n < 25 || n > 150 { // of 40 ms
			t.Errorf("six words take %d packets", n)
		}
		time.Sleep(farewellBeacons * time.Second)
		synctest.Wait()
	})
}

// TestListWhileOneEnds: a session that ends, and is forgotten here, between the disk's word and the answer is told as it
// is now.
func TestListWhileOneEnds(t *testing.T) {
	inTime(t, func(t *testing.T, b *bed) {
		x := b.speak(browser("31"))
		b.store.read = func() {
			b.must(b.Stop(t.Context(), x.ID, "minh"))
			time.Sleep(time.Minute)
			synctest.Wait()
		}
		list, err := b.List(t.Context(), "", 50)
		b.store.read = nil
		if err != nil || len(list) != 1 || list[0].State != store.SessionEnded || list[0].EndedBy != "minh" {
			t.Errorf("listed: %+v, %v", list, err)
		}
	})
}

func TestStop(t *testing.T) {
	inTime(t, func(t *testing.T, b *bed) {
		x := b.speak(browser("31"))
		time.Sleep(time.Second)
		asked := mediaclock.At(time.Now())
		b.must(b.Stop(t.Context(), x.ID, "minh"))
		if x = b.record(x.ID); x.State != store.SessionEnded || x.EndedBy != "minh" {
			t.Errorf("after Stop the session is %s by %q, want ended by minh", x.State, x.EndedBy)
		}
		if at := b.stopped(x); at != asked {
			t.Errorf("stop ordered %v after it was asked for", at.Sub(asked))
		}
		before := len(b.sink.now().media)
		b.check(x.ID, store.SessionEnded, "stop", "minh")
		time.Sleep(10 * time.Second)
		synctest.Wait()
		s := b.sink.now()
		if more := len(s.media) - before; more != 0 {
			t.Errorf("%d packets after the stop", more)
		}
		stops := 0
		for _, k := range s.beacons {
			if k == wire.ObjectStop {
				stops++
			}
		}
		if stops != farewellBeacons || len(s.closed) != 1 {
			t.Errorf("%d beacons carry the stop, %d closed; want %d and 1", stops, len(s.closed), farewellBeacons)
		}
		b.must(b.Stop(t.Context(), x.ID, "ai")) // again: no error, and the first stands
		b.check(x.ID, store.SessionEnded, "stop", "minh")
		if err := b.Stop(t.Context(), store.NewID(), "ai"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("stop of what never was: %v, want ErrNotFound", err)
		}
	})
}

// TestNothingWasHeard: sessions that end before their first packet, and of which no loudspeaker is told anything.
func TestNothingWasHeard(t *testing.T) {
	for _, c := range []struct {
		name   string
		do     func(t *testing.T, b *bed, id string) (closed chan struct{}) // of the source, if there is one
		state  store.SessionState
		reason string
		by     string
		after  time.Duration
	}{
		{"no microphone comes", func(*testing.T, *bed, string) chan struct{} { return nil },
			store.SessionFailed, "no_microphone", "", 20 * time.Second},
		{"the microphone brings no sound", func(t *testing.T, b *bed, id string) chan struct{} {
			time.Sleep(3 * time.Second)
			src := silentSource()
			b.must(b.Attach(id, src))
			return src.closed
		}, store.SessionFailed, "no_sound", "", 18 * time.Second},
		{"the microphone is lost before its first sound", func(t *testing.T, b *bed, id string) chan struct{} {
			time.Sleep(time.Second)
			src, closed := speaker(0, errors.New("connection lost"))
			b.must(b.Attach(id, src))
			return closed
		}, store.SessionFailed, "source_lost", "", time.Second},
		{"stopped while it waits for the microphone", func(t *testing.T, b *bed, id string) chan struct{} {
			time.Sleep(time.Second)
			b.must(b.Stop(t.Context(), id, "minh"))
			return nil
		}, store.SessionEnded, "stop", "minh", time.Second},
		{"stopped while the microphone connects", func(t *testing.T, b *bed, id string) chan struct{} {
			src := silentSource()
			b.must(b.Attach(id, src))
			time.Sleep(2 * time.Second)
			b.must(b.Stop(t.Context(), id, "minh"))
			return src.closed
		}, store.SessionEnded, "stop", "minh", 2 * time.Second},
		{"the streamer ends", func(_ *testing.T, b *bed, _ string) chan struct{} {
			time.Sleep(time.Second)
			b.shut()
			return nil
		}, store.SessionFailed, "shutdown", "", time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			inTime(t, func(t *testing.T, b *bed) {
				begun := time.Now()
				x := b.begin(browser("31/11296"))
				closed := c.do(t, b, x.ID)
				b.until(x.ID, c.state)
				if took := time.Since(begun); took != c.after {
					t.Errorf("ended after %v, want %v", took, c.after)
				}
				if disk := b.check(x.ID, c.state, c.reason, c.by); !disk.Started.IsZero() {
					t.Errorf("started at %v, want never", disk.Started)
				}
				if closed != nil && !isClosed(closed) {
					t.Error("the source was not closed")
				}
				late, lateClosed := speaker(1, io.EOF)
				if err := b.Attach(x.ID, late); !errors.Is(err, ErrOver) || !isClosed(lateClosed) {
					t.Errorf("a microphone afterwards: %v, closed %v; want ErrOver and closed", err, isClosed(lateClosed))
				}
				time.Sleep(10 * time.Second)
				s := b.sink.now()
				if n := len(s.opened) + len(s.media) + len(s.beacons) + len(s.stops) + len(s.closed); n != 0 {
					t.Errorf("loudspeakers were told of it: %+v", s)
				}
			})
		})
	}
}

// silent is a source that never has sound.
type silent struct{ started, done, closed chan struct{} }

func silentSource() silent {
	return silent{make(chan struct{}), make(chan struct{}), make(chan struct{})}
}

func (silent) Read(frame []float32) error { clear(frame); return nil }
func (s silent) Started() <-chan struct{} { return s.started }
func (s silent) Done() <-chan struct{}    { return s.done }
func (s silent) Close() error             { close(s.closed); return nil }

// stuck is a source whose Close hangs until release is closed, as a connection to a browser can.
type stuck struct {
	silent
	release chan struct{}
}

func (s stuck) Close() error { <-s.release; return nil }

// TestStopDoesNotWaitForTheSource: silence first, then the tidying up.
func TestStopDoesNotWaitForTheSource(t *testing.T) {
	inTime(t, func(t *testing.T, b *bed) {
		x := b.begin(browser("31"))
		src := stuck{silentSource(), make(chan struct{})}
		close(src.started)
		b.must(b.Attach(x.ID, src))
		b.until(x.ID, store.SessionLive)
		asked := time.Now()
		b.must(b.Stop(t.Context(), x.ID, "minh"))
		if took := time.Since(asked); took != 0 {
			t.Errorf("the stop took %v while the source was being closed", took)
		}
		b.stopped(b.record(x.ID))
		b.check(x.ID, store.SessionEnded, "stop", "minh")
		close(src.release)
	})
}

func TestBreakingIn(t *testing.T) {
	inTime(t, func(t *testing.T, b *bed) {
		normal := b.speak(browser("31/11296"))
		_, _, err := b.Start(t.Context(), browser("31"))
		var busy *BusyError
		if !errors.As(err, &busy) || busy.Session.ID != normal.ID {
			t.Fatalf("another normal one: %v, want BusyError with the first", err)
		}
		r := browser("31")
		r.Class = signed.ClassEmergency
		emergency := b.speak(r)
		if list := b.OnAir(); len(list) != 2 || list[0].ID != normal.ID || list[1].ID != emergency.ID {
			t.Errorf("on air: %+v, want both, the oldest first", list)
		}
		n, e := b.record(normal.ID), b.record(emergency.ID)
		if n.Fence != 1 || e.Fence != 1 { // each class has its own numbers
			t.Errorf("fences %d and %d, want 1 and 1", n.Fence, e.Fence)
		}
		if low, high := b.sink.now().opened[0].Cert, b.sink.now().opened[1].Cert; !high.Outranks(low) {
			t.Error("the emergency does not go before the normal one")
		}
		expect := "# HELP dongthanh_streamer_sessions Sessions that are starting or live.\n# TYPE dongthanh_streamer_sessions gauge\n" +
			"dongthanh_streamer_sessions{state=\"live\"} 2\ndongthanh_streamer_sessions{state=\"starting\"} 0\n"
		if err := testutil.CollectAndCompare(NewCollector(b.Manager), strings.NewReader(expect)); err != nil {
			t.Error(err)
		}
		b.must(b.Stop(t.Context(), normal.ID, "lan"))
		if _, _, err := b.Start(t.Context(), browser("31/11296")); !errors.As(err, &busy) || busy.Session.ID != emergency.ID {
			t.Errorf("a normal one during the emergency: %v, want BusyError with the emergency", err)
		}
	})
}

func TestAudienceAndListeners(t *testing.T) {
	inTime(t, func(t *testing.T, b *bed) {
		x := b.begin(b.file(5, "31"))
		b.until(x.ID, store.SessionLive)
		for _, hearing := range []int{4, 6} {
			b.audience.hear(x.ID, 6, hearing)
			time.Sleep(recordEvery)
		}
		b.audience.hear(x.ID, 6, 5)
		synctest.Wait()
		if r := b.record(x.ID); r.Expected != 6 || r.Heard != 6 {
			t.Errorf("on air: heard by %d of %d, want the most, 6 of 6", r.Heard, r.Expected)
		}
		b.until(x.ID, store.SessionEnded)
		if disk := b.check(x.ID, store.SessionEnded, "source_end", ""); disk.Expected != 6 || disk.Heard != 6 {
			t.Errorf("on disk: heard by %d of %d, want 6 of 6", disk.Heard, disk.Expected)
		}
		time.Sleep(time.Minute)
		calls := b.audience.calls
		if calls[0] != "open starting" || calls[len(calls)-1] != "close ended" || slices.Contains(calls[:len(calls)-1], "close ended") {
			t.Errorf("audience was told %q, want opened first, closed last and once", calls)
		}
		if i := slices.Index(calls, "update live"); i < 0 || slices.Contains(calls[i:], "update starting") {
			t.Errorf("audience was told %q, want live and not starting afterwards", calls)
		}
	})
}
