package session

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"dongthanh/internal/signed"
	"dongthanh/internal/zone"
	"dongthanh/streamer/internal/origin"
	"dongthanh/streamer/internal/store"
)

// TestOnlyOneStarts: of many officials who press at once for zones that have a loudspeaker in common, one is on air.
func TestOnlyOneStarts(t *testing.T) {
	inTime(t, func(t *testing.T, b *bed) {
		var wg sync.WaitGroup
		errs := make([]error, 9)
		for i, z := range []zone.Zone{"31", "31/11296", "31/11296/02", "31", "31/11296", "31/11296/02", "31", "31/11296", "31/11296/02"} {
			wg.Go(func() {
				r := browser(z)
				if i%2 == 1 {
					r.Replay = &store.Replay{Principal: "lan", Key: fmt.Sprint(i)}
				}
				_, _, errs[i] = b.Start(t.Context(), r)
			})
		}
		wg.Wait()
		started := 0
		for i, err := range errs {
			var busy *BusyError
			switch {
			case err == nil:
				started++
			case !errors.As(err, &busy):
				t.Errorf("start %d: %v, want BusyError", i, err)
			}
		}
		if onAir := b.OnAir(); started != 1 || len(onAir) != 1 {
			t.Errorf("%d started, %d on air, want one", started, len(onAir))
		}
		list, err := b.List(t.Context(), "", 50)
		b.must(err)
		if len(list) != 1 || list[0].State != store.SessionStarting { // the refused ones with a key are kept for that only
			t.Errorf("%d sessions are listed, want the one that started", len(list))
		}
	})
}

func TestReplay(t *testing.T) {
	inTime(t, func(t *testing.T, b *bed) {
		r := b.file(1, "31/11296")
		r.Replay = &store.Replay{Principal: "lan", Key: "k1", Request: [32]byte{1}}
		x := b.begin(r)
		b.until(x.ID, store.SessionLive)
		again, repeated, err := b.Start(t.Context(), r)
		if again.ID != x.ID || !repeated || err != nil || again.State != store.SessionLive {
			t.Errorf("the same again = %s %s, %v, %v; want the first, live", again.ID, again.State, repeated, err)
		}
		other := r
		other.Replay = &store.Replay{Principal: "lan", Key: "k1", Request: [32]byte{2}}
		if _, _, err := b.Start(t.Context(), other); !errors.Is(err, store.ErrConflict) {
			t.Errorf("another request with the same key: %v, want ErrConflict", err)
		}
		refused := r
		refused.Replay = &store.Replay{Principal: "lan", Key: "k2", Request: [32]byte{1}}
		for range 2 {
			var busy *BusyError
			if _, _, err := b.Start(t.Context(), refused); !errors.As(err, &busy) {
				t.Errorf("a second session: %v, want BusyError, also when it is repeated", err)
			}
		}
		if list, err := b.List(t.Context(), "", 50); err != nil || len(list) != 1 || list[0].ID != x.ID {
			t.Errorf("%d sessions are listed, %v, want the first alone", len(list), err)
		}
		b.until(x.ID, store.SessionEnded)
		synctest.Wait()
		if again, repeated, err := b.Start(t.Context(), r); again.ID != x.ID || again.State != store.SessionEnded || !repeated || err != nil {
			t.Errorf("the same after its end = %s %s, %v, %v; want the first, ended", again.ID, again.State, repeated, err)
		}
		if n := len(b.sink.now().opened); n != 1 {
			t.Errorf("%d transmissions, want 1", n)
		}
	})
}

func TestStartRefuses(t *testing.T) {
	inTime(t, func(t *testing.T, b *bed) {
		lost := strings.Repeat("ab", 32)
		for _, c := range []struct {
			name    string
			request Request
			want    error
		}{
			{"no such audio", Request{Zones: []zone.Zone{"31"}, Source: SourceFile, Audio: lost}, ErrAudio},
			{"no audio", Request{Zones: []zone.Zone{"31"}, Source: SourceFile}, ErrAudio},
			{"a path", Request{Zones: []zone.Zone{"31"}, Source: SourceFile, Audio: "../../keys/node/key.pem"}, ErrAudio},
			{"an unknown zone", Request{Zones: []zone.Zone{"99"}, Source: SourceBrowser}, store.ErrUnknownZone},
			{"no zone", Request{Source: SourceBrowser}, ErrZones},
		} {
			if _, _, err := b.Start(t.Context(), c.request); !errors.Is(err, c.want) {
				t.Errorf("%s: %v, want %v", c.name, err, c.want)
			}
		}
		r := b.file(1, "31")
		b.must(b.store.Store.Close())
		if _, _, err := b.Start(t.Context(), r); err == nil || errors.Is(err, ErrAudio) {
			t.Errorf("with a closed database: %v, want its error, and not that the audio is missing", err)
		}
		if len(b.OnAir()) != 0 {
			t.Error("something is on air")
		}
	})
}

