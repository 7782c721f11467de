package loudspeaker

import (
	"math"
	"slices"
	"sync"
	"time"

	"dongthanh/client/internal/device"
	"dongthanh/client/internal/playout"
	"dongthanh/internal/wire"
)

// commandKind tells the device's side what to do with an entry.
type commandKind uint8

const (
	open   commandKind = iota
	stop               // fade out, for good
	forget             // it has ended
)

type command struct {
	kind commandKind
	e    *entry
}

// mailbox carries commands to the device's side, which looks into it without waiting. It is bounded by three commands
// an entry, of which there are at most maxEntries.
type mailbox struct {
	mu   sync.Mutex // guards list
	list []command
}

func (m *mailbox) put(c command) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.list = append(m.list, c)
}

// take returns what there is, nil also if somebody is just writing: the next block is 10 ms away.
func (m *mailbox) take() []command {
	if !m.mu.TryLock() {
		return nil
	}
	defer m.mu.Unlock()
	list := m.list
	m.list = nil
	return list
}

// glimpse is what the device's side last showed of a stream.
type glimpse struct {
	state   playout.State
	hearing bool
}

// picture is what the device's side shows of its streams.
type picture struct {
	mu      sync.Mutex // guards all below; the device's side only tries it
	entries [2 * maxEntries]*entry
	status  [2 * maxEntries]playout.Status
	n       int
	summary playout.Summary
}

// fill fills one block; the device calls it.
func (l *Loudspeaker) fill(b device.Block) {
	for _, c := range l.mail.take() {
		l.obey(c)
	}
	for range queueLen {
		select {
		case a := <-l.queue.full:
			l.deliver(a)
			l.queue.back(a)
			continue
		default:
		}
		break
	}
	network, _, synced := l.links.At(b.Now)
	l.player.RoundTrip(time.Duration(l.rtt.Load()))
	l.player.Fill(b.PCM, b.First, playout.Moment{Now: b.Now, Played: b.Played, Network: network, Synced: synced})
	for _, r := range l.player.Requests() {
		l.want(ask{nack: wire.NackBody{SSRC: r.SSRC, Base: r.Base, Bitmap: r.Bitmap, Reason: r.Reason}, all: r.Both})
	}
	for _, r := range l.player.Resumes() {
		l.want(ask{nack: wire.NackBody{SSRC: r.SSRC, Base: r.From}, resume: true})
	}
	l.finish(b.PCM)
	l.show()
	l.asked.Store(int64(b.Now))
	if len(b.PCM) > 0 {
		l.filled.Store(int64(b.Now))
	}
}

// finish sets volume and test tone as was last ordered, and applies them: the last stage before the device.
func (l *Loudspeaker) finish(pcm []int16) {
	l.amp.Volume(l.volume.Load())
	d := l.tone.Swap(0)
	switch {
	case len(pcm) == 0:
		l.amp.Tone(0) // nothing can sound now, and nobody waits for a tone later
	case d > 0:
		l.amp.Tone(time.Duration(d))
	}
	l.amp.Fill(pcm, l.player.OnAir())
}

// want hands a request to the goroutine that sends. When it lags the request is dropped: it is made again while it
// makes sense.
func (l *Loudspeaker) want(a ask) {
	select {
	case l.asks <- a:
	default:
		l.reject(requestDropped)
	}
}

// obey carries out a command of control code.
func (l *Loudspeaker) obey(c command) {
	switch c.kind {
	case open:
		l.player.Open(c.e.stream)
		l.playing = append(l.playing, c.e)
		l.told = append(l.told, glimpse{})
	case stop:
		l.player.Stop(c.e.stream)
	case forget:
		l.player.Close(c.e.stream)
		if i := slices.Index(l.playing, c.e); i >= 0 {
			l.playing = slices.Delete(l.playing, i, i+1)
			l.told = slices.Delete(l.told, i, i+1)
		}
	}
}

// show lets the other goroutines see what sounds.
func (l *Loudspeaker) show() {
	s := l.player.Summary()
	l.frames[0].Store(s.Counts.Played)
	l.frames[1].Store(s.Counts.Repaired)
	l.frames[2].Store(s.Counts.Concealed)
	l.frames[3].Store(s.Counts.Late)
	l.fault.Store(int64(s.Fault))
	l.stretch.Store(math.Float64bits(s.Stretch))
	if s.Delay > 0 {
		l.delay.Store(int64(s.Delay))
	}
	if l.blocks++; l.blocks%2 != 0 || !l.picture.mu.TryLock() {
		return
	}
	defer l.picture.mu.Unlock()
	news := false
	p := &l.picture
	p.summary = s
	p.n = min(len(l.playing), len(p.entries))
	for i, e := range l.playing[:p.n] {
		p.entries[i], p.status[i] = e, l.player.Status(e.stream)
		g := glimpse{p.status[i].State, p.status[i].Hearing}
		news = news || g != l.told[i]
		l.told[i] = g
	}
	clear(p.entries[p.n:])
	if news {
		select {
		case l.changed <- struct{}{}:
		default:
		}
	}
}
