package store_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"dongthanh/streamer/internal/store"
)

func TestRecordings(t *testing.T) {
	s := withZones(t)
	var want []store.Recording
	for n := range 3 {
		x := store.Recording{
			Session: create(t, s).ID, Seconds: 61.5, Missing: 0.04, Bytes: 500_000, SHA256: [32]byte{1, byte(n)},
			Recorded: day.Add(-time.Duration(n) * time.Hour), // so that they are listed the other way round
		}
		if err := s.AddRecording(t.Context(), x); err != nil {
			t.Fatal(err)
		}
		want = append([]store.Recording{x}, want...)
	}
	got, err := s.Recordings(t.Context())
	if d := cmp.Diff(want, got); d != "" || err != nil {
		t.Error(d, err)
	}
	if err := s.RemoveRecording(t.Context(), want[0].Session, day); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Recordings(t.Context()); len(got) != 2 || err != nil {
		t.Errorf("%d recordings are there, %v; want 2", len(got), err)
	}
	if x, err := s.Recording(t.Context(), want[0].Session); err != nil || !x.Removed.Equal(day) {
		t.Errorf("the removed one: %+v, %v", x, err)
	}
	want[0].Bytes++
	if err := s.AddRecording(t.Context(), want[0]); err != nil {
		t.Fatal(err)
	}
	if x, err := s.Recording(t.Context(), want[0].Session); err != nil || x != want[0] {
		t.Errorf("recorded again: %+v, %v", x, err)
	}
	if err := s.AddRecording(t.Context(), store.Recording{Session: "x", Seconds: 1, Bytes: 1, Recorded: day}); !errors.Is(err, store.ErrConflict) {
		t.Errorf("a recording of no session: %v, want ErrConflict", err)
	}
	if _, err := s.Recording(t.Context(), "x"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("no recording: %v, want ErrNotFound", err)
	}
	if err := s.RemoveRecording(t.Context(), "x", day); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("no recording: %v, want ErrNotFound", err)
	}
}

// Two thousand loudspeakers are written in parts and come back by zone and name.
func TestListeners(t *testing.T) {
	s := withZones(t)
	x := create(t, s)
	const all = 2000
	var list []store.Listener
	for n := range all {
		l := store.Listener{Node: fmt.Sprintf("n%05d", n), Name: fmt.Sprintf("Loa %05d", n), Zone: "31/11296", State: "offline"}
		if n%2 == 0 {
			l.State, l.Seen, l.From, l.To = "online", day, day, day.Add(time.Minute)
			l.Played, l.Repaired, l.Concealed, l.Late = 3000, 2, 1, 1<<40
		}
		list = append(list, l)
	}
	began := time.Now()
	for part := range slices.Chunk(list, 500) {
		if err := s.AddListeners(t.Context(), x.ID, part); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d listeners written in %v", all, time.Since(began))
	list[0].Played++
	if err := s.AddListeners(t.Context(), x.ID, list[:1]); err != nil { // once more
		t.Fatal(err)
	}
	got, err := s.Listeners(t.Context(), x.ID)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(list, got); d != "" {
		t.Error(d)
	}
	if err := s.AddListeners(t.Context(), "x", list[:1]); !errors.Is(err, store.ErrConflict) {
		t.Errorf("listeners of no session: %v, want ErrConflict", err)
	}
	if got, err := s.Listeners(t.Context(), "x"); len(got) > 0 || err != nil {
		t.Errorf("listeners of no session: %d, %v", len(got), err)
	}
}
