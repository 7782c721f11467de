package ingest

import (
	"context"
	"io"
	"log/slog"
	"math"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pion/ice/v4"
	"github.com/pion/interceptor"
	"github.com/pion/logging"
	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"dongthanh/codec"
	"dongthanh/internal/mediaclock"
	"dongthanh/internal/seq"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const toneHz = 1000

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// rig is Microphones on loopback, with a clock that the test moves: sound is sent, received and read as fast as the
// machine allows, and how busy it is changes nothing.
type rig struct {
	*Microphones
	clock atomic.Int64
	last  atomic.Uint32 // number of the last packet received
	came  chan struct{} // holds one
}

// open returns a rig that ends with the test.
func open(t testing.TB, change ...func(*Config)) *rig {
	t.Helper()
	cfg := Config{Listen: "127.0.0.1:0"}
	for _, c := range change {
		c(&cfg)
	}
	m, err := NewMicrophones(cfg, quiet(), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{Microphones: m, came: make(chan struct{}, 1)}
	m.now = func() mediaclock.Local { return mediaclock.Local(r.clock.Load()) }
	m.heard = func(n seq.Seq) {
		r.last.Store(uint32(n))
		select {
		case r.came <- struct{}{}:
		default:
		}
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return r
}

// talk lets b send frames of its tone, with between called before each, and returns what mic gives meanwhile. Time
// goes on by 20 ms a frame, once the frame has arrived.
func (r *rig) talk(b *browser, mic *Microphone, frames int, between func(i int)) []float32 {
	b.t.Helper()
	var all []float32
	frame := make([]float32, frameSamples)
	for i := range frames {
		if between != nil {
			between(i)
		}
		p := b.next()
		b.send(p)
		for timeout := time.After(10 * time.Second); r.last.Load() != uint32(p.SequenceNumber); {
			select {
			case <-r.came:
			case <-mic.Done():
				return all
			case <-timeout:
				b.t.Fatalf("packet %d did not arrive: %+v", i, mic.Stats())
			}
		}
		r.clock.Add(int64(20 * time.Millisecond))
		if err := mic.Read(frame); err != nil {
			if mic.ended() {
				return all
			}
			b.t.Fatalf("Read: %v", err)
		}
		all = append(all, frame...)
	}
	return all
}

// browser is a browser with a microphone, made of pion.
type browser struct {
	t     testing.TB
	pc    *webrtc.PeerConnection
	track *webrtc.TrackLocalStaticRTP
	enc   *codec.Encoder
	conn  *ice.UDPMuxDefault // its network, of UDP

	connected chan struct{}
	seq       uint16
	at        int // samples encoded so far
	// change, if set, changes each packet before it is encrypted.
	change func(*rtp.Header) *rtp.Header
}

// newBrowser returns a browser that is not connected.
func newBrowser(t testing.TB) *browser {
	t.Helper()
	return browserOn(t, socketFor)
}

// socketFor gives a browser a network of one UDP socket.
func socketFor(b *browser, s *webrtc.SettingEngine) {
	s.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeUDP4})
	socket, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		b.t.Fatal(err)
	}
	b.conn = ice.NewUDPMuxDefault(ice.UDPMuxParams{UDPConn: socket, Logger: s.LoggerFactory.NewLogger("ice")})
	b.t.Cleanup(func() { _ = b.conn.Close() })
	s.SetICEUDPMux(b.conn)
}

// browserOn returns a browser on a network that set chooses.
func browserOn(t testing.TB, set func(*browser, *webrtc.SettingEngine)) *browser {
	t.Helper()
	b := &browser{t: t, connected: make(chan struct{}), seq: 65500}
	media := &webrtc.MediaEngine{}
	if err := media.RegisterDefaultCodecs(); err != nil {
		t.Fatal(err)
	}
	interceptors := &interceptor.Registry{}
	interceptors.Add(changer{b})
	s := webrtc.SettingEngine{LoggerFactory: &logging.DefaultLoggerFactory{Writer: io.Discard, DefaultLogLevel: logging.LogLevelDisabled}}
	s.SetIncludeLoopbackCandidate(true)
	s.SetICEMulticastDNSMode(ice.MulticastDNSModeDisabled)
	set(b, &s)
	var err error
	api := webrtc.NewAPI(webrtc.WithMediaEngine(media), webrtc.WithSettingEngine(s), webrtc.WithInterceptorRegistry(interceptors))
	if b.pc, err = api.NewPeerConnection(webrtc.Configuration{}); err != nil {
		t.Fatal(err)
	}
	if b.track, err = webrtc.NewTrackLocalStaticRTP(webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeOpus}, "mic", "stream"); err != nil {
		t.Fatal(err)
	}
	sender, err := b.pc.AddTrack(b.track)
	if err != nil {
		t.Fatal(err)
	}
	var reading sync.WaitGroup
	reading.Go(func() {
		for buf := make([]byte, 1500); ; {
			if _, _, err := sender.Read(buf); err != nil {
				return
			}
		}
	})
	t.Cleanup(func() { _ = b.pc.GracefulClose(); reading.Wait() })
	once := sync.OnceFunc(func() { close(b.connected) })
	b.pc.OnConnectionStateChange(func(s webrtc.PeerConnectionState) {
		if s == webrtc.PeerConnectionStateConnected {
			once()
		}
	})
	if b.enc, err = codec.NewEncoder(codec.EncoderConfig{FramesPerPacket: 1, Bitrate: 64000, Music: true}); err != nil {
		t.Fatal(err)
	}
	return b
}