// TestClose: every session ends, whatever it is at, those that are on air with a stop; and no time passes.
func TestClose(t *testing.T) {
	inTime(t, func(t *testing.T, b *bed) {
		live := b.speak(browser("31/11296"))
		waiting := b.begin(browser("31/11407"))
		connecting := b.begin(browser("33"))
		src := silentSource()
		b.must(b.Attach(connecting.ID, src))
		time.Sleep(time.Second)
		began := time.Now()
		b.shut()
		if took := time.Since(began); took != 0 {
			t.Errorf("Close took %v", took)
		}
		b.stopped(live)
		if n := len(b.sink.now().stops); n != 1 {
			t.Errorf("%d stops, want 1", n)
		}
		b.check(live.ID, store.SessionEnded, "shutdown", "")
		b.check(waiting.ID, store.SessionFailed, "shutdown", "")
		b.check(connecting.ID, store.SessionFailed, "shutdown", "")
		if !isClosed(src.closed) {
			t.Error("the source was not closed")
		}
		for _, r := range []Request{browser("31"), {Zones: []zone.Zone{"31"}, Source: SourceBrowser, Replay: &store.Replay{Principal: "lan", Key: "k"}}} {
			if x, _, err := b.Start(t.Context(), r); !errors.Is(err, ErrClosing) {
				t.Errorf("Start afterwards = %s, %v, want ErrClosing", x.State, err)
			}
		}
		list, err := b.List(t.Context(), "", 50)
		b.must(err)
		for _, x := range list {
			if !over(x.Session) {
				t.Errorf("session %s is %s on record", x.ID, x.State)
			}
		}
	})
}

// TestDatabaseGone: a database that fails while a session is on air takes nothing from the sound, from the stop, nor
// from what the streamer says of the session.
func TestDatabaseGone(t *testing.T) {
	inTime(t, func(t *testing.T, b *bed) {
		x := b.begin(browser("31"))
		synctest.Wait() // key and fence are drawn
		b.must(b.store.Store.Close())
		src, _ := speaker(3, io.EOF)
		b.must(b.Attach(x.ID, src))
		b.until(x.ID, store.SessionLive)
		x = b.until(x.ID, store.SessionEnded)
		if got := len(b.sink.now().media); got < 75 || got > 77 {
			t.Errorf("%d packets of 40 ms, want 3 s", got)
		}
		if x.EndReason != "source_end" || x.Started.IsZero() {
			t.Errorf("record %+v", x)
		}
		time.Sleep(time.Minute)
		if got := b.record(x.ID); got.State != store.SessionEnded {
			t.Errorf("a minute later it is %s, want ended", got.State)
		}
		if len(b.OnAir()) != 0 {
			t.Error("still on air")
		}
		b.shut()
		for _, act := range []string{`act="set live"`, "act=end"} {
			if !strings.Contains(b.log.String(), act) {
				t.Errorf("the log does not tell of %s:\n%s", act, b.log.String())
			}
		}
	})
}

