package loudspeaker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"dongthanh/client/internal/playout"
	"dongthanh/codec"
	"dongthanh/internal/control"
	"dongthanh/internal/identity"
	"dongthanh/internal/onair"
	"dongthanh/internal/seal"
	"dongthanh/internal/seq"
	"dongthanh/internal/wire"
	"dongthanh/internal/zone"
)

// maxEntries is how many transmissions are listened to at once; playout sounds one of them. Beyond that the lowest in
// rank makes room.
const maxEntries = playout.MaxStreams

// entry is a transmission that is meant for this loudspeaker.
type entry struct {
	on     *onair.Transmission
	stream *playout.Stream
	ring   *identity.Keyring

	keys atomic.Pointer[[]epochKey] // published whole
	mu   sync.Mutex                 // held while a key is derived: once an epoch

	// By the goroutine of Run only.
	hearing  bool // as reported
	again    bool // the newest report told a change, and has not been repeated
	sounding bool
	reported time.Time
	since    [reportsKept]playout.Counts
	reports  int
}

type epochKey struct {
	epoch uint32
	key   *seal.Key
}

// key returns the media key of an epoch of the transmission's key zone, nil if its secret has not come.
func (e *entry) key(epoch uint32) *seal.Key {
	for _, k := range *e.keys.Load() {
		if k.epoch == epoch {
			return k.key
		}
	}
	return e.derive(epoch)
}

// derive makes a key that is seen for the first time.
func (e *entry) derive(epoch uint32) *seal.Key {
	c := &e.on.Cert
	secret, ok := e.ring.Secret(c.KeyZone, epoch)
	if !ok {
		return nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	key, err := seal.Derive(secret, c.Transmission, c.SSRC, c.Fence)
	if err != nil {
		return nil
	}
	known := append([]epochKey{{epoch, key}}, *e.keys.Load()...)
	known = known[:min(len(known), 4)] // e−1, e, e+1, and one that a revocation skipped
	e.keys.Store(&known)
	return key
}

// session takes a certificate from the control channel.
func (l *Loudspeaker) session(m control.Session, _ int) {
	events, err := l.table.Session(l.now(l.options.Clock.Now()), m.Cert, m.Issuer)
	l.doubt(err)
	l.handle(events)
}

// stop takes a stop from the control channel.
func (l *Loudspeaker) stop(m control.Stop, _ int) {
	events, err := l.table.Stop(l.now(l.options.Clock.Now()), m.Order, m.Issuer)
	l.doubt(err)
	l.handle(events)
}

// order takes a stop from a datagram.
func (l *Loudspeaker) order(raw []byte, _ int) {
	events, err := l.table.Stop(l.now(l.options.Clock.Now()), raw, nil)
	l.doubt(err)
	l.handle(events)
}

// doubt counts an object that was not accepted. One that only came before its issuer is none.
func (l *Loudspeaker) doubt(err error) {
	if !errors.Is(err, identity.ErrUnknownIssuer) {
		l.refused.Add(err)
	}
}

// zoneKeys takes zone keys from the control channel.
func (l *Loudspeaker) zoneKeys(m control.Keys, _ int) { l.post(control.Message{Keys: &m}) }

// post leaves a letter to takeLetters: the disk may be slow, and a stop must not wait behind it. When there are too many
// the newest waits for the disk here.
func (l *Loudspeaker) post(m control.Message) {
	select {
	case l.letters <- m:
	default:
		l.openLetter(m)
	}
}

// takeLetters opens letters in the order in which they came.
func (l *Loudspeaker) takeLetters(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case m := <-l.letters:
			l.openLetter(m)
		}
	}
}

func (l *Loudspeaker) openLetter(m control.Message) {
	if m.Certificate != nil {
		l.renew(*m.Certificate)
	} else {
		l.openKeys(*m.Keys)
	}
}

func (l *Loudspeaker) openKeys(m control.Keys) {
	if len(m.Issuer) > 0 {
		if err := l.trust.AddIssuer(m.Issuer); err != nil {
			l.doubt(fmt.Errorf("zone keys: %w", err))
			return
		}
	}
	for _, raw := range m.Envelopes {
		k, err := l.trust.ZoneKey(raw)
		if err == nil {
			err = l.ring.Open(k)
		}
		if err != nil {
			l.doubt(fmt.Errorf("zone keys: %w", err))
			continue
		}
		l.log.Debug("zone key", "zone", k.Zone, "epoch", k.Epoch)
	}
}

