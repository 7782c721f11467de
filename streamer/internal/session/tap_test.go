package session

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"dongthanh/streamer/internal/recording"
	"dongthanh/streamer/internal/store"
	"dongthanh/streamer/internal/tap"
)

// stalled is a recorder whose disk takes nothing.
type stalled struct{ queues map[string]*tap.Queue }

func (s *stalled) Record(x store.Session, q *tap.Queue) { s.queues[x.ID] = q }

// A recorder that hangs costs neither a packet nor the stop.
func TestStuckRecorder(t *testing.T) {
	inTime(t, func(t *testing.T, b *bed) {
		disk := &stalled{queues: map[string]*tap.Queue{}}
		b.shut()
		b.restart()
		defer b.Manager.Close()
		b.Recorder = disk
		x := b.begin(b.file(60, "31"))
		b.until(x.ID, store.SessionLive)
		before := len(b.sink.now().media)
		time.Sleep(50 * time.Second)                                           // fake
		if got := len(b.sink.now().media) - before; got < 1249 || got > 1250 { // the last is due at this very instant
			t.Errorf("%d packets in 50 s, want 1250", got)
		}
		asked := time.Now()
		b.must(b.Stop(t.Context(), x.ID, "lan"))
		if late := time.Since(asked); late > 100*time.Millisecond {
			t.Errorf("the stop took %v", late)
		}
		synctest.Wait()
		q := disk.queues[x.ID]
		var p tap.Packet
		n := 0
		for q.Next(t.Context(), &p) {
			if want := int64(n) * 1920; p.Sample != want || p.Samples != 1920 {
				t.Fatalf("packet %d begins at sample %d, want %d", n, p.Sample, want)
			}
			n++
		}
		if n != recording.QueuePackets || q.Lost() == 0 {
			t.Errorf("the recorder finds %d packets, %d are lost", n, q.Lost())
		}
	})
}

// What is on air can be tapped until it ends.
func TestTap(t *testing.T) {
	inTime(t, func(t *testing.T, b *bed) {
		x := b.speak(browser("31"))
		on, err := b.Tap(x.ID)
		b.must(err)
		q := on.Join(10)
		if !q.Next(t.Context(), &tap.Packet{}) {
			t.Error("no packet of a session on air")
		}
		b.must(b.Stop(t.Context(), x.ID, "lan"))
		<-q.Ended()
		for _, id := range []string{x.ID, "", "x", store.NewID()} {
			if _, err := b.Tap(id); !errors.Is(err, ErrOver) {
				t.Errorf("Tap(%q) = %v, want ErrOver", id, err)
			}
		}
	})
}
