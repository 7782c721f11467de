package jitter

import (
	"io"
	"time"

	"dongthanh/internal/mediaclock"
)

// Pull fills out, 960 samples in [-1,1], with the sound that is due at now. It never waits: before the first packet,
// and where nothing came for long, it gives silence. After End, and once all is played, it returns io.EOF and silence;
// there is no other error. It does not allocate.
func (b *Buffer) Pull(now mediaclock.Local, out []float32) error {
	if b.over {
		clear(out)
		return io.EOF
	}
	copy(b.pcm, b.pcm[b.r:b.w])
	b.r, b.w = 0, b.w-b.r
	if !b.playing {
		lead := b.begin(now)
		clear(out[:lead])
		out = out[lead:]
	} else {
		b.settle()
		b.retarget()
		b.cut(now)
		b.steer(now)
	}
	if len(out) == 0 {
		return nil
	}
	_, n := b.rs.Process(nil, out)
	out = out[n:]
	for len(out) > 0 {
		want := max(1, int(float64(len(out))*b.step)) // never more than needed: what the resampler holds is not counted
		for b.filled() < want {
			if !b.more() {
				b.over = true
				clear(out)
				return nil
			}
		}
		used, n := b.rs.Process(b.pcm[b.r:b.r+want], out)
		b.r += used
		out = out[n:]
	}
	return nil
}

// filled is the number of samples that are decoded and not yet played.
func (b *Buffer) filled() int { return b.w - b.r }

// played is the place in the content that sounds next.
func (b *Buffer) played() mediaclock.Samples { return b.pos - mediaclock.Samples(b.filled()) }

// depth is how much content waits.
func (b *Buffer) depth() mediaclock.Samples {
	if !b.playing {
		if h, _ := b.shelf.head(); h != nil {
			return b.shelf.end - h.start
		}
		return 0
	}
	return max(0, b.shelf.end-b.played())
}

// delay is how long the content that sounds next has waited, had it come as fast as the fastest. After a pull of a
// frame it must still be a packet plus the lateness of the network.
func (b *Buffer) delay(now mediaclock.Local) time.Duration {
	return time.Duration(now) - b.transit.base - b.played().Duration() - frameDur
}

// begin decides whether to start playing at now, and returns the samples of silence that come first: all of the frame
// if it is too early. It starts so that the delay is on target from the first sample.
func (b *Buffer) begin(now mediaclock.Local) int {
	h, _ := b.shelf.head()
	if h == nil {
		b.over = b.ended
		return frame
	}
	b.pos = h.start
	early := b.target - b.delay(now)
	if b.ended {
		early = 0
	}
	if early >= frameDur {
		return frame
	}
	b.playing = true
	b.stats.Delay = b.target
	if early >= 0 {
		return int(mediaclock.SamplesIn(early))
	}
	b.pos = min(b.pos+mediaclock.SamplesIn(-early), b.shelf.end) // what came before anyone listened is stale
	return 0
}

// retarget lets the target rise at once and fall slowly.
func (b *Buffer) retarget() {
	want := b.packetDur + max(leastMargin, b.transit.lateness()+targetMargin)
	want = min(want, max(b.maxTarget, b.packetDur+leastMargin))
	if b.transit.packets < settled {
		want = max(want, startTarget)
	}
	b.target = max(want, b.target-targetFall)
}

// steer lets the resampler follow the sender's clock. While sound is missing the delay means nothing.
func (b *Buffer) steer(now mediaclock.Local) {
	if b.owed > 0 || b.ended {
		return
	}
	b.stats.Delay = b.delay(now)
	ratio := b.rs.SetRatio(1 / (1 + b.follow.step((b.stats.Delay - b.target).Seconds())))
	b.step = 1 / ratio
}

// cut leaves out what waits too long: at once beyond maxDepth, in pauses from a little above the target on.
func (b *Buffer) cut(now mediaclock.Local) {
	depth := b.depth()
	if depth.Duration() > max(b.maxDepth, b.target+2*b.packetDur) {
		b.leaveOut(int(depth-mediaclock.SamplesIn(b.target)), false)
		return
	}
	if b.owed == 0 && b.delay(now) > b.target+quietExcess && depth.Duration() > b.target+frameDur/2 {
		b.leaveOut(quietCut, true)
	}
}

// leaveOut removes the next n samples, if they are there and, with quiet set, if nothing sounds in them. The sound
// before them fades into the sound behind.
func (b *Buffer) leaveOut(n int, quiet bool) {
	b.ahead(crossFade)
	for n > b.filled()+warmUp {
		v, _ := b.shelf.head()
		if v == nil {
			break
		}
		far := mediaclock.Samples(n - b.filled())
		if skip := v.end() - b.pos; skip <= far {
			b.shelf.take(v)
			n -= b.skip(skip)
			continue
		}
		n -= b.skip(min(far, max(0, v.start-b.pos))) // into the gap before it
		break
	}
	b.ahead(n + crossFade)
	n = min(n, b.filled()-crossFade)
	if n <= 0 {
		return
	}
	from, to := b.pcm[b.r:b.r+n+crossFade], b.pcm[b.r+n:b.r+n+crossFade]
	if quiet && power(from) > quietPower {
		return
	}
	for i := range to {
		w := (float32(i) + 0.5) / crossFade
		to[i] = from[i]*(1-w) + to[i]*w
	}
	b.r += n
	b.stats.Cut += mediaclock.Samples(n)
}

