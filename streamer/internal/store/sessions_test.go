package store_test

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"dongthanh/internal/zone"
	"dongthanh/streamer/internal/store"
)

func session() store.Session {
	return store.Session{
		ID: store.NewID(), Title: "Bản tin sáng", Zones: []zone.Zone{"31/11407", "31/11296/02"}, Class: "normal", Kind: "live",
		SourceKind: "file", Source: "abc", Delay: "auto", CreatedBy: "user", Created: day, Expected: 6,
	}
}

func create(t testing.TB, s *store.Store) store.Session {
	t.Helper()
	x, again, err := s.CreateSession(t.Context(), session(), nil)
	if err != nil || again {
		t.Fatalf("CreateSession = %v, %v", again, err)
	}
	return x
}

func TestSessionLife(t *testing.T) {
	s := withZones(t)
	want := create(t, s)
	if want.State != store.SessionStarting {
		t.Errorf("state = %q, want starting", want.State)
	}
	check := func() {
		t.Helper()
		got, err := s.Session(t.Context(), want.ID)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Error(d)
		}
	}
	check()
	do := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	do(s.SetTransmission(t.Context(), want.ID, [16]byte{1, 2}, 7))
	do(s.SetLive(t.Context(), want.ID, day.Add(time.Second)))
	do(s.SetLive(t.Context(), want.ID, day.Add(time.Minute))) // a restarted session keeps its first start
	do(s.RecordListeners(t.Context(), want.ID, 6, 5))
	do(s.RecordListeners(t.Context(), want.ID, 7, 3))
	want.State, want.Transmission, want.Fence, want.Started, want.Expected, want.Heard = store.SessionLive, [16]byte{1, 2}, 7, day.Add(time.Second), 7, 5
	check()
	do(s.EndSession(t.Context(), want.ID, store.SessionEnded, day.Add(time.Hour), "user", "stop"))
	do(s.RecordListeners(t.Context(), want.ID, 7, 6))
	want.State, want.Ended, want.EndedBy, want.EndReason, want.Heard = store.SessionEnded, day.Add(time.Hour), "user", "stop", 6
	check()
	for name, c := range map[string]struct{ got, want error }{
		"end twice":         {s.EndSession(t.Context(), want.ID, store.SessionFailed, day, "", "x"), store.ErrConflict},
		"live after end":    {s.SetLive(t.Context(), want.ID, day), store.ErrConflict},
		"transmission":      {s.SetTransmission(t.Context(), want.ID, [16]byte{9}, 9), store.ErrConflict},
		"end of nothing":    {s.EndSession(t.Context(), "x", store.SessionEnded, day, "", ""), store.ErrNotFound},
		"end as live":       {s.EndSession(t.Context(), want.ID, store.SessionLive, day, "", ""), store.ErrInvalid},
		"listeners of none": {s.RecordListeners(t.Context(), "x", 1, 1), store.ErrNotFound},
		"get nothing":       {func() error { _, err := s.Session(t.Context(), "x"); return err }(), store.ErrNotFound},
	} {
		if !errors.Is(c.got, c.want) {
			t.Errorf("%s: %v, want %v", name, c.got, c.want)
		}
	}
	check()
}

func TestCreateSessionRefuses(t *testing.T) {
	s := withZones(t)
	for name, c := range map[string]struct {
		change func(*store.Session)
		want   error
	}{
		"no zones":     {func(x *store.Session) { x.Zones = nil }, store.ErrInvalid},
		"unknown zone": {func(x *store.Session) { x.Zones = []zone.Zone{"31", "31/9"} }, store.ErrUnknownZone},
		"class":        {func(x *store.Session) { x.Class = "urgent" }, store.ErrInvalid},
		"kind":         {func(x *store.Session) { x.Kind = "" }, store.ErrInvalid},
		"delay":        {func(x *store.Session) { x.Delay = "fast" }, store.ErrInvalid},
	} {
		x := session()
		c.change(&x)
		if _, _, err := s.CreateSession(t.Context(), x, nil); !errors.Is(err, c.want) {
			t.Errorf("%s: CreateSession: %v, want %v", name, err, c.want)
		}
	}
	if list, err := s.Sessions(t.Context(), "", 10); len(list) != 0 || err != nil {
		t.Errorf("Sessions = %v, %v, want none left behind", list, err)
	}
}

func TestSessionsNewestFirstWithCursor(t *testing.T) {
	s := withZones(t)
	var want []string
	for range 7 {
		want = append([]string{create(t, s).ID}, want...)
	}
	var got []string
	cursor, pages := "", 0
	for {
		page, err := s.Sessions(t.Context(), cursor, 3)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 {
			break
		}
		for _, x := range page {
			if len(x.Zones) != 2 {
				t.Errorf("session has zones %v, want 2", x.Zones)
			}
			got = append(got, x.ID)
		}
		cursor, pages = got[len(got)-1], pages+1
	}
	if d := cmp.Diff(want, got); d != "" || pages != 3 {
		t.Errorf("%d pages, want 3: %s", pages, d)
	}
}

