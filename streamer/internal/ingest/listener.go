package ingest

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"

	"dongthanh/internal/mediaclock"
	"dongthanh/streamer/internal/tap"
)

const (
	maxListeners = 64 // open at once: officials who want to hear what is on air are fewer

	// ListenPackets is the length of the queue from which a Listener is fed, a second of packets of 40 ms.
	ListenPackets = 25
	// listenBehind is how many packets may wait before a listener that is late goes on with the newest: what it missed
	// is a gap, not a delay for the rest of the session.
	listenBehind = 8
)

// ErrTooManyListeners says that as many pages listen as may.
var ErrTooManyListeners = errors.New("too many listeners")

// Listener is a page that hears what is on air, over WebRTC: the transmission's own packets, unchanged. It takes no part
// in the broadcast, and whatever happens to it is not felt there.
type Listener struct {
	owner   *Microphones
	pc      *webrtc.PeerConnection
	buffers *buffers
	track   *webrtc.TrackLocalStaticRTP
	sender  *webrtc.RTPSender
	queue   *tap.Queue

	connected     atomic.Bool
	skipped       atomic.Uint64 // packets left out because they came too late
	changed       chan struct{} // the connection's state changed; holds one
	over          chan struct{} // the session has ended, and all of it was sent
	closing, done chan struct{}
	closeOnce     sync.Once
	running       sync.WaitGroup
}

// Listen answers a page's offer to receive sound (as Accept does one to send) and sends it what comes from queue, of
// ListenPackets, until that ends, the page leaves or Close is called. The Listener leaves the queue, also with an error.
// Errors wrap ErrBadOffer, ErrTooManyListeners or ErrClosed, or ctx's.
func (m *Microphones) Listen(ctx context.Context, offer string, queue *tap.Queue) (answer string, l *Listener, err error) {
	reduced, err := readListenOffer(offer)
	if err == nil {
		err = m.takeListener()
	}
	if err != nil {
		queue.Leave()
		return "", nil, fmt.Errorf("accept listener: %w", err)
	}
	_ = m.ports.refresh() // an address that fails is not offered
	l, err = newListener(m, queue)
	if err == nil {
		answer, err = answerOffer(ctx, l.pc, reduced)
	}
	if err == nil {
		answer, err = finishAnswer(answer, m.public, m.ports.number())
	}
	if err == nil {
		err = m.admitListener(l)
	}
	if err != nil {
		if l != nil {
			_ = l.pc.GracefulClose()
		}
		queue.Leave()
		m.giveListener(nil)
		return "", nil, err
	}
	return answer, l, nil
}

func newListener(owner *Microphones, queue *tap.Queue) (*Listener, error) {
	l := &Listener{
		owner: owner, queue: queue, buffers: newBuffers(), changed: make(chan struct{}, 1), over: make(chan struct{}),
		closing: make(chan struct{}), done: make(chan struct{}),
	}
	api, err := owner.newAPI(l.buffers)
	if err != nil {
		return nil, err
	}
	opus := webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeOpus, ClockRate: mediaclock.Rate, Channels: 2}
	if l.track, err = webrtc.NewTrackLocalStaticRTP(opus, "on-air", "on-air"); err != nil {
		return nil, fmt.Errorf("accept listener: %w", err)
	}
	if l.pc, err = api.NewPeerConnection(webrtc.Configuration{}); err != nil {
		return nil, fmt.Errorf("accept listener: %w", err)
	}
	if l.sender, err = l.pc.AddTrack(l.track); err != nil {
		_ = l.pc.Close() // nothing was sent yet
		return nil, fmt.Errorf("accept listener: %w", err)
	}
	l.pc.OnConnectionStateChange(func(webrtc.PeerConnectionState) {
		select {
		case l.changed <- struct{}{}:
		default: // watch has not looked since the last change
		}
	})
	return l, nil
}

func (m *Microphones) takeListener() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.closed:
		return ErrClosed
	case m.listening == maxListeners:
		return ErrTooManyListeners
	}
	m.listening++
	return nil
}