// TestDatabaseHangs: a disk that hangs holds neither a session on air nor its stop, and once it is back the record is
// right.
func TestDatabaseHangs(t *testing.T) {
	inTime(t, func(t *testing.T, b *bed) {
		held := make(chan error, 1)
		b.store.hang("live", "end")
		x := b.begin(browser("31"))
		src, _ := speaker(3600, io.EOF)
		b.must(b.Attach(x.ID, src))
		time.Sleep(time.Second)
		b.store.hang("create", "live", "end")
		go func() {
			_, _, err := b.Start(t.Context(), browser("33"))
			held <- err
		}()
		synctest.Wait()
		if got := b.record(x.ID); got.State != store.SessionLive {
			t.Errorf("it is %s, want live", got.State)
		}
		asked := time.Now()
		b.must(b.Stop(t.Context(), x.ID, "minh"))
		if took := time.Since(asked); took != 0 {
			t.Errorf("the stop took %v", took)
		}
		x = b.record(x.ID)
		b.stopped(x)
		if x.State != store.SessionEnded {
			t.Errorf("it is %s, want ended", x.State)
		}
		if err := <-held; err == nil {
			t.Error("a session has started without a record")
		}
		time.Sleep(20 * time.Second)
		b.store.hang()
		time.Sleep(storeAgain + storeWait)
		b.check(x.ID, store.SessionEnded, "stop", "minh")
		if b.mapped(x.ID) {
			t.Error("the session is not forgotten")
		}
	})
}

// TestEmergencyPassesOthers: an emergency does not wait behind ordinary starts that a disk holds. If it did, time would
// stand still here.
func TestEmergencyPassesOthers(t *testing.T) {
	inTime(t, func(t *testing.T, b *bed) {
		b.store.hang("create")
		held := make(chan error, 1)
		go func() {
			_, _, err := b.Start(t.Context(), browser("33"))
			held <- err
		}()
		synctest.Wait() // it is inside the database
		asked := time.Now()
		r := browser("31")
		r.Class = signed.ClassEmergency
		x := b.begin(r)
		if took := time.Since(asked); took > emergencyWait {
			t.Errorf("an emergency has begun after %v", took)
		}
		b.store.hang()
		b.must(b.Stop(t.Context(), x.ID, "minh"))
		if err := <-held; err == nil {
			t.Error("a session has started without a record")
		}
	})
}

// TestEmergencyWithoutADisk: a disk that takes nothing holds no emergency, and learns of it when it is back.
func TestEmergencyWithoutADisk(t *testing.T) {
	inTime(t, func(t *testing.T, b *bed) {
		b.store.hang("create", "fence", "live", "end")
		if _, _, err := b.Start(t.Context(), browser("33")); err == nil {
			t.Error("an ordinary session has started without a record")
		}
		asked := time.Now()
		var fences []uint64
		for range fencesAhead + 2 {
			r := browser("31")
			r.Class = signed.ClassEmergency
			x := b.begin(r)
			src, _ := speaker(2, io.EOF)
			b.must(b.Attach(x.ID, src))
			b.until(x.ID, store.SessionLive)
			if took := time.Since(asked); took > emergencyWait+time.Second {
				t.Errorf("on air after %v", took)
			}
			x = b.until(x.ID, store.SessionEnded)
			fences = append(fences, x.Fence)
			asked = time.Now()
		}
		for i := 1; i < len(fences); i++ {
			if fences[i] <= fences[i-1] {
				t.Errorf("fences %v do not rise", fences)
			}
		}
		b.store.hang()
		time.Sleep(storeAgain + storeWait)
		list, err := b.store.Sessions(t.Context(), "", 50)
		b.must(err)
		if len(list) != len(fences) {
			t.Fatalf("%d records, want %d", len(list), len(fences))
		}
		for i, x := range list {
			if want := fences[len(fences)-1-i]; x.State != store.SessionEnded || x.Fence != want || x.Started.IsZero() || x.EndReason != "source_end" {
				t.Errorf("record %+v, want fence %d", x, want)
			}
		}
	})
}

// mapped reports whether the manager still holds a session.
func (b *bed) mapped(id string) bool {
	_, err := b.find(id)
	return err == nil
}

// TestNoKey: a session whose key cannot be drawn fails, its source is closed, and nobody is told of it.
func TestNoKey(t *testing.T) {
	inTime(t, func(t *testing.T, b *bed) {
		b.store.hang("key")
		begun := time.Now()
		x := b.begin(browser("31"))
		src, closed := speaker(1, io.EOF)
		b.must(b.Attach(x.ID, src))
		b.until(x.ID, store.SessionFailed)
		if took := time.Since(begun); took != storeWait {
			t.Errorf("failed after %v, want %v", took, storeWait)
		}
		b.check(x.ID, store.SessionFailed, "failed", "")
		if s := b.sink.now(); !isClosed(closed) || len(s.opened)+len(s.stops) > 0 {
			t.Errorf("source closed: %v; sent: %+v", isClosed(closed), s)
		}
	})
}