func TestInterruptedSessionsAreEnded(t *testing.T) {
	dir := t.TempDir()
	s, err := store.Open(t.Context(), dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	addDemoZones(t, s)
	starting, live, over := create(t, s), create(t, s), create(t, s)
	if err := s.SetLive(t.Context(), live.ID, day); err != nil {
		t.Fatal(err)
	}
	if err := s.EndSession(t.Context(), over.ID, store.SessionFailed, day, "user", "source"); err != nil {
		t.Fatal(err)
	}
	s.Close()
	s = openDir(t, dir) // opening alone, as a command line does, ends nothing
	if x, _ := s.Session(t.Context(), live.ID); x.State != store.SessionLive {
		t.Errorf("state = %q, want live", x.State)
	}
	ended, err := s.EndInterrupted(t.Context(), day.Add(time.Hour), "interrupted")
	if err != nil || len(ended) != 2 {
		t.Fatalf("EndInterrupted = %v, %v, want two", ended, err)
	}
	for _, id := range []string{starting.ID, live.ID} {
		x, err := s.Session(t.Context(), id)
		if err != nil || x.State != store.SessionEnded || x.EndReason != "interrupted" || !x.Ended.Equal(day.Add(time.Hour)) {
			t.Errorf("session = %+v, %v, want ended as interrupted", x, err)
		}
	}
	if x, _ := s.Session(t.Context(), over.ID); x.State != store.SessionFailed || x.EndReason != "source" {
		t.Errorf("session = %+v, want untouched", x)
	}
}

func TestReplayedRequestStartsOneSession(t *testing.T) {
	s := withZones(t)
	var wg sync.WaitGroup
	var fresh atomic.Int32
	ids := make([]string, 8)
	for i := range ids {
		wg.Go(func() {
			x, again, err := s.CreateSession(t.Context(), session(), &store.Replay{Principal: "u", Key: "k", Request: hash(1)})
			if err != nil {
				t.Error(err)
			}
			if !again {
				fresh.Add(1)
			}
			if len(x.Zones) != 2 {
				t.Errorf("zones = %v, want 2", x.Zones)
			}
			ids[i] = x.ID
		})
	}
	wg.Wait()
	for _, id := range ids {
		if id != ids[0] {
			t.Errorf("ids = %v, want one session", ids)
			break
		}
	}
	if list, _ := s.Sessions(t.Context(), "", 10); fresh.Load() != 1 || len(list) != 1 {
		t.Errorf("%d fresh, %d stored, want 1 and 1", fresh.Load(), len(list))
	}
	for _, c := range []struct {
		name  string
		key   store.Replay
		after time.Duration
		again bool
		want  error
	}{
		{"another body", store.Replay{Principal: "u", Key: "k", Request: hash(2)}, 0, false, store.ErrConflict},
		{"another person", store.Replay{Principal: "v", Key: "k", Request: hash(2)}, 0, false, nil},
		{"another key", store.Replay{Principal: "u", Key: "k2", Request: hash(1)}, 0, false, nil},
		{"within the day", store.Replay{Principal: "u", Key: "k", Request: hash(1)}, 24 * time.Hour, true, nil},
		{"after it", store.Replay{Principal: "u", Key: "k", Request: hash(2)}, 24*time.Hour + time.Second, false, nil},
	} {
		x := session()
		x.Created = day.Add(c.after)
		if _, again, err := s.CreateSession(t.Context(), x, &c.key); again != c.again || !errors.Is(err, c.want) {
			t.Errorf("%s: CreateSession = %v, %v, want %v, %v", c.name, again, err, c.again, c.want)
		}
	}
	// A refused session leaves no key behind.
	x, key := session(), store.Replay{Principal: "w", Key: "k", Request: hash(1)}
	x.Zones = []zone.Zone{"99"}
	if _, _, err := s.CreateSession(t.Context(), x, &key); !errors.Is(err, store.ErrUnknownZone) {
		t.Error(err)
	}
	if _, again, err := s.CreateSession(t.Context(), session(), &key); again || err != nil {
		t.Errorf("CreateSession = %v, %v, want a fresh one", again, err)
	}
}

func TestAudioRecords(t *testing.T) {
	s := open(t)
	var ids []string
	for i := range 3 {
		a := store.Audio{
			ID: fmt.Sprintf("%064x", i), Name: "thông báo.wav", Seconds: 1.5, LUFS: -23.1, Bytes: 100, CreatedBy: "u",
			Created: day.Add(time.Duration(i) * time.Second),
		}
		got, err := s.AddAudio(t.Context(), a)
		if err != nil || got != a {
			t.Fatalf("AddAudio = %v, %v, want %v", got, err, a)
		}
		later := a
		later.Name, later.Created = "khác.wav", day.Add(time.Hour)
		if got, err := s.AddAudio(t.Context(), later); err != nil || got != a {
			t.Errorf("AddAudio again = %v, %v, want the first record", got, err)
		}
		if got, err := s.Audio(t.Context(), a.ID); err != nil || got != a {
			t.Errorf("Audio = %v, %v, want %v", got, err, a)
		}
		ids = append([]string{a.ID}, ids...)
	}
	var got []string
	for skip := range 3 {
		page, err := s.AudioList(t.Context(), skip, 1)
		if err != nil || len(page) != 1 {
			t.Fatalf("AudioList = %v, %v", page, err)
		}
		got = append(got, page[0].ID)
	}
	if d := cmp.Diff(ids, got); d != "" {
		t.Error(d)
	}
	if _, err := s.Audio(t.Context(), "x"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("Audio: %v, want ErrNotFound", err)
	}
	if _, err := s.AddAudio(t.Context(), store.Audio{ID: "x", Seconds: 1, Bytes: 1}); !errors.Is(err, store.ErrInvalid) {
		t.Errorf("AddAudio with a bad id: %v, want ErrInvalid", err)
	}
}
