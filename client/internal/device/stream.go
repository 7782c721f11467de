package device

import (
	"context"
	"errors"
	"fmt"
	"math"
	"syscall"
	"time"

	"dongthanh/client/internal/alsa"
	"dongthanh/internal/mediaclock"
)

const (
	// leastBlock is what is asked for at least at once: 5 ms. libasound wakes us when about as much can be written.
	leastBlock = blockSamples / 2
	// look is how long nothing need happen before the card is looked at again.
	look = 20 * time.Millisecond
	// settleMost is how long a card may take to keep even time. A sound server's null sink that nobody listened to takes
	// 3 s.
	settleMost = 5 * time.Second
	// tight is how long a look may take and still tell the time: beyond it the process waited for a core meanwhile.
	tight = time.Millisecond
	// strayFor is how long looks may lie off the line before the card is taken to have lost its place: a sound server ran
	// dry behind its back, or moved it to another card.
	strayFor = 50 * time.Millisecond
)

// errDry says that the card must be started anew, since what it was given is not what sounds.
var errDry = errors.New("ran dry")

// stream is a PCM from one opening to its end.
type stream struct {
	*card
	pcm      pcm
	fill     func(Block)
	channels int
	buffer   int   // frames
	base     int64 // the number of the sample that was written first
	written  int64 // since the start
	straying mediaclock.Local
	block    [blockSamples]int16
	frames   [2 * blockSamples]int16 // the block on two channels
}

// start fills the buffer with silence, starts, and goes on with silence until the card keeps even time. Then samples
// are numbered so that the line goes on as it went.
func (s *stream) start(ctx context.Context) error {
	s.written, s.straying = 0, 0
	clear(s.block[:])
	for n := s.buffer; n > 0; n -= blockSamples {
		if err := s.write(ctx, s.block[:min(n, blockSamples)]); err != nil {
			return s.first(err)
		}
	}
	if err := s.pcm.Start(); err != nil {
		return fmt.Errorf("start: %w", s.first(err))
	}
	began := s.now()
	var even settling
	for ctx.Err() == nil {
		s.pass(s.fill)
		status, at, exact, err := s.look(ctx)
		if err != nil {
			return s.first(err)
		}
		passed := at.Sub(began)
		switch {
		case passed > settleMost:
			return errors.New("the sound card keeps no even time")
		case s.written > int64(s.buffer)+2*int64(mediaclock.SamplesIn(passed+time.Second)):
			return errors.New("the sound card takes sound faster than it can be heard")
		case status.Delay <= 0:
			even.unset()
		case exact:
			n, settled := even.add(float64(s.written-int64(status.Delay)), at)
			base := int64(math.Round(s.line.of(at) - n))
			if settled && base+s.written >= s.next {
				s.base = base
				return nil
			}
		}
		for room := status.Avail; room >= leastBlock; room -= blockSamples {
			if err := s.write(ctx, s.block[:min(room, blockSamples)]); err != nil {
				return s.first(err)
			}
		}
	}
	return nil
}

// first makes an underrun before the first sound a fault: the card is opened again, after a pause.
func (s *stream) first(err error) error {
	if errors.Is(err, errDry) {
		return errors.New("ran dry before it kept even time")
	}
	return err
}

// play asks for sound and hands it over until ctx ends (then it returns nil), the card ran dry (errDry), or fails.
func (s *stream) play(ctx context.Context) error {
	for ctx.Err() == nil {
		status, at, exact, err := s.look(ctx)
		if err == nil && exact {
			err = s.follow(status, at)
		}
		if missed := s.now().Sub(s.line.when(s.base + s.written)); err == nil && missed > 0 || errors.Is(err, errDry) {
			s.log.Warn("sound card ran dry", "missed", max(missed, 0)) // not all plugins say so
			return errDry
		}
		if err != nil {
			return err
		}
		for room := status.Avail; room >= leastBlock && ctx.Err() == nil; room -= blockSamples {
			now := s.now()
			b := s.moment(now)
			b.PCM, b.First = s.block[:min(room, blockSamples)], s.base+s.written
			s.next, s.told = b.First+int64(len(b.PCM)), now
			s.delay.Store(int64(s.line.when(b.First).Sub(now)))
			s.fill(b)
			if err := s.write(ctx, b.PCM); err != nil {
				return err
			}
		}
	}
	return nil
}

// follow takes what a look saw. What lies off the line is not believed at once; if it stays, the card is started anew.
func (s *stream) follow(status alsa.Status, at mediaclock.Local) error {
	seen := float64(s.base + s.written - int64(status.Delay))
	off := seen - s.line.of(at)
	if status.Delay > 0 && !s.line.leap(off) {
		s.straying = 0
		s.line.add(seen, at)
		return nil
	}
	if s.straying == 0 {
		s.straying = at
	}
	if at.Sub(s.straying) < strayFor {
		return nil
	}
	s.log.Warn("sound card lost its place", "off", time.Duration(off/mediaclock.Rate*1e9))
	return errDry
}

// look waits until something can be written, and asks the card where it is, and when it was there. exact says that the
// two belong together. Where less than a block can be written it waits for that too: half a period of a small buffer is
// less, and libasound would wake us at once again and again.
func (s *stream) look(ctx context.Context) (status alsa.Status, at mediaclock.Local, exact bool, err error) {
	if err := s.pcm.Wait(look); err != nil && !dry(err) {
		return status, 0, false, fmt.Errorf("wait: %w", err)
	}
	before := s.now()
	status, err = s.pcm.Status()
	at = s.now()
	exact = at.Sub(before) <= tight
	at = at.Add(-status.Age)
	switch {
	case dry(err):
		err = errDry
	case err != nil:
		err = fmt.Errorf("ask for its state: %w", err)
	case status.State == alsa.XRun || status.State == alsa.Suspended:
		err = errDry
	case status.State == alsa.Disconnected:
		err = syscall.ENODEV
	case status.State != alsa.Running:
		err = fmt.Errorf("stopped by itself (state %d)", status.State)
	case status.Avail < leastBlock:
		s.sleep(ctx, s.now().Add(mediaclock.Samples(leastBlock-max(status.Avail, 0)).Duration()))
	}
	return status, at, exact, err
}

// write hands samples over, all of them.
func (s *stream) write(ctx context.Context, pcm []int16) error {
	frames := pcm
	if s.channels == 2 {
		frames = s.frames[:0]
		for _, v := range pcm {
			frames = append(frames, v, v)
		}
	}
	for len(frames) > 0 && ctx.Err() == nil {
		n, err := s.pcm.Write(frames)
		switch {
		case dry(err):
			return errDry
		case errors.Is(err, syscall.EAGAIN):
			if err := s.pcm.Wait(look); err != nil && !dry(err) {
				return fmt.Errorf("wait: %w", err)
			}
		case err != nil:
			return fmt.Errorf("write: %w", err)
		}
		frames = frames[n*s.channels:]
		s.written += int64(n)
	}
	return nil
}

// dry reports whether an error of libasound is mended by a new start: an underrun or a suspension.
func dry(err error) bool { return errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ESTRPIPE) }
