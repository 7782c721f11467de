package ingest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"

	"dongthanh/codec"
	"dongthanh/internal/mediaclock"
	"dongthanh/internal/seq"
	"dongthanh/streamer/internal/ingest/jitter"
)

// Reason says why a Microphone ended.
type Reason string

// The reasons.
const (
	ReasonNone     Reason = ""                       // it has not ended
	ReasonBrowser  Reason = "closed by the browser"  // it said goodbye
	ReasonLost     Reason = "connection lost"        // nothing came for seven seconds
	ReasonNever    Reason = "never connected"        // no connection came about
	ReasonRefused  Reason = "too many streams"       // it behaved as no browser does
	ReasonStreamer Reason = "closed by the streamer" // Close was called
)

// ErrLost is what Read's error wraps once the sound broke off instead of ending; the error names the Reason.
var ErrLost = errors.New("microphone lost")

// Microphone is a browser's microphone, a Source. Its sound comes when the network lets it and is pulled when the
// streamer's clock says so; package jitter does what lies between.
type Microphone struct {
	owner   *Microphones
	pc      *webrtc.PeerConnection
	buffers *buffers

	media  sync.Mutex // guards buffer, between the network's goroutine and the clock's; nobody else takes it
	buffer *jitter.Buffer
	gauges gauges // what buffer counted, for everybody else

	started, done, closing chan struct{}
	startOnce, closeOnce   sync.Once
	changed                chan struct{} // the connection's state changed; holds one
	running                sync.WaitGroup

	mu     sync.Mutex // guards what follows
	reason Reason
	track  *webrtc.TrackRemote

	lastAt atomic.Int64          // mediaclock.Local of the last packet with sound
	broken atomic.Pointer[error] // why the sound broke off
	over   error                 // what Read returns for good; the reading goroutine's only
}

func newMicrophone(owner *Microphones) (*Microphone, error) {
	dec, err := codec.NewDecoder()
	if err != nil {
		return nil, fmt.Errorf("accept microphone: %w", err)
	}
	buffer, err := jitter.New(dec)
	if err != nil {
		return nil, fmt.Errorf("accept microphone: %w", err)
	}
	m := &Microphone{
		owner: owner, buffers: newBuffers(), buffer: buffer,
		started: make(chan struct{}), done: make(chan struct{}), closing: make(chan struct{}), changed: make(chan struct{}, 1),
	}
	api, err := owner.newAPI(m.buffers)
	if err != nil {
		return nil, err
	}
	if m.pc, err = api.NewPeerConnection(webrtc.Configuration{}); err != nil {
		return nil, fmt.Errorf("accept microphone: %w", err)
	}
	m.pc.OnConnectionStateChange(func(webrtc.PeerConnectionState) {
		select {
		case m.changed <- struct{}{}:
		default: // watch has not looked since the last change
		}
	})
	m.pc.OnTrack(m.listen)
	return m, nil
}

// answer lets pion answer an offer, and waits for the candidates.
func (m *Microphone) answer(ctx context.Context, offer string) (string, error) {
	return answerOffer(ctx, m.pc, offer)
}

func answerOffer(ctx context.Context, pc *webrtc.PeerConnection, offer string) (string, error) {
	if err := pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeOffer, SDP: offer}); err != nil {
		return "", badOffer("%v", err)
	}
	answer, err := pc.CreateAnswer(nil)
	if err != nil {
		return "", badOffer("%v", err)
	}
	gathered := webrtc.GatheringCompletePromise(pc)
	if err := pc.SetLocalDescription(answer); err != nil {
		return "", badOffer("%v", err)
	}
	select {
	case <-gathered:
		return pc.LocalDescription().SDP, nil
	case <-ctx.Done():
		return "", fmt.Errorf("answer offer: %w", context.Cause(ctx))
	case <-time.After(gatherWait):
		return "", errors.New("answer offer: local addresses were not found in time")
	}
}

// listen takes the one track that is heard. Others are left alone: their queues are bounded.
func (m *Microphone) listen(track *webrtc.TrackRemote, receiver *webrtc.RTPReceiver) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.reason != ReasonNone || m.track != nil {
		return
	}
	m.track = track
	m.running.Go(func() { m.receive(track) })
	m.running.Go(func() { m.receiveReports(receiver) })
}

// receive hands the track's packets to the buffer until the connection is closed.
func (m *Microphone) receive(track *webrtc.TrackRemote) {
	raw := make([]byte, receiveMTU)
	var packet rtp.Packet
	for {
		n, _, err := track.Read(raw)
		switch {
		case err == nil:
		case errors.Is(err, io.EOF), m.ended():
			return
		default: // a payload type that was not negotiated, a packet too large: the next may be better
			m.gauges.refused.Add(1)
			continue
		}
		if err := packet.Unmarshal(raw[:n]); err != nil {
			m.gauges.refused.Add(1)
			continue
		}
		now := m.owner.now()
		if len(packet.Payload) > 0 {
			m.lastAt.Store(int64(now))
		}
		m.media.Lock()
		m.buffer.Push(now, seq.Seq(packet.SequenceNumber), mediaclock.Timestamp(packet.Timestamp), packet.Payload)
		ready := m.buffer.Ready(now)
		m.gauges.set(m.buffer.Stats())
		m.media.Unlock()
		if ready {
			m.startOnce.Do(func() { close(m.started) })
		}
		if m.owner.heard != nil {
			m.owner.heard(seq.Seq(packet.SequenceNumber))
		}
	}
}