// changer lets a browser misbehave below pion's own checks.
type changer struct{ b *browser }

func (c changer) NewInterceptor(string) (interceptor.Interceptor, error) {
	return &changing{b: c.b}, nil
}

type changing struct {
	interceptor.NoOp
	b *browser
}

func (c *changing) BindLocalStream(_ *interceptor.StreamInfo, w interceptor.RTPWriter) interceptor.RTPWriter {
	return interceptor.RTPWriterFunc(func(h *rtp.Header, payload []byte, a interceptor.Attributes) (int, error) {
		if c.b.change != nil {
			h = c.b.change(h)
		}
		return w.Write(h, payload, a)
	})
}

// offer returns the browser's offer.
func (b *browser) offer() string {
	b.t.Helper()
	offer, err := b.pc.CreateOffer(nil)
	if err != nil {
		b.t.Fatal(err)
	}
	gathered := webrtc.GatheringCompletePromise(b.pc)
	if err := b.pc.SetLocalDescription(offer); err != nil {
		b.t.Fatal(err)
	}
	<-gathered
	return b.pc.LocalDescription().SDP
}

// connect connects the browser to m.
func (b *browser) connect(m *rig) *Microphone {
	b.t.Helper()
	answer, mic, err := m.Accept(context.Background(), b.offer())
	if err != nil {
		b.t.Fatal(err)
	}
	if err := b.pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: answer}); err != nil {
		b.t.Fatal(err)
	}
	await(b.t, b.connected, "the connection")
	return mic
}

// next returns the next packet of a tone at half of full scale.
func (b *browser) next() *rtp.Packet {
	b.t.Helper()
	pcm := make([]float32, frameSamples)
	for i := range pcm {
		pcm[i] = tone(b.at + i)
	}
	payload := make([]byte, b.enc.MaxPacketBytes())
	n, err := b.enc.Encode(pcm, payload)
	if err != nil {
		b.t.Fatal(err)
	}
	p := &rtp.Packet{
		Header:  rtp.Header{Version: 2, SequenceNumber: b.seq, Timestamp: 0xffff0000 + uint32(b.at)},
		Payload: payload[:n],
	}
	b.seq++
	b.at += frameSamples
	return p
}

func (b *browser) send(p *rtp.Packet) {
	b.t.Helper()
	if err := b.track.WriteRTP(p); err != nil {
		b.t.Fatal(err)
	}
}

// extra returns a packet with a number of its own and no place in the tone.
func (b *browser) extra() *rtp.Packet {
	p := &rtp.Packet{
		Header:  rtp.Header{Version: 2, SequenceNumber: b.seq, Timestamp: 0xffff0000 + uint32(b.at)},
		Payload: []byte{0xf8, 0xff, 0xfe}, // a frame of silence
	}
	b.seq++
	return p
}

func await(t testing.TB, ch <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-ch:
	case <-time.After(10 * time.Second):
		t.Fatalf("%s did not come about in 10 s", what)
	}
}

// purity is the portion of the power of pcm that lies at hz (Goertzel), 1 for a pure tone.
func purity(pcm []float32, hz float64) float64 {
	w := 2 * math.Pi * hz / mediaclock.Rate
	var s1, s2, sum float64
	for _, x := range pcm {
		s1, s2 = float64(x)+2*math.Cos(w)*s1-s2, s1
		sum += float64(x) * float64(x)
	}
	if sum == 0 {
		return 0
	}
	return 2 * (s1*s1 + s2*s2 - 2*math.Cos(w)*s1*s2) / (sum * float64(len(pcm)))
}

// loudness is the mean power of pcm; a tone at half of full scale has 0.125.
func loudness(pcm []float32) float64 {
	sum := 0.0
	for _, x := range pcm {
		sum += float64(x) * float64(x)
	}
	return sum / float64(max(1, len(pcm)))
}

func itoa(n uint16) string { return strconv.Itoa(int(n)) }

// vanish takes the browser off the network without a goodbye.
func (b *browser) vanish() {
	b.t.Helper()
	if err := b.conn.Close(); err != nil {
		b.t.Fatal(err)
	}
}

// tone is sample i of the tone that every browser here speaks.
func tone(i int) float32 { return float32(0.5 * math.Sin(2*math.Pi*toneHz*float64(i)/mediaclock.Rate)) }
