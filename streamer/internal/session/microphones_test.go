package session

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"dongthanh/internal/signed"
	"dongthanh/streamer/internal/store"
)

// TestMicrophone: one that is ended ends its session as a file does, one that is lost after the gap, with a stop.
func TestMicrophone(t *testing.T) {
	for _, c := range []struct {
		name   string
		class  signed.Class
		end    error
		reason string
		after  time.Duration
		stops  int
	}{
		{"is ended", signed.ClassNormal, io.EOF, "source_end", 2 * time.Second, 0},
		{"is lost", signed.ClassNormal, errors.New("connection lost"), "source_lost", 32 * time.Second, 1},
		{"is lost in an emergency", signed.ClassEmergency, errors.New("connection lost"), "source_lost", 62 * time.Second, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			inTime(t, func(t *testing.T, b *bed) {
				r := browser("31/11296", "31/11407")
				r.Class = c.class
				x := b.begin(r)
				src, closed := speaker(2, c.end)
				b.must(b.Attach(x.ID, src))
				b.ends(x.ID)
				disk := b.check(x.ID, store.SessionEnded, c.reason, "")
				if long := disk.Ended.Sub(disk.Started); long < c.after-100*time.Millisecond || long > c.after+600*time.Millisecond {
					t.Errorf("on air for %v, want %v and the delay at most", long, c.after)
				}
				if !isClosed(closed) {
					t.Error("the microphone was not closed")
				}
				if got := len(b.sink.now().stops); got != c.stops {
					t.Errorf("%d stops, want %d", got, c.stops)
				}
				if c.stops > 0 {
					b.stopped(disk)
				}
				if key := b.sink.now().opened[0].Cert.KeyZone; key != "31" {
					t.Errorf("key zone of two communes = %q, want 31", key)
				}
				if n := strings.Count(b.log.String(), "level=ERROR"); n != 0 {
					t.Errorf("the log tells of %d errors:\n%s", n, b.log.String())
				}
			})
		})
	}
}

// TestMicrophoneComesBack: a lost microphone leaves a gap in the sound and none in the session, its transmission or its
// packets. Watchers are told of both ends of the gap.
func TestMicrophoneComesBack(t *testing.T) {
	inTime(t, func(t *testing.T, b *bed) {
		x := b.begin(browser("31"))
		lost, lostClosed := speaker(2, errors.New("connection lost"))
		b.must(b.Attach(x.ID, lost))
		x = b.until(x.ID, store.SessionLive)
		changed, end := b.Watch()
		defer end()
		time.Sleep(10 * time.Second)
		if !isClosed(lostClosed) {
			t.Error("the lost microphone was not closed")
		}
		s, err := b.Get(t.Context(), x.ID)
		b.must(err)
		if gap := s.Presence.Until.Sub(s.Presence.LostAt); s.State != store.SessionLive || gap != 30*time.Second || time.Since(s.Presence.LostAt) > 9*time.Second {
			t.Errorf("in the gap: %s, %+v", s.State, s.Presence)
		}
		if s.Level.Peak > -90 {
			t.Errorf("in the gap it is not silent: %+v", s.Level)
		}
		if len(changed) == 0 {
			t.Error("watchers were not told of the loss")
		}
		for len(changed) > 0 {
			<-changed
		}
		other, otherClosed := speaker(5, io.EOF)
		if _, err := b.Manager.Attach(x.ID, other, Claim{By: "minh"}); !errors.Is(err, ErrNotSpeaker) || !isClosed(otherClosed) {
			t.Errorf("another's microphone: %v, closed %v; want ErrNotSpeaker and closed", err, isClosed(otherClosed))
		}
		src, _ := speaker(5, io.EOF)
		b.must(b.Attach(x.ID, src))
		time.Sleep(2 * time.Second)
		if s, _ = b.Get(t.Context(), x.ID); s.Presence.Lost() || s.Level.Peak < -20 {
			t.Errorf("with the second microphone: %+v, %+v", s.Presence, s.Level)
		}
		if len(changed) == 0 {
			t.Error("watchers were not told of the return")
		}
		b.until(x.ID, store.SessionEnded)
		disk := b.check(x.ID, store.SessionEnded, "source_end", "")
		sent := b.sink.now()
		if len(sent.opened) != 1 || disk.Transmission != x.Transmission || len(sent.stops) != 0 {
			t.Errorf("%d transmissions, %d stops, want one and none", len(sent.opened), len(sent.stops))
		}
		for i := 1; i < len(sent.media); i++ {
			if sent.media[i] != sent.media[i-1]+1 || sent.mediaAt[i].Sub(sent.mediaAt[i-1]) != 40*time.Millisecond {
				t.Fatalf("packet %d comes %v after %d", sent.media[i], sent.mediaAt[i].Sub(sent.mediaAt[i-1]), sent.media[i-1])
			}
		}
	})
}

