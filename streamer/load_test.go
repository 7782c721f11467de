package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/websocket"
	"github.com/pion/ice/v4"
	"github.com/pion/logging"
	"github.com/pion/webrtc/v4"
	"github.com/pion/webrtc/v4/pkg/media"

	"github.com/prometheus/client_golang/prometheus"

	"dongthanh/codec"
	"dongthanh/internal/identity"
	"dongthanh/internal/link"
)

// loadKey makes this test's program a crowd instead, of browsers or of loudspeakers. Its value is a load as JSON.
const loadKey = "DONGTHANH_TEST_LOAD"

// load is what a crowd has to do.
type load struct {
	Console, Token string
	Sessions       []string // each gets a browser that speaks
	Sound          string   // what they say, a WAV file

	Upstream  string
	Listeners []string // directories of loudspeakers, enrolled
}

// crowd starts a process that is a crowd, waits until its browsers are connected, and returns a function that ends it.
func (r *benchRig) crowd(l load) (end func()) {
	r.tb.Helper()
	order, err := json.Marshal(l)
	r.must(err)
	program, err := os.Executable()
	r.must(err)
	cmd := exec.Command(program)
	cmd.Env = append(os.Environ(), loadKey+"="+string(order))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	r.must(err)
	out, err := cmd.StdoutPipe()
	r.must(err)
	r.must(cmd.Start())
	if _, err := io.ReadFull(out, make([]byte, 1)); err != nil {
		r.tb.Errorf("the browsers do not connect: %v", err)
	}
	return func() {
		_ = in.Close()
		if err := cmd.Wait(); err != nil {
			r.tb.Errorf("the crowd: %v", err)
		}
	}
}

// crowd speaks and listens until stdin is closed, and prints a byte once every browser is connected.
func crowd(order string) error {
	var l load
	if err := json.Unmarshal([]byte(order), &l); err != nil {
		return err
	}
	packets, err := l.encode()
	if err != nil {
		return err
	}
	ctx, enough := context.WithCancel(context.Background())
	defer enough()
	var ready, all sync.WaitGroup
	faults := make(chan error, len(l.Sessions)+len(l.Listeners))
	for _, dir := range l.Listeners {
		all.Go(func() {
			if err := l.listen(ctx, dir); err != nil {
				faults <- fmt.Errorf("loudspeaker %s: %w", dir, err)
			}
		})
	}
	for i, id := range l.Sessions {
		ready.Add(1)
		all.Go(func() {
			begin := sync.OnceFunc(ready.Done)
			defer begin()
			if err := l.browser(ctx, id, packets, i, begin); err != nil {
				faults <- fmt.Errorf("browser of session %s: %w", id, err)
			}
		})
	}
	ready.Wait()
	fmt.Print(".")
	_, _ = io.Copy(io.Discard, os.Stdin)
	enough()
	all.Wait()
	close(faults)
	return errors.Join(<-faults)
}

// listen is a loudspeaker as far as its upstream can tell.
func (l load) listen(ctx context.Context, dir string) error {
	own, err := identity.Load(dir)
	if err != nil {
		return err
	}
	links, err := link.New(link.Options{
		Upstreams: []link.Upstream{{Control: l.Upstream}}, Credentials: own, Boot: 1, Version: "load",
		Log: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry(), Prefix: "dongthanh_client_",
	})
	if err != nil {
		return err
	}
	if err := links.Run(ctx); ctx.Err() == nil {
		return err
	}
	return nil
}

// encode makes packets as a browser does: 20 ms, 32 kbit/s.
func (l load) encode() (packets [][]byte, err error) {
	if l.Sound == "" {
		return nil, nil
	}
	wav, err := os.ReadFile(l.Sound)
	if err != nil {
		return nil, err
	}
	pcm, err := codec.ReadWAV(bytes.NewReader(wav))
	if err != nil {
		return nil, err
	}
	enc, err := codec.NewEncoder(codec.EncoderConfig{FramesPerPacket: 1})
	if err != nil {
		return nil, err
	}
	dst := make([]byte, enc.MaxPacketBytes())
	for ; len(pcm) >= codec.FrameSamples; pcm = pcm[codec.FrameSamples:] {
		n, err := enc.Encode(pcm[:codec.FrameSamples], dst)
		if err != nil {
			return nil, err
		}
		packets = append(packets, bytes.Clone(dst[:n]))
	}
	return packets, nil
}

// browser connects as the page does, and speaks: from another place in the sound than its neighbours, and at another
// moment within the 20 ms.
func (l load) browser(ctx context.Context, session string, packets [][]byte, number int, ready func()) error {
	s := webrtc.SettingEngine{LoggerFactory: &logging.DefaultLoggerFactory{Writer: io.Discard, DefaultLogLevel: logging.LogLevelDisabled}}
	s.SetIncludeLoopbackCandidate(true)
	s.SetICEMulticastDNSMode(ice.MulticastDNSModeDisabled)
	s.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeUDP4})
	s.SetIPFilter(func(ip net.IP) bool { return ip.IsLoopback() })
	pc, err := webrtc.NewAPI(webrtc.WithSettingEngine(s)).NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		return err
	}
	defer pc.GracefulClose()
	track, err := webrtc.NewTrackLocalStaticSample(webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeOpus, ClockRate: 48000, Channels: 2}, "mic", "mic")
	if err != nil {
		return err
	}
	if _, err := pc.AddTrack(track); err != nil {
		return err
	}
	offer, err := pc.CreateOffer(nil)
	if err != nil {
		return err
	}
	gathered := webrtc.GatheringCompletePromise(pc)
	if err := pc.SetLocalDescription(offer); err != nil {
		return err
	}
	<-gathered
	connected := make(chan struct{})
	once := sync.OnceFunc(func() { close(connected) })
	pc.OnConnectionStateChange(func(s webrtc.PeerConnectionState) {
		if s == webrtc.PeerConnectionStateConnected {
			once()
		}
	})
	conn, answer, err := websocket.DefaultDialer.DialContext(ctx, "ws"+strings.TrimPrefix(l.Console, "http")+"/api/v1/sessions/"+session+"/microphone",
		http.Header{"Authorization": {"Bearer " + l.Token}})
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	defer conn.Close()
	if err := conn.WriteJSON(map[string]string{"type": "offer", "sdp": pc.LocalDescription().SDP}); err != nil {
		return err
	}
	var reply struct{ Type, SDP string }
	if err := conn.ReadJSON(&reply); err != nil {
		return err
	}
	if err := pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: reply.SDP}); err != nil {
		return err
	}
	var reading sync.WaitGroup
	defer reading.Wait()
	defer conn.Close()
	reading.Go(func() { // the levels that a page shows
		for err := error(nil); err == nil; {
			_, _, err = conn.ReadMessage()
		}
	})
	select {
	case <-connected:
	case <-time.After(limit):
		return errors.New("not connected")
	}
	ready()
	<-time.After(time.Duration(number*7%20) * time.Millisecond)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for at := number * 37; ; at++ {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if err := track.WriteSample(media.Sample{Data: packets[at%len(packets)], Duration: 20 * time.Millisecond}); err != nil {
			return err
		}
	}
}