// handle acts on what changed on air. Any goroutine calls it.
func (l *Loudspeaker) handle(events []onair.Event) {
	for _, e := range events {
		known := l.entry(e.On)
		switch e.Kind {
		case onair.Opened:
			l.open(e.On)
			for _, d := range e.Held {
				l.media(d.Raw, l.options.Clock.Now(), d.From)
			}
		case onair.Revived:
			if known == nil {
				l.open(e.On)
			}
		case onair.Dormant: // muted long since; nobody shall be pinged or asked for it any more
			if known != nil {
				l.forget(known)
			}
		case onair.Stopped, onair.Expired, onair.Ended:
			if e.Kind == onair.Stopped {
				l.log.Info("stopped by order", "session", sessionID(e.On))
			}
			if known != nil {
				l.mail.put(command{stop, known})
			}
		}
	}
}

// entry returns what is known of x, nil if it is not listened to.
func (l *Loudspeaker) entry(x *onair.Transmission) *entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.onAir[x]
}

// meant reports whether a transmission is meant for this loudspeaker.
func (l *Loudspeaker) meant(x *onair.Transmission) bool {
	return zone.AnyContains(x.Cert.Zones, l.node().Zone)
}

// open begins to listen to a transmission, if it is meant for this loudspeaker.
func (l *Loudspeaker) open(x *onair.Transmission) {
	if !l.meant(x) {
		return
	}
	dec, err := codec.NewDecoder()
	if err != nil {
		l.log.Error("cannot play", "session", sessionID(x), "error", err)
		return
	}
	stream, err := playout.NewStream(x.Cert, dec)
	if err != nil {
		l.log.Error("cannot play", "session", sessionID(x), "error", err)
		return
	}
	e := &entry{on: x, stream: stream, ring: l.ring}
	e.keys.Store(&[]epochKey{})
	l.mu.Lock()
	if len(l.onAir) >= maxEntries {
		low := l.lowest()
		if !x.Cert.Outranks(low.on.Cert) {
			l.mu.Unlock()
			l.log.Warn("too many transmissions at once, one is not listened to", "session", sessionID(x))
			return
		}
		l.log.Warn("too many transmissions at once, one is not listened to", "session", sessionID(low.on))
		delete(l.onAir, low.on)
		l.mail.put(command{forget, low})
	}
	l.onAir[x] = e
	l.mail.put(command{open, e})
	l.publish()
	l.mu.Unlock()
	l.links.OnAir(true)
	l.log.Info("on air", "session", sessionID(x), "class", x.Cert.Class, "kind", x.Cert.Kind, "zones", x.Cert.Zones, "delay", x.Cert.Delay())
}

// lowest returns the lowest in rank. The caller holds mu.
func (l *Loudspeaker) lowest() (low *entry) {
	for _, e := range l.onAir {
		if low == nil || low.on.Cert.Outranks(e.on.Cert) {
			low = e
		}
	}
	return low
}

// forget ends the listening to e, whose stream has ended.
func (l *Loudspeaker) forget(e *entry) {
	l.mu.Lock()
	delete(l.onAir, e.on)
	l.publish()
	rest := len(l.onAir)
	l.mu.Unlock()
	l.mail.put(command{forget, e})
	if rest == 0 {
		l.links.OnAir(false)
	}
}

// publish makes the map that packets are looked up in. The caller holds mu.
func (l *Loudspeaker) publish() {
	m := make(map[uint32]*entry, len(l.onAir))
	for x, e := range l.onAir {
		m[x.Cert.SSRC] = e
	}
	l.entries.Store(&m)
}

// listening returns the transmissions that are listened to.
func (l *Loudspeaker) listening() map[*onair.Transmission]*entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.onAir)
}

// positions tells where each transmission goes on, for another upstream.
func (l *Loudspeaker) positions() []wire.ResumeBody {
	var all []wire.ResumeBody
	for x := range l.listening() {
		from := seq.Index(x.Cert.Index0)
		if top, ok := x.Highest(); ok {
			from = top + 1
		}
		all = append(all, wire.ResumeBody{SSRC: x.Cert.SSRC, From: from})
	}
	return all
}

// sessionID is a session's id as the API writes it.
func sessionID(x *onair.Transmission) string {
	s := x.Cert.Session
	return fmt.Sprintf("%x-%x-%x-%x-%x", s[:4], s[4:6], s[6:8], s[8:10], s[10:])
}