// TestMicrophoneTaken: a second microphone of the same official takes the first one's place, unless it yields.
func TestMicrophoneTaken(t *testing.T) {
	inTime(t, func(t *testing.T, b *bed) {
		x := b.begin(browser("31"))
		first, firstClosed := speaker(3600, io.EOF)
		taken, err := b.Manager.Attach(x.ID, first, Claim{By: "lan"})
		b.must(err)
		b.until(x.ID, store.SessionLive)
		polite, politeClosed := speaker(3600, io.EOF)
		if _, err := b.Manager.Attach(x.ID, polite, Claim{By: "lan", Yield: true}); !errors.Is(err, ErrAttached) || !isClosed(politeClosed) {
			t.Errorf("one that yields: %v, closed %v; want ErrAttached and closed", err, isClosed(politeClosed))
		}
		second, secondClosed := speaker(3600, io.EOF)
		b.must(b.Attach(x.ID, second))
		synctest.Wait()
		select {
		case <-taken:
		default:
			t.Error("the first one is not told")
		}
		if !isClosed(firstClosed) || isClosed(secondClosed) {
			t.Errorf("closed: first %v, second %v", isClosed(firstClosed), isClosed(secondClosed))
		}
		b.must(b.Stop(t.Context(), x.ID, "lan"))
		synctest.Wait()
		if !isClosed(secondClosed) {
			t.Error("the second one was not closed")
		}
	})
}

// TestMicrophoneLeft: a page that was closed ends its session soon, and a stop in the gap is a stop.
func TestMicrophoneLeft(t *testing.T) {
	for _, c := range []struct {
		name   string
		then   func(t *testing.T, b *bed, id string)
		after  time.Duration
		reason string
		by     string
	}{
		{"and nobody comes back", func(*testing.T, *bed, string) {}, 8 * time.Second, "source_lost", ""},
		{"and is loaded again", func(t *testing.T, b *bed, id string) {
			time.Sleep(3 * time.Second)
			b.Hold(id)
		}, 30 * time.Second, "source_lost", ""},
		{"and stops", func(t *testing.T, b *bed, id string) {
			time.Sleep(3 * time.Second)
			b.must(b.Stop(t.Context(), id, "lan"))
		}, 3 * time.Second, "stop", "lan"},
		{"and ends it as its source", func(t *testing.T, b *bed, id string) {
			time.Sleep(3 * time.Second)
			if !b.EndMicrophone(id) {
				t.Error("there is no microphone to end")
			}
		}, 3 * time.Second, "source_end", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			inTime(t, func(t *testing.T, b *bed) {
				x := b.begin(browser("31"))
				src, closed := speaker(3600, io.EOF)
				b.must(b.Attach(x.ID, src))
				b.until(x.ID, store.SessionLive)
				time.Sleep(time.Second)
				left := time.Now()
				b.Leave(x.ID, src)
				synctest.Wait()
				if !isClosed(closed) {
					t.Error("the microphone was not closed")
				}
				c.then(t, b, x.ID)
				b.ends(x.ID)
				if took := time.Since(left); took < c.after || took > c.after+time.Second {
					t.Errorf("ended after %v, want %v", took, c.after)
				}
				b.check(x.ID, store.SessionEnded, c.reason, c.by)
			})
		})
	}
}