// receiveReports reads what the browser reports, which pion needs for its own reports. Nothing in it has power: a
// goodbye by RTCP is ignored.
func (m *Microphone) receiveReports(receiver *webrtc.RTPReceiver) {
	raw := make([]byte, receiveMTU)
	for {
		if _, _, err := receiver.Read(raw); errors.Is(err, io.EOF) || errors.Is(err, io.ErrClosedPipe) || (err != nil && m.ended()) {
			return
		}
	}
}

// watch follows the connection's state and ends the microphone.
func (m *Microphone) watch() {
	connect := time.NewTimer(m.owner.waits.connect)
	defer connect.Stop()
	look := time.NewTicker(time.Second)
	defer look.Stop()
	connected := false
	for m.Reason() == ReasonNone {
		select {
		case <-m.changed:
			switch m.pc.ConnectionState() {
			case webrtc.PeerConnectionStateConnected:
				connected = true
				connect.Stop()
			case webrtc.PeerConnectionStateFailed:
				if connected {
					m.end(ReasonLost)
				} else {
					m.end(ReasonNever)
				}
			case webrtc.PeerConnectionStateClosed:
				m.end(ReasonBrowser)
			}
		case <-connect.C:
			m.end(ReasonNever)
		case <-m.buffers.tooMany:
			m.end(ReasonRefused)
		case <-m.closing:
			m.end(ReasonStreamer)
		case <-look.C:
			m.look()
		}
	}
	_ = m.pc.GracefulClose() // what matters is that it is over
	m.owner.log.Info("microphone ended", "reason", string(m.Reason()))
	m.owner.give(m)
}

// look notes the round-trip time of the connection's last check.
func (m *Microphone) look() {
	if pair, ok := m.pc.SCTP().Transport().ICETransport().GetSelectedCandidatePairStats(); ok {
		m.gauges.rtt.Store(int64(pair.CurrentRoundTripTime * float64(time.Second)))
		if m.owner.looked != nil {
			m.owner.looked()
		}
	}
}

// abandon ends a microphone that was never handed out, before watch began.
func (m *Microphone) abandon() {
	m.end(ReasonStreamer)
	_ = m.pc.GracefulClose()
	m.running.Wait()
}

// end notes why the microphone ended; the first reason counts.
func (m *Microphone) end(r Reason) {
	m.mu.Lock()
	m.reason = r
	m.mu.Unlock()
	if r == ReasonBrowser || r == ReasonStreamer {
		m.media.Lock()
		m.buffer.End()
		m.media.Unlock()
	} else {
		err := fmt.Errorf("read microphone: %w: %s", ErrLost, r)
		m.broken.Store(&err)
	}
	close(m.done)
}

func (m *Microphone) ended() bool {
	select {
	case <-m.done:
		return true
	default:
		return false
	}
}

// Read gives the next 20 ms. After the streamer closed the microphone it gives what waits and then io.EOF; after the
// browser did, or its page was closed, what waits and then an error that wraps ErrLost, since a browser that hangs up has
// not said that all is said; after the connection broke, that error at once.
func (m *Microphone) Read(frame []float32) error {
	if len(frame) != frameSamples {
		return errFrame(len(frame))
	}
	if broken := m.broken.Load(); broken != nil && m.over == nil {
		m.over = *broken
	}
	if m.over != nil {
		clear(frame)
		return m.over
	}
	now := m.owner.now()
	m.media.Lock()
	m.over = m.buffer.Pull(now, frame)
	m.gauges.set(m.buffer.Stats())
	m.media.Unlock()
	if m.over != nil && m.Reason() == ReasonBrowser {
		m.over = fmt.Errorf("read microphone: %w: %s", ErrLost, ReasonBrowser)
	}
	return m.over
}

// Quiet returns how long no sound has come, silence included: 0 before the first.
func (m *Microphone) Quiet() time.Duration {
	last := mediaclock.Local(m.lastAt.Load())
	if last == 0 {
		return 0
	}
	return max(0, m.owner.now().Sub(last))
}

// Started is closed when enough sound waits for the first Read to begin with it.
func (m *Microphone) Started() <-chan struct{} { return m.started }

// Done is closed when the microphone has ended; Reason says why.
func (m *Microphone) Done() <-chan struct{} { return m.done }

// Reason says why the microphone ended, ReasonNone while it has not.
func (m *Microphone) Reason() Reason {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.reason
}

// Close hangs up and waits until the connection is gone.
func (m *Microphone) Close() error {
	m.closeOnce.Do(func() { close(m.closing) })
	m.running.Wait()
	return nil
}
