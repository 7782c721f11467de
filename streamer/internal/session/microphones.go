package session

import (
	"errors"
	"fmt"
	"time"

	"dongthanh/internal/signed"
	"dongthanh/streamer/internal/ingest"
	"dongthanh/streamer/internal/store"
)

// Claim says who brings a microphone, and how.
type Claim struct {
	By    string // user or token id
	Yield bool   // do not take the place of a microphone that is alive
}

// Attach gives a browser or WHIP session a microphone: its first, or another one, which takes the place of the one before
// once it has sound. The session owns src from here on, also if Attach fails. taken is closed when yet another one takes
// its place. Only who brought the first one may bring another, and who began the session.
func (m *Manager) Attach(id string, src ingest.Source, c Claim) (taken <-chan struct{}, err error) {
	l, err := m.find(id)
	if err == nil {
		if taken, err = l.attach(src, c); err == nil {
			return taken, nil
		}
	}
	return nil, errors.Join(fmt.Errorf("attach microphone to session %s: %w", id, err), src.Close())
}

// Leave says that whoever brought src to a session is gone, perhaps to come back. It closes src in its own time.
func (m *Manager) Leave(id string, src ingest.Source) {
	if s := m.microphones(id); s != nil {
		s.Leave(src)
	}
}

// Hold says that whoever left a session is back and about to speak again: it waits as for a lost microphone.
func (m *Manager) Hold(id string) {
	if s := m.microphones(id); s != nil {
		s.Hold()
	}
}

// EndMicrophone ends a session's sound as its source itself: what was said is heard to its end. It reports whether
// there was a microphone.
func (m *Manager) EndMicrophone(id string) bool {
	s := m.microphones(id)
	if s != nil {
		s.End()
	}
	return s != nil
}

// Gap is how long a session is silent before it gives up a microphone whose connection broke.
func (m *Manager) Gap(x store.Session) time.Duration {
	if rank(x.Class) == signed.ClassEmergency {
		return m.Config.MicrophoneGapEmergency
	}
	return m.Config.MicrophoneGap
}

func (m *Manager) microphones(id string) *ingest.Switch {
	if l, err := m.find(id); err == nil {
		return l.microphones()
	}
	return nil
}

// attach hands over a microphone, the first or another one in its place.
func (l *live) attach(src ingest.Source, c Claim) (taken <-chan struct{}, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case over(l.rec):
		return nil, ErrOver
	case l.given && l.seat == nil:
		return nil, ErrAttached
	case l.seat != nil && c.By != l.speaker && c.By != l.rec.CreatedBy:
		return nil, ErrNotSpeaker
	case l.seat == nil:
		l.seat = ingest.NewSwitch(l.gaps(), l.told)
		l.speaker = c.By
		l.give(l.seat)
	}
	taken, err = l.seat.Attach(src, c.Yield)
	switch {
	case errors.Is(err, ingest.ErrTaken):
		return nil, ErrAttached
	case err != nil: // it has just given up
		return nil, ErrOver
	}
	return taken, nil
}

// gaps is how long the session is silent before it gives up its microphone.
func (l *live) gaps() ingest.Gaps {
	return ingest.Gaps{Lost: l.m.Gap(l.rec), Left: leftGap}
}

// told tells the watchers that the microphone is lost or back.
func (l *live) told() {
	l.m.mu.Lock()
	defer l.m.mu.Unlock()
	if x := l.record(); !over(x) {
		l.m.tell(x)
	}
}

// microphones returns the Switch of a session that has one, or nil.
func (l *live) microphones() *ingest.Switch {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.seat
}

// presence tells whether the microphone is there, where there is one.
func (l *live) presence() ingest.Presence {
	if s := l.microphones(); s != nil {
		return s.Presence()
	}
	return ingest.Presence{}
}
