package ingest

import (
	"errors"
	"time"
)

const (
	// quietAfter is how long nothing comes before a microphone counts as lost: packets come every 20 ms, and from a
	// sender with DTX every 400 ms.
	quietAfter = 1500 * time.Millisecond
	// nextWait is how long a microphone that connects keeps out others that would not take its place.
	nextWait = 5 * time.Second
)

// ErrTaken says that a Switch has a microphone that is alive.
var ErrTaken = errors.New("microphone is there already")

// Gaps says how long a Switch is silent before it gives up.
type Gaps struct {
	Lost time.Duration // the connection broke: whoever speaks is there and tries again
	Left time.Duration // the page said goodbye: it was closed, or is being loaded again; no longer than Lost
}

// seat decides which of successive microphones is heard, since when there is none, and when to give up. It is pure: time
// comes with each call, and each call returns the microphone that is of no use any more, 0: none.
type seat struct {
	gaps Gaps

	speaker int  // who is heard, or was last; 0: nobody was yet
	gone    bool // the speaker will not be heard again
	next    int  // who connects; 0: nobody
	nextAt  time.Time

	lostAt time.Time // since when nothing comes; zero: sound comes, or never did
	until  time.Time // then it is given up
	over   bool
}

// come takes another microphone. The newest counts: it replaces one that connects, and the speaker once it has sound.
// With yield it comes only where no other one is alive; ErrTaken says so. quiet is how long nothing came of the speaker.
func (s *seat) come(now time.Time, who int, yield bool, quiet time.Duration) (useless int, err error) {
	alive := s.speaker != 0 && !s.gone && quiet < quietAfter
	connecting := s.next != 0 && now.Sub(s.nextAt) < nextWait
	if yield && (alive || connecting) {
		return 0, ErrTaken
	}
	useless, s.next, s.nextAt = s.next, who, now
	return useless, nil
}

// start notes that the microphone has sound.
func (s *seat) start(who int) (useless int) {
	if who != s.next {
		return who
	}
	useless = s.speaker
	if s.gone {
		useless = 0 // it was let go of
	}
	s.speaker, s.gone, s.next, s.lostAt, s.until = who, false, 0, time.Time{}, time.Time{}
	return useless
}

// fail notes that a microphone ended before it had sound. If nobody was heard yet, that is the end.
func (s *seat) fail(who int) (useless int) {
	if who == s.next {
		s.next = 0
		s.over = s.speaker == 0
	}
	return who
}

// hear notes how long nothing came of the speaker.
func (s *seat) hear(now time.Time, quiet time.Duration) {
	switch {
	case s.speaker == 0 || s.gone:
	case quiet < quietAfter:
		s.lostAt, s.until = time.Time{}, time.Time{}
	case s.lostAt.IsZero():
		s.lose(now.Add(-quiet))
	}
}

// broken notes that the speaker's connection is over although nobody ended it.
func (s *seat) broken(now time.Time, who int, quiet time.Duration) (useless int) {
	if who != s.speaker || s.gone {
		return 0
	}
	s.gone = true
	if s.lostAt.IsZero() {
		s.lose(now.Add(-min(quiet, quietAfter)))
	}
	return who
}

// leave notes that the page of a microphone said goodbye. It means nothing of one whose place another takes.
func (s *seat) leave(now time.Time, who int) (useless int) {
	if who == s.next {
		return s.fail(who)
	}
	if who != s.speaker || s.next != 0 {
		return 0
	}
	if s.lostAt.IsZero() {
		s.lose(now)
	}
	if soon := now.Add(s.gaps.Left); soon.Before(s.until) {
		s.until = soon
	}
	if s.gone {
		return 0
	}
	s.gone = true
	return who
}

// hold notes that whoever left is back and about to speak again.
func (s *seat) hold() {
	if !s.lostAt.IsZero() {
		s.until = s.lostAt.Add(s.gaps.Lost)
	}
}

// expire gives up once it is time.
func (s *seat) expire(now time.Time) {
	if !s.lostAt.IsZero() && !now.Before(s.until) {
		s.over = true
	}
}

func (s *seat) lose(at time.Time) { s.lostAt, s.until = at, at.Add(s.gaps.Lost) }
