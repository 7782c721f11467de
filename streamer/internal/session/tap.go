package session

import (
	"context"
	"slices"

	"dongthanh/codec"
	"dongthanh/streamer/internal/recording"
	"dongthanh/streamer/internal/store"
	"dongthanh/streamer/internal/tap"
)

// listenersAWrite is how many loudspeakers are written at once, so that the start or the end of another session waits for
// some milliseconds at most while thousands are.
const listenersAWrite = 500

// Recorder writes a session's sound from a queue of recording.QueuePackets and returns at once.
type Recorder interface {
	Record(x store.Session, q *tap.Queue)
}

// push hands a packet of the transmission to the tap.
func (l *live) push(sample int64, opus []byte) {
	l.tap.Push(tap.Packet{Sample: sample, Samples: l.profile.frames * codec.FrameSamples, Data: opus})
}

// recordSound begins the session's recording, if there is a recorder.
func (l *live) recordSound(x store.Session) {
	if l.m.Recorder != nil {
		l.m.Recorder.Record(x, l.tap.Join(recording.QueuePackets))
	}
}

// Tap returns the packets of a session on air, also before its first sound; ErrOver for any other.
func (m *Manager) Tap(id string) (*tap.Tap, error) {
	l, err := m.find(id)
	if err != nil {
		return nil, err
	}
	if over(l.record()) {
		return nil, ErrOver
	}
	return l.tap, nil
}

// account records what each loudspeaker heard, once all is silent and the last reports are in. Nothing waits for it but
// the end of the streamer.
func (l *live) account() {
	id := l.record().ID
	list := l.m.Audience.Account(id)
	if !l.announced || l.first.IsZero() || len(list) == 0 {
		return
	}
	for part := range slices.Chunk(list, listenersAWrite) {
		if !l.save("add listeners", func(ctx context.Context) error { return l.m.Records.AddListeners(ctx, id, part) }) {
			return
		}
	}
}
