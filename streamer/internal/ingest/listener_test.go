package ingest

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/pion/ice/v4"
	"github.com/pion/logging"
	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"
	"github.com/prometheus/client_golang/prometheus"

	"dongthanh/codec"
	"dongthanh/streamer/internal/tap"
)

// onAir is a session that sends a tone, in packets of two frames.
type onAir struct {
	t   testing.TB
	tap *tap.Tap
	enc *codec.Encoder
	pcm []float32
	out []byte
	n   int64
}

func newOnAir(t testing.TB) *onAir {
	t.Helper()
	enc, err := codec.NewEncoder(codec.EncoderConfig{Bitrate: 64000, Music: true})
	if err != nil {
		t.Fatal(err)
	}
	return &onAir{t: t, tap: tap.New(), enc: enc, pcm: make([]float32, 2*frameSamples), out: make([]byte, codec.MaxPacketBytes)}
}

// say sends the next packet, of the tone or of silence.
func (o *onAir) say(loud bool) {
	clear(o.pcm)
	for i := 0; loud && i < len(o.pcm); i++ {
		o.pcm[i] = tone(int(o.n)*len(o.pcm) + i)
	}
	size, err := o.enc.Encode(o.pcm, o.out)
	if err != nil {
		o.t.Error(err)
		return
	}
	o.tap.Push(tap.Packet{Sample: o.n * int64(len(o.pcm)), Samples: len(o.pcm), Data: o.out[:size]})
	o.n++
}

// sayFor sends packets in real time until ctx ends; they are silent until loud says otherwise.
func (o *onAir) sayFor(ctx context.Context, loud func() bool) {
	tick := time.NewTicker(40 * time.Millisecond)
	defer tick.Stop()
	for begun, n := time.Now(), time.Duration(0); ; n += 40 * time.Millisecond {
		for time.Since(begun) < n { // a ticker drops ticks, this makes up for them
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
		o.say(loud())
	}
}

// ear is a page that listens, made of pion.
type ear struct {
	t         testing.TB
	pc        *webrtc.PeerConnection
	conn      *ice.UDPMuxDefault
	packets   chan rtp.Packet
	connected chan struct{}
}

func newEar(t testing.TB) *ear {
	t.Helper()
	e := &ear{t: t, packets: make(chan rtp.Packet, 4096), connected: make(chan struct{})}
	s := webrtc.SettingEngine{LoggerFactory: &logging.DefaultLoggerFactory{Writer: io.Discard, DefaultLogLevel: logging.LogLevelDisabled}}
	s.SetIncludeLoopbackCandidate(true)
	s.SetICEMulticastDNSMode(ice.MulticastDNSModeDisabled)
	b := browser{t: t}
	socketFor(&b, &s)
	e.conn = b.conn
	var err error
	if e.pc, err = webrtc.NewAPI(webrtc.WithSettingEngine(s)).NewPeerConnection(webrtc.Configuration{}); err != nil {
		t.Fatal(err)
	}
	var reading sync.WaitGroup
	e.pc.OnTrack(func(track *webrtc.TrackRemote, _ *webrtc.RTPReceiver) {
		reading.Add(1)
		defer reading.Done()
		for {
			p, _, err := track.ReadRTP()
			if err != nil {
				return
			}
			e.packets <- *p
		}
	})
	once := sync.OnceFunc(func() { close(e.connected) })
	e.pc.OnConnectionStateChange(func(s webrtc.PeerConnectionState) {
		if s == webrtc.PeerConnectionStateConnected {
			once()
		}
	})
	t.Cleanup(func() { _ = e.pc.GracefulClose(); reading.Wait() })
	if _, err := e.pc.AddTransceiverFromKind(webrtc.RTPCodecTypeAudio, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionRecvonly}); err != nil {
		t.Fatal(err)
	}
	return e
}

// connect connects the page to what is on air.
func (e *ear) connect(m *rig, o *onAir) *Listener {
	e.t.Helper()
	b := browser{t: e.t, pc: e.pc}
	answer, l, err := m.Listen(context.Background(), b.offer(), o.tap.Join(ListenPackets))
	if err != nil {
		e.t.Fatal(err)
	}
	if err := e.pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: answer}); err != nil {
		e.t.Fatal(err)
	}
	await(e.t, e.connected, "the connection")
	for deadline := time.After(10 * time.Second); !l.connected.Load(); { // the streamer learns it a moment later
		select {
		case <-time.After(time.Millisecond):
		case <-deadline:
			e.t.Fatal("the streamer does not see the connection")
		}
	}
	return l
}

