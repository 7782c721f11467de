package ingest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/pion/ice/v4"
	"github.com/pion/interceptor"
	"github.com/pion/interceptor/pkg/report"
	"github.com/pion/webrtc/v4"
	"github.com/prometheus/client_golang/prometheus"

	dtlog "dongthanh/internal/logging"
	"dongthanh/internal/mediaclock"
	"dongthanh/internal/seq"
)

const (
	maxMicrophones = 64 // open at once; one streamer's officials are fewer, and each costs memory

	gatherWait = 3 * time.Second // for candidates, which need no network: all are local

	keepalive  = time.Second // a check of the connection, which also measures its round-trip time
	dtlsWait   = 10 * time.Second
	receiveMTU = 1500
)

// waits are the times after which a connection is given up; tests have less patience.
type waits struct {
	silent  time.Duration // nothing came: it counts as disconnected
	lost    time.Duration // it stays so
	connect time.Duration // from the answer to the connection
}

// Sound comes every 20 ms and a check of the connection every other second: 2 s of nothing is an outage, not a pause.
func defaultWaits() waits {
	return waits{silent: 2 * time.Second, lost: 5 * time.Second, connect: 15 * time.Second}
}

var (
	// ErrTooMany says that as many microphones are open as there may be.
	ErrTooMany = errors.New("too many microphones are open")
	// ErrClosed says that the streamer is ending.
	ErrClosed = errors.New("microphones are closed")
)

// Microphones owns the one port of all browser microphones and hands out a Microphone for each offer.
type Microphones struct {
	log     *slog.Logger
	public  []string
	ports   *ports
	pion    pionLog
	now     func() mediaclock.Local
	heard   func(seq.Seq) // if set, is told of each packet once it can be read
	looked  func()        // if set, is told of each measurement of a round-trip time
	reg     prometheus.Registerer
	metrics collector
	waits   waits

	mu     sync.Mutex // guards what follows; never held while media flows
	open   map[*Microphone]bool
	taken  int // open, and offers that are being answered
	past   totals
	closed bool
	idle   sync.Cond // taken or listening fell

	listeners map[*Listener]bool
	listening int // as taken, of listeners
}

// NewMicrophones opens the port and registers its metrics, which Close removes again. The error names the port.
func NewMicrophones(cfg Config, log *slog.Logger, reg prometheus.Registerer) (*Microphones, error) {
	m := &Microphones{
		log: log, public: cfg.PublicIPs, now: mediaclock.NewMonotonic().Now, reg: reg, open: map[*Microphone]bool{}, listeners: map[*Listener]bool{},
		pion: pionLog{dtlog.NewDumper(log, "microphone connections", time.Now)},
		past: newTotals(), waits: defaultWaits(),
	}
	m.idle.L = &m.mu
	var err error
	if m.ports, err = listenPorts(cfg.Listen, m.pion.NewLogger("ice")); err != nil {
		m.pion.errors.Stop()
		return nil, err
	}
	m.metrics = newCollector(m)
	if err := reg.Register(m.metrics); err != nil {
		_ = m.ports.Close()
		m.pion.errors.Stop()
		return nil, fmt.Errorf("register metrics of microphones: %w", err)
	}
	return m, nil
}

// Addrs returns the addresses that the port is open on, as those of UDP; TCP has the same.
func (m *Microphones) Addrs() []net.Addr { return m.ports.GetListenAddresses() }

// Accept answers a browser's offer of a microphone (RFC 9429, without trickling: the answer holds all candidates). The
// caller owns the Microphone and closes it. ctx bounds Accept alone. Errors wrap ErrBadOffer if the offer is to blame,
// ErrTooMany or ErrClosed, or ctx's.
func (m *Microphones) Accept(ctx context.Context, offer string) (answer string, mic *Microphone, err error) {
	reduced, err := readOffer(offer)
	if err != nil {
		return "", nil, err
	}
	if err := m.take(); err != nil {
		return "", nil, fmt.Errorf("accept microphone: %w", err)
	}
	_ = m.ports.refresh() // an address that fails is not offered
	mic, err = newMicrophone(m)
	if err == nil {
		answer, err = mic.answer(ctx, reduced)
	}
	if err == nil {
		answer, err = finishAnswer(answer, m.public, m.ports.number())
	}
	if err == nil {
		err = m.admit(mic)
	}
	if err != nil {
		if mic != nil {
			mic.abandon()
		}
		m.give(nil)
		return "", nil, err
	}
	return answer, mic, nil
}