// admitListener starts a listener, unless Close was faster.
func (m *Microphones) admitListener(l *Listener) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return fmt.Errorf("accept listener: %w", ErrClosed)
	}
	m.listeners[l] = true
	l.running.Go(l.watch)
	return nil
}

// giveListener ends what takeListener began; nil: none was admitted.
func (m *Microphones) giveListener(l *Listener) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.listening--
	m.idle.Broadcast()
	if l != nil {
		delete(m.listeners, l)
		m.past.unheard += l.queue.Lost() + l.skipped.Load()
	}
}

// watch follows the connection's state and ends the listener.
func (l *Listener) watch() {
	ctx, cancel := context.WithCancel(context.Background())
	var media sync.WaitGroup
	media.Go(func() { l.send(ctx) })
	media.Go(l.receiveReports)
	connect := time.NewTimer(l.owner.waits.connect)
	reason := ReasonNone
	for reason == ReasonNone {
		select {
		case <-l.changed:
			switch l.pc.ConnectionState() {
			case webrtc.PeerConnectionStateConnected:
				connect.Stop()
				l.connected.Store(true)
			case webrtc.PeerConnectionStateFailed:
				reason = ReasonLost
			case webrtc.PeerConnectionStateClosed:
				reason = ReasonBrowser
			}
		case <-connect.C:
			reason = ReasonNever
		case <-l.buffers.tooMany:
			reason = ReasonRefused
		case <-l.over:
			reason = "session ended"
		case <-l.closing:
			reason = ReasonStreamer
		}
	}
	cancel()
	connect.Stop()
	_ = l.pc.GracefulClose() // what matters is that it is over
	media.Wait()
	l.queue.Leave()
	l.owner.log.Info("listener ended", "reason", string(reason))
	l.owner.giveListener(l)
	close(l.done)
}

// send passes on what is on air. What came before the connection is not kept: a listener hears what is on air now.
func (l *Listener) send(ctx context.Context) {
	var random [6]byte
	_, _ = rand.Read(random[:]) // never fails (crypto/rand)
	firstSeq, firstTime := binary.BigEndian.Uint16(random[:]), binary.BigEndian.Uint32(random[2:])
	out := rtp.Packet{Header: rtp.Header{Version: 2, Marker: true}}
	var p tap.Packet
	for l.queue.Next(ctx, &p) {
		for l.queue.Waiting() >= listenBehind && l.queue.Try(&p) {
			l.skipped.Add(1)
		}
		if !l.connected.Load() {
			continue
		}
		// By the sound's own place, so that what is left out counts as lost with the browser, which conceals it.
		out.SequenceNumber = firstSeq + uint16(p.Sample/int64(p.Samples)) // #nosec G115 -- modulo 2^16 (RFC 3550 §5.1)
		out.Timestamp = firstTime + uint32(p.Sample)                      // #nosec G115 -- modulo 2^32
		out.Payload = p.Data
		if err := l.track.WriteRTP(&out); err != nil {
			continue // the state of the connection tells whether it is over
		}
		out.Marker = false
	}
	if ctx.Err() == nil {
		close(l.over)
	}
}

// receiveReports reads what the browser reports, which pion needs; nothing in it has power.
func (l *Listener) receiveReports() {
	raw := make([]byte, receiveMTU)
	for {
		if _, _, err := l.sender.Read(raw); err != nil && (errors.Is(err, io.EOF) || errors.Is(err, io.ErrClosedPipe) || l.pc.ConnectionState() == webrtc.PeerConnectionStateClosed) {
			return
		}
	}
}

// Done is closed when the listener has ended.
func (l *Listener) Done() <-chan struct{} { return l.done }

// Close ends the listener and waits for its goroutines. It may be called twice, and from several goroutines.
func (l *Listener) Close() error {
	l.closeOnce.Do(func() { close(l.closing) })
	l.running.Wait()
	return nil
}
