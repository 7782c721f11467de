package api

import (
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/pion/ice/v4"
	"github.com/pion/logging"
	"github.com/pion/webrtc/v4"
	"github.com/pion/webrtc/v4/pkg/media"

	"dongthanh/codec"
	"dongthanh/streamer/internal/voice"
)

// page is a page's connection for its microphone.
type page struct {
	*websocket.Conn
	t *testing.T
}

// dial opens the WebSocket of a session's microphone; the answer is the HTTP one.
func (c caller) dial(session string, headers ...string) (*page, *http.Response, error) {
	c.t.Helper()
	header := http.Header{}
	for _, h := range append(headers, c.headers...) {
		name, value, _ := strings.Cut(h, ": ")
		header.Set(name, value)
	}
	conn, response, err := websocket.DefaultDialer.DialContext(c.t.Context(), "ws"+strings.TrimPrefix(c.server.URL, "http")+"/api/v1/sessions/"+session+"/microphone", header)
	if err != nil {
		return nil, response, err
	}
	c.t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetReadDeadline(time.Now().Add(limit))
	return &page{conn, c.t}, response, nil
}

// open is dial that must succeed.
func (c caller) open(session string, headers ...string) *page {
	c.t.Helper()
	p, response, err := c.dial(session, headers...)
	if err != nil {
		c.t.Fatalf("open microphone: %v (%v)", err, response)
	}
	return p
}

// next reads the next message.
func (p *page) next() signal {
	p.t.Helper()
	var s signal
	if err := p.ReadJSON(&s); err != nil {
		p.t.Fatalf("read: %v", err)
	}
	return s
}

// wait reads on to a message of the type.
func (p *page) wait(kind string) signal {
	p.t.Helper()
	for {
		if s := p.next(); s.Type == kind {
			return s
		}
	}
}

// refused expects an error with the code, and the end.
func (p *page) refused(what, code string) {
	p.t.Helper()
	s := p.next()
	if s.Type != "error" || s.Error == nil || s.Error.Code != code || s.Error.Detail == "" {
		p.t.Errorf("%s: %+v, want error %s", what, s, code)
	}
	if _, _, err := p.ReadMessage(); err == nil {
		p.t.Errorf("%s: the connection goes on", what)
	}
}

// browserOffer is what a browser offers for one microphone.
func browserOffer(t *testing.T) (string, *webrtc.PeerConnection, *webrtc.TrackLocalStaticSample) {
	t.Helper()
	m := &webrtc.MediaEngine{}
	if err := m.RegisterDefaultCodecs(); err != nil {
		t.Fatal(err)
	}
	s := webrtc.SettingEngine{LoggerFactory: &logging.DefaultLoggerFactory{DefaultLogLevel: logging.LogLevelDisabled}}
	s.SetIncludeLoopbackCandidate(true)
	s.SetICEMulticastDNSMode(ice.MulticastDNSModeDisabled)
	s.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeUDP4})
	pc, err := webrtc.NewAPI(webrtc.WithMediaEngine(m), webrtc.WithSettingEngine(s)).NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = pc.GracefulClose() })
	track, err := webrtc.NewTrackLocalStaticSample(webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeOpus}, "mic", "stream")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pc.AddTransceiverFromTrack(track, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionSendonly}); err != nil {
		t.Fatal(err)
	}
	offer, err := pc.CreateOffer(nil)
	if err != nil {
		t.Fatal(err)
	}
	gathered := webrtc.GatheringCompletePromise(pc)
	if err := pc.SetLocalDescription(offer); err != nil {
		t.Fatal(err)
	}
	<-gathered
	return pc.LocalDescription().SDP, pc, track
}

// TestMicrophoneOrigin: a page of another site cannot use the cookie of ours.
func TestMicrophoneOrigin(t *testing.T) {
	b := newBed(t)
	lan := b.as("lan")
	id := lan.begin(on("31/11296"))
	for _, origin := range []string{"https://evil.example", "http://127.0.0.1:1", "null", "https://" + strings.TrimPrefix(b.server.URL, "http://") + ".evil.example"} {
		if _, response, err := lan.dial(id, "Origin: "+origin); err == nil || response == nil || response.StatusCode != http.StatusForbidden {
			t.Errorf("from %s: %v, want 403", origin, err)
		}
	}
	if got := b.sessions.OnAir(); len(got) != 1 {
		t.Errorf("%d on air", len(got))
	}
	lan.open(id, "Origin: "+b.server.URL).Close()
	lan.open(id).Close() // a program that is no browser
	if a := lan.get("/sessions/" + id + "/microphone"); a.status != http.StatusBadRequest {
		t.Errorf("a plain GET: %d %s, want 400", a.status, a.raw)
	}
}