// A listener gets the packets of the session as they are, with numbers and times that go with the sound, and ends with it.
func TestListener(t *testing.T) {
	m, o, e := open(t), newOnAir(t), newEar(t)
	l := e.connect(m, o)
	dec, err := codec.NewDecoder()
	if err != nil {
		t.Fatal(err)
	}
	var heard []float32
	var first, last rtp.Packet
	pcm := make([]float32, 2*frameSamples)
	for n := range 50 {
		o.say(true)
		select {
		case p := <-e.packets:
			if n == 0 {
				first = p
			} else if p.SequenceNumber != last.SequenceNumber+1 || p.Timestamp != last.Timestamp+2*frameSamples || p.Marker {
				t.Fatalf("packet %d: %v after %v", n, p.Header, last.Header)
			}
			last = p
			if _, err := dec.DecodeFloat(p.Payload, pcm); err != nil {
				t.Fatal(err)
			}
			heard = append(heard, pcm...)
		case <-time.After(10 * time.Second):
			t.Fatalf("packet %d does not come", n)
		}
	}
	if !first.Marker {
		t.Error("the first packet has no marker")
	}
	if p := purity(heard[frameSamples:], toneHz); p < 0.99 {
		t.Errorf("the tone has %.3f of the power", p)
	}
	o.tap.End()
	await(t, l.Done(), "the end")
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

// A page that leaves or vanishes, and one that Close finds, end their listeners; the tap does not feel any of them.
func TestListenersEnd(t *testing.T) {
	m, o := open(t), newOnAir(t)
	m.waits = waits{silent: 200 * time.Millisecond, lost: 400 * time.Millisecond, connect: 700 * time.Millisecond}
	leaves, vanishes, closed := newEar(t), newEar(t), newEar(t)
	a, b, c := leaves.connect(m, o), vanishes.connect(m, o), closed.connect(m, o)
	if err := leaves.pc.Close(); err != nil {
		t.Fatal(err)
	}
	if err := vanishes.conn.Close(); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	for range 1000 {
		o.say(true) // more than any queue holds
	}
	if took := time.Since(begun); took > 10*time.Second {
		t.Errorf("1000 packets took %v", took)
	}
	await(t, a.Done(), "the end of the one who left")
	await(t, b.Done(), "the end of the one who vanished")
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	never := browser{t: t, pc: newEar(t).pc}
	_, d, err := m.Listen(t.Context(), never.offer(), o.tap.Join(ListenPackets))
	if err != nil {
		t.Fatal(err)
	}
	await(t, d.Done(), "the end of the one who never connected")
	m.mu.Lock()
	left := m.listening + len(m.listeners)
	m.mu.Unlock()
	if left != 0 {
		t.Errorf("%d listeners are left", left)
	}
}

// Bad offers, and one more than there is room for, are refused and leave the tap.
func TestListenRefuses(t *testing.T) {
	m, o := open(t), newOnAir(t)
	offer := (&browser{t: t, pc: newEar(t).pc}).offer()
	speaks := newBrowser(t).offer()
	for name, bad := range map[string]string{
		"nothing": "", "no SDP": "xin chào", "half": offer[:len(offer)/2], "inactive": strings.ReplaceAll(offer, "a=recvonly", "a=inactive"),
		"sends": strings.ReplaceAll(speaks, "a=sendrecv", "a=sendonly"), "no Opus": strings.ReplaceAll(offer, "opus/48000", "PCMU/8000"),
	} {
		if _, _, err := m.Listen(t.Context(), bad, o.tap.Join(ListenPackets)); !errors.Is(err, ErrBadOffer) {
			t.Errorf("%s: %v, want ErrBadOffer", name, err)
		}
	}
	m.mu.Lock()
	m.listening += maxListeners
	m.mu.Unlock()
	q := o.tap.Join(ListenPackets)
	if _, _, err := m.Listen(t.Context(), offer, q); !errors.Is(err, ErrTooManyListeners) {
		t.Errorf("one too many: %v, want ErrTooManyListeners", err)
	}
	m.mu.Lock()
	m.listening -= maxListeners
	m.mu.Unlock()
	if o.say(true); q.Waiting() != 0 {
		t.Error("a refused listener still reads the tap")
	}
}

// listenPage listens to /listen and notes when the tone begins.
const listenPage = `<!doctype html><title>listener</title><audio id="ear"></audio><script>
async function listen() {
	const pc = window.pc = new RTCPeerConnection();
	pc.addTransceiver("audio", {direction: "recvonly"});
	const tracked = new Promise(done => pc.ontrack = done);
	await pc.setLocalDescription();
	const reply = await fetch("/listen", {method: "POST", body: pc.localDescription.sdp});
	if (!reply.ok) throw new Error(await reply.text());
	await pc.setRemoteDescription({type: "answer", sdp: await reply.text()});
	ear.srcObject = new MediaStream([(await tracked).track]);
	await ear.play();
	const audio = new AudioContext();
	window.scope = audio.createAnalyser();
	scope.fftSize = 2048;
	audio.createMediaStreamSource(ear.srcObject).connect(scope);
	window.begun = 0;
	const now = new Float32Array(256);
	setInterval(() => {
		scope.getFloatTimeDomainData(now);
		if (!begun && now.some(x => Math.abs(x) > 0.1)) begun = Date.now();
	}, 5);
	while (pc.connectionState != "connected") await new Promise(done => setTimeout(done, 10));
	return "connected";
}
// The loudest frequency, and how loud it is.
function loudest() {
	const power = new Float32Array(scope.frequencyBinCount);
	scope.getFloatFrequencyData(power);
	const i = power.indexOf(Math.max(...power));
	return [i * scope.context.sampleRate / scope.fftSize, power[i]];
}
async function lost() {
	for (const s of (await pc.getStats()).values()) if (s.type == "inbound-rtp") return [s.packetsLost, s.packetsReceived, 1000 * s.jitterBufferDelay / s.jitterBufferEmittedCount];
}
</script>`

// A real Chromium plays the session's packets of 40 ms as they are: the tone comes out, and soon.
func TestChromiumListens(t *testing.T) {
	ctx := chromium(t, toneWAV(t))
	m, err := NewMicrophones(Config{Listen: "127.0.0.1:0"}, quiet(), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	o := newOnAir(t)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/listen" {
			w.Header().Set("Content-Type", "text/html")
			_, _ = io.WriteString(w, listenPage)
			return
		}
		offer, _ := io.ReadAll(r.Body)
		answer, _, err := m.Listen(r.Context(), string(offer), o.tap.Join(ListenPackets))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		_, _ = io.WriteString(w, answer)
	}))
	defer server.Close()
	if err := chromedp.Do(ctx, chromedp.Navigate(server.URL)); err != nil {
		t.Fatal(err)
	}
	speaking, hush := context.WithCancel(t.Context())
	defer hush()
	loud := make(chan struct{})
	var began time.Time // of the first loud packet's first sample
	var saying sync.WaitGroup
	saying.Go(func() {
		o.sayFor(speaking, func() bool {
			select {
			case <-loud:
				if began.IsZero() {
					began = time.Now().Add(-40 * time.Millisecond)
				}
				return true
			default:
				return false
			}
		})
	})
	if state, err := chromedp.Run(ctx, chromedp.Evaluate[string]("listen()", chromedp.EvalAwaitPromise)); err != nil || state != "connected" {
		t.Fatalf("listen() = %q, %v", state, err)
	}
	<-time.After(time.Second) // Chromium's jitter buffer settles on silence
	close(loud)
	var peak []float64
	for deadline := time.Now().Add(10 * time.Second); ; {
		if peak, err = chromedp.Run(ctx, chromedp.Evaluate[[]float64]("loudest()")); err != nil {
			t.Fatal(err)
		}
		if peak[1] > -30 && peak[0] > toneHz-30 && peak[0] < toneHz+30 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the page hears %v Hz at %v dB, want %v Hz", peak[0], peak[1], toneHz)
		}
		<-time.After(50 * time.Millisecond)
	}
	<-time.After(time.Second)
	stats, err := chromedp.Run(ctx, chromedp.Evaluate[[]float64]("lost()", chromedp.EvalAwaitPromise))
	if err != nil {
		t.Fatal(err)
	}
	at, err := chromedp.Run(ctx, chromedp.Evaluate[float64]("begun"))
	if err != nil {
		t.Fatal(err)
	}
	hush()
	saying.Wait()
	t.Logf("%.0f Hz at %.1f dB, %v after its first sample entered the encoder; %v packets lost, %v received, jitter buffer %.0f ms",
		peak[0], peak[1], time.UnixMilli(int64(at)).Sub(began).Round(time.Millisecond), stats[0], stats[1], stats[2])
	if stats[0] > 0 || stats[1] < 25 {
		t.Errorf("%v packets were lost, %v received", stats[0], stats[1])
	}
	o.tap.End()
}