func TestRestartEndsWhatWasInterrupted(t *testing.T) {
	inTime(t, func(t *testing.T, b *bed) {
		var ids []string
		for _, z := range []zone.Zone{"31/11296", "31/11407"} {
			x, _, err := draft(browser(z), time.Now())
			b.must(err)
			x, _, err = b.store.CreateSession(t.Context(), x, nil)
			b.must(err)
			ids = append(ids, x.ID)
		}
		b.must(b.store.Store.SetLive(t.Context(), ids[1], time.Now()))
		b.Manager.Close()
		b.restart()
		for _, id := range ids {
			b.check(id, store.SessionEnded, "interrupted", "")
		}
		if len(b.OnAir()) != 0 || !strings.Contains(b.log.String(), ids[0]) {
			t.Errorf("%d on air, log %s", len(b.OnAir()), b.log.String())
		}
		b.begin(browser("31")) // nothing holds the zone
		b.must(b.store.Store.Close())
		if _, err := NewManager(t.Context(), b.Options); err == nil {
			t.Error("a manager without a database")
		}
	})
}

// TestSlowWatcher: one that does not read loses the oldest records and holds up nobody.
func TestSlowWatcher(t *testing.T) {
	m := &Manager{watchers: map[chan store.Session]struct{}{}}
	slow, end := m.Watch()
	quick, endQuick := m.Watch()
	defer endQuick()
	var got []string
	for i := range 100 {
		m.tell(store.Session{ID: fmt.Sprint(i)})
		got = append(got, (<-quick).ID)
	}
	if len(got) != 100 || got[99] != "99" {
		t.Errorf("the quick one has %d, the last %s", len(got), got[len(got)-1])
	}
	end()
	m.tell(store.Session{ID: "after the end"})
	got = nil
	for len(slow) > 0 {
		got = append(got, (<-slow).ID)
	}
	var want []string
	for i := 36; i < 100; i++ {
		want = append(want, fmt.Sprint(i))
	}
	if !slices.Equal(got, want) {
		t.Errorf("the slow one has %v, want the newest 64", got)
	}
}

// TestVerdict: what the record says of each end.
func TestVerdict(t *testing.T) {
	aired := time.Date(2026, 11, 24, 5, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		name   string
		first  time.Time
		ended  *ending // by whom the session was asked to end
		err    error
		state  store.SessionState
		reason string
	}{
		{"by itself", aired, nil, nil, store.SessionEnded, "source_end"},
		{"by itself as it was asked to end", aired, &ending{"minh", "stop"}, nil, store.SessionEnded, "source_end"},
		{"stopped", aired, &ending{"minh", "stop"}, ending{"minh", "stop"}, store.SessionEnded, "stop"},
		{"stopped before it was heard", time.Time{}, &ending{"minh", "stop"}, ending{"minh", "stop"}, store.SessionEnded, "stop"},
		{"the database was asked as it was stopped", time.Time{}, &ending{"minh", "stop"}, errors.New("context canceled"), store.SessionEnded, "stop"},
		{"too long", aired, nil, fmt.Errorf("transmit: %w", origin.ErrTooLong), store.SessionEnded, "time_limit"},
		{"shutdown", aired, &ending{reason: "shutdown"}, ending{reason: "shutdown"}, store.SessionEnded, "shutdown"},
		{"shutdown before it was heard", time.Time{}, &ending{reason: "shutdown"}, ending{reason: "shutdown"}, store.SessionFailed, "shutdown"},
		{"no key", time.Time{}, nil, errors.New("disk"), store.SessionFailed, "failed"},
		{"source failed", aired, nil, errors.New("microphone lost"), store.SessionEnded, "source_lost"},
	} {
		l := newLive(&Manager{Options: Options{Log: slog.New(slog.DiscardHandler)}}, store.Session{ID: "x"}, Request{}, profile{})
		l.first = c.first
		if c.ended != nil {
			l.end(*c.ended)
		}
		e, state := l.verdict(c.err)
		if state != c.state || e.reason != c.reason {
			t.Errorf("%s: %s, %s, want %s, %s", c.name, state, e.reason, c.state, c.reason)
		}
		l.cancel(nil)
	}
}