// admit starts a microphone, unless Close was faster.
func (m *Microphones) admit(mic *Microphone) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return fmt.Errorf("accept microphone: %w", ErrClosed)
	}
	m.open[mic] = true
	mic.running.Go(mic.watch)
	return nil
}

// take reserves a place for a microphone.
func (m *Microphones) take() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.closed:
		return ErrClosed
	case m.taken == maxMicrophones:
		return ErrTooMany
	}
	m.taken++
	return nil
}

// give ends what take began, and keeps what the microphone counted that was admitted; nil: none was.
func (m *Microphones) give(mic *Microphone) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.taken--
	m.idle.Broadcast()
	if mic != nil {
		delete(m.open, mic)
		m.past.add(mic.Stats())
		m.past.ended[mic.Reason()]++
	}
}

// Close ends every microphone and listener, waits for all goroutines and closes the port.
func (m *Microphones) Close() error {
	m.mu.Lock()
	m.closed = true
	var open []*Microphone
	for mic := range m.open {
		open = append(open, mic)
	}
	var listeners []*Listener
	for l := range m.listeners {
		listeners = append(listeners, l)
	}
	m.mu.Unlock()
	for _, mic := range open {
		_ = mic.Close()
	}
	for _, l := range listeners {
		_ = l.Close()
	}
	m.mu.Lock()
	for m.taken+m.listening > 0 {
		m.idle.Wait()
	}
	m.mu.Unlock()
	m.reg.Unregister(m.metrics)
	err := m.ports.Close()
	m.pion.errors.Stop()
	if err != nil {
		return fmt.Errorf("close port of microphones: %w", err)
	}
	return nil
}

// newAPI makes what a connection is built from. buffers bounds what waits in it.
func (m *Microphones) newAPI(buffers *buffers) (*webrtc.API, error) {
	media := &webrtc.MediaEngine{}
	opus := webrtc.RTPCodecParameters{
		RTPCodecCapability: webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeOpus, ClockRate: mediaclock.Rate, Channels: 2},
		PayloadType:        111,
	}
	if err := media.RegisterCodec(opus, webrtc.RTPCodecTypeAudio); err != nil {
		return nil, fmt.Errorf("set up WebRTC: %w", err)
	}
	// Receiver reports tell the browser what is lost, and so when to spend bits on FEC.
	reports, err := report.NewReceiverInterceptor(report.WithReceiverLoggerFactory(m.pion))
	if err != nil {
		return nil, fmt.Errorf("set up WebRTC: %w", err)
	}
	interceptors := &interceptor.Registry{}
	interceptors.Add(reports)

	s := webrtc.SettingEngine{LoggerFactory: m.pion, BufferFactory: buffers.make}
	s.SetICEUDPMux(m.ports)
	s.SetICETCPMux(m.ports)
	s.DisableActiveTCP(true) // the streamer never connects to where an offer points
	s.SetNetworkTypes([]webrtc.NetworkType{
		webrtc.NetworkTypeUDP4, webrtc.NetworkTypeUDP6, webrtc.NetworkTypeTCP4, webrtc.NetworkTypeTCP6,
	})
	s.SetIncludeLoopbackCandidate(true)
	s.SetICEMulticastDNSMode(ice.MulticastDNSModeDisabled)
	s.SetICETimeouts(m.waits.silent, m.waits.lost, keepalive)
	s.SetDTLSConnectContextMaker(func() (context.Context, func()) {
		return context.WithTimeout(context.Background(), dtlsWait)
	})
	s.SetFireOnTrackBeforeFirstRTP(true) // a first packet that is no sound must not keep the others out
	s.SetReceiveMTU(receiveMTU)
	return webrtc.NewAPI(webrtc.WithMediaEngine(media), webrtc.WithInterceptorRegistry(interceptors), webrtc.WithSettingEngine(s)), nil
}