func TestMicrophoneRefuses(t *testing.T) {
	b := newBed(t)
	lan := b.as("lan")
	id := lan.begin(on("31/11296"))
	offer, _, _ := browserOffer(t)
	encoded := func(v any) []byte {
		raw, err := json.Marshal(v)
		b.must(err)
		return raw
	}
	for _, c := range []struct {
		name string
		kind int
		text []byte
	}{
		{"no JSON", websocket.TextMessage, []byte("xin chào")},
		{"nothing", websocket.TextMessage, nil},
		{"another type", websocket.TextMessage, encoded(object{"type": "answer", "sdp": offer})},
		{"a binary message", websocket.BinaryMessage, encoded(object{"type": "offer", "sdp": offer})},
		{"no SDP", websocket.TextMessage, encoded(object{"type": "offer"})},
		{"an SDP that is none", websocket.TextMessage, encoded(object{"type": "offer", "sdp": "v=0\r\nm=audio"})},
		{"half an SDP", websocket.TextMessage, encoded(object{"type": "offer", "sdp": offer[:len(offer)/2]})},
		{"a number as SDP", websocket.TextMessage, encoded(object{"type": "offer", "sdp": 1})},
	} {
		p := lan.open(id)
		b.must(p.WriteMessage(c.kind, c.text))
		p.refused(c.name, "bad_offer")
	}
	p := lan.open(id)
	b.must(p.WriteMessage(websocket.TextMessage, []byte(strings.Repeat("x", maxOffer+1))))
	var closed *websocket.CloseError
	if _, _, err := p.ReadMessage(); !errors.As(err, &closed) || closed.Code != websocket.CloseMessageTooBig {
		t.Errorf("more than 64 kB: %v, want it closed as too big", err)
	}

	// After all of that the session still waits for its microphone, and takes one.
	p = lan.open(id)
	b.must(p.WriteJSON(signal{Type: "offer", SDP: offer}))
	if a := p.next(); a.Type != "answer" || !strings.HasPrefix(a.SDP, "v=0") {
		t.Fatalf("answer %+v", a)
	}
	second := lan.open(id)
	b.must(second.WriteJSON(signal{Type: "offer", SDP: offer}))
	second.refused("a second microphone", "attached")

	lan.do("POST", "/sessions/"+id+"/stop", nil).ok("stop", http.StatusOK)
	end := p.wait("ended")
	if end.Reason != "stop" || end.State == nil || end.State.ID != id || end.State.State != "ended" || end.State.EndedBy != "lan" {
		t.Errorf("ended: %+v", end)
	}
	lan.get("/sessions/"+id+"/microphone").refused("a session that is over", http.StatusConflict, "over")
	file := lan.begin(object{"zones": []string{"31/11296"}, "source": object{"kind": "file", "audio": lan.upload(3)}})
	lan.get("/sessions/"+file+"/microphone").refused("a session that plays a file", http.StatusConflict, "over")
	if log := b.log.String(); strings.Contains(log, "level=ERROR") {
		t.Errorf("what pages sent is in the log as our fault: %s", log)
	}
}

// TestMicrophoneSpeaks: a browser's sound goes on air, its page is told how loud, and closing the page ends it.
func TestMicrophoneSpeaks(t *testing.T) {
	b := newBed(t)
	lan := b.as("lan")
	id := lan.begin(on("31/11296"))
	offer, pc, track := browserOffer(t)
	p := lan.open(id, "Origin: "+b.server.URL)
	b.must(p.WriteJSON(signal{Type: "offer", SDP: offer}))
	answer := p.wait("answer")
	connected := make(chan struct{})
	pc.OnConnectionStateChange(func(s webrtc.PeerConnectionState) {
		if s == webrtc.PeerConnectionStateConnected {
			close(connected)
		}
	})
	b.must(pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: answer.SDP}))
	select {
	case <-connected:
	case <-time.After(limit):
		t.Fatal("the browser does not connect")
	}
	enough, spoken := make(chan struct{}), make(chan error, 1)
	go func() { spoken <- speak(track, enough) }()
	level := p.wait("level").Level // silence until the sound has come through
	for n := 0; n < 100 && math.Abs(level.Momentary-voice.Target) > 0.5; n++ {
		level = p.wait("level").Level
	}
	if math.Abs(level.Momentary-voice.Target) > 0.5 { // it was 4.5 LU louder
		t.Errorf("level of the tone = %+v, want %g LUFS", level, voice.Target)
	}
	if a := lan.get("/sessions/" + id); a.text("state") != "live" {
		t.Errorf("session %s, want live", a.raw)
	}
	b.must(p.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseGoingAway, ""), time.Now().Add(time.Second)))
	if a := lan.until(id, "ended"); a.text("end_reason") != "source_end" || a.text("ended_by") != "" {
		t.Errorf("after the page was closed: %s", a.raw)
	}
	close(enough)
	b.must(<-spoken)
}

// speak sends a tone in real time until enough is closed.
func speak(track *webrtc.TrackLocalStaticSample, enough <-chan struct{}) error {
	enc, err := codec.NewEncoder(codec.EncoderConfig{FramesPerPacket: 1, Bitrate: 64000, Music: true})
	if err != nil {
		return err
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	pcm, opus := make([]float32, codec.FrameSamples), make([]byte, codec.MaxPacketBytes)
	for at := 0; ; at += len(pcm) {
		select {
		case <-enough:
			return nil
		case <-tick.C:
		}
		for i := range pcm {
			pcm[i] = tone(at + i)
		}
		n, err := enc.Encode(pcm, opus)
		if err != nil {
			return err
		}
		if err := track.WriteSample(media.Sample{Data: opus[:n], Duration: 20 * time.Millisecond}); err != nil {
			return err
		}
	}
}