// skip moves the place in the content by n samples that will never sound.
func (b *Buffer) skip(n mediaclock.Samples) int {
	n = max(0, n)
	b.pos += n
	b.stats.Cut += n
	return int(n)
}

// ahead decodes until n samples are there, or nothing waits any more.
func (b *Buffer) ahead(n int) {
	for b.filled() < n {
		if h, _ := b.shelf.head(); h == nil {
			return
		}
		b.more()
	}
}

func power(pcm []float32) float64 {
	sum := 0.0
	for _, v := range pcm {
		sum += float64(v) * float64(v)
	}
	return sum / float64(len(pcm))
}

// more appends a piece of sound to pcm: a packet, or up to a frame that is made up. It returns false when all is over.
func (b *Buffer) more() bool {
	for {
		h, missing := b.shelf.head()
		if h == nil {
			return b.starve()
		}
		b.settle()
		if gap := h.start - b.pos; gap > 0 {
			n := min(gap, frame)
			if missing > 0 && n == gap && n == frame {
				b.conceal(int(n), h.payload) // the lost packet just before h
			} else {
				b.conceal(int(n), nil)
			}
			b.pos += n
			if missing > 0 {
				b.stats.Concealed += n
			} else {
				b.stats.Withheld += n
			}
			return true
		}
		b.owed = 0
		b.shelf.take(h)
		if h.end() > b.pos {
			b.decode(h)
			return true
		}
	}
}

// settle takes the time that passed while nothing was there for the time that is missing before the next packet.
func (b *Buffer) settle() {
	if h, _ := b.shelf.head(); h != nil && b.owed > 0 {
		n := min(max(0, h.start-b.pos), b.owed)
		b.pos += n
		b.owed -= n
	}
}

// starve makes up sound while nothing is there. The place in the content does not move: what comes late may still be
// played, at the price of a longer delay.
func (b *Buffer) starve() bool {
	if b.ended {
		if b.tailed || b.run >= concealEnd {
			return false
		}
		b.tailed = true
		b.conceal(frame, nil)
		for i := range b.pcm[b.w-frame : b.w] {
			b.pcm[b.w-frame+i] *= 1 - (float32(i)+0.5)/frame
		}
		return true
	}
	b.conceal(frame, nil)
	b.owed += frame
	b.stats.Starved += frame
	return true
}

// decode appends the sound of h behind b.pos, at least one sample.
func (b *Buffer) decode(h *slot) {
	n, err := b.dec.DecodeFloat(h.payload, b.pcm[b.w:])
	if err != nil {
		b.stats.Malformed++
		for left := h.end() - b.pos; left > 0; left -= frame {
			k := min(left, frame)
			b.conceal(int(k), nil)
			b.stats.Concealed += k
		}
		b.pos = h.end()
		return
	}
	pcm := b.pcm[b.w : b.w+n]
	if skip := int(b.pos - h.start); skip > 0 { // it overlaps what was played
		pcm = pcm[:copy(pcm, pcm[min(skip, n):])]
	}
	for i, v := range pcm {
		if v != v { // NaN
			v = 0
		}
		pcm[i] = min(max(v, -1), 1)
	}
	if b.run > concealFull {
		for i := range pcm[:min(len(pcm), fadeIn)] {
			pcm[i] *= (float32(i) + 0.5) / fadeIn
		}
	}
	b.run = 0
	b.w += len(pcm)
	b.pos = h.end()
}

// conceal appends n samples, at most a frame, that are made up: what packet next repeats of them, if it is there, or the
// decoder's guess; faded out when it lasts.
func (b *Buffer) conceal(n int, next []byte) {
	out := b.pcm[b.w : b.w+n]
	b.w += n
	if b.run >= concealEnd || b.guess(next) != nil {
		clear(out)
		b.run += n
		return
	}
	for i := range out {
		g := min(1, float32(concealEnd-b.run-i)/(concealEnd-concealFull))
		out[i] = min(max(b.scratch[i], -1), 1) * max(0, g)
	}
	b.run += n
}

// guess fills the scratch with sound that takes the place of what is lost.
func (b *Buffer) guess(next []byte) error {
	if next != nil {
		return b.dec.RecoverFloat(next, b.scratch[:])
	}
	return b.dec.ConcealFloat(b.scratch[:])
}
