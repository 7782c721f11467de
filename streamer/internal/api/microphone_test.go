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
	lan.do("POST", "/sessions/"+id+"/stop", nil).ok("stop", http.StatusOK)
	end := p.wait("ended")
	if end.Reason != "stop" || end.State == nil || end.State.ID != id || end.State.State != "ended" || end.State.EndedBy != "lan" {
		t.Errorf("ended: %+v", end)
	}
	lan.get("/sessions/"+id+"/microphone").refused("a session that is over", http.StatusConflict, "over")
	tinh := b.as("tinh")
	theirs := tinh.begin(on("31/11296"))
	lan.get("/sessions/"+theirs+"/microphone").refused("another's session", http.StatusForbidden, "not_speaker")
	lan.do("POST", "/sessions/"+theirs+"/hold", nil).refused("another's session", http.StatusForbidden, "not_speaker")
	tinh.do("POST", "/sessions/"+theirs+"/stop", nil).ok("stop", http.StatusOK)
	file := lan.begin(object{"zones": []string{"31/11296"}, "source": object{"kind": "file", "audio": lan.upload(3)}})
	lan.get("/sessions/"+file+"/microphone").refused("a session that plays a file", http.StatusConflict, "over")
	if log := b.log.String(); strings.Contains(log, "level=ERROR") {
		t.Errorf("what pages sent is in the log as our fault: %s", log)
	}
}

// talker is a page's microphone that speaks a tone.
type talker struct {
	*page
	hangUp func() // ends the tone and the connection; the page stays
}

// speak opens a microphone for a session and waits until its tone is what listeners get.
func (c caller) speak(session string) *talker {
	c.t.Helper()
	offer, pc, track := browserOffer(c.t)
	p := c.open(session, "Origin: "+c.server.URL)
	c.must(p.WriteJSON(signal{Type: "offer", SDP: offer}))
	answer := p.wait("answer")
	if answer.Gap != 30 {
		c.t.Errorf("the answer tells of a gap of %v s, want 30", answer.Gap)
	}
	hangUp := c.talk(pc, track, answer.SDP)
	level := p.wait("level").Level // silence until the sound has come through
	for n := 0; n < 100 && math.Abs(level.Momentary-voice.Target) > 0.5; n++ {
		level = p.wait("level").Level
	}
	if math.Abs(level.Momentary-voice.Target) > 0.5 { // it was 4.5 LU louder
		c.t.Errorf("level of the tone = %+v, want %g LUFS", level, voice.Target)
	}
	return &talker{p, hangUp}
}

// goodbye closes the WebSocket with a code.
func (p *page) goodbye(code int) {
	p.t.Helper()
	if err := p.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(code, ""), time.Now().Add(time.Second)); err != nil {
		p.t.Fatal(err)
	}
}

// TestMicrophoneSpeaks: a browser's sound goes on air, its page is told how loud, and a page that is closed ends the
// session within ten seconds.
func TestMicrophoneSpeaks(t *testing.T) {
	b := newBed(t)
	lan := b.as("lan")
	id := lan.begin(on("31/11296"))
	v := lan.speak(id)
	if a := lan.get("/sessions/" + id); a.text("state") != "live" || a.text("source", "state") != "connected" || at(a.body, "mine") != true {
		t.Errorf("session %s, want live, connected and mine", a.raw)
	}
	left := time.Now()
	v.goodbye(websocket.CloseGoingAway)
	if a := lan.until(id, "ended"); a.text("end_reason") != "source_lost" || a.text("ended_by") != "" {
		t.Errorf("after the page was closed: %s", a.raw)
	}
	if took := time.Since(left); took < 7*time.Second || took > 10*time.Second {
		t.Errorf("it ended after %v, want about 8 s", took)
	}
}

// TestMicrophoneComesBack: a microphone that breaks off is told as lost, to its own page and to all others; another page
// of the same official takes its place in the same session, and then the first one's place while it speaks.
func TestMicrophoneComesBack(t *testing.T) {
	b := newBed(t)
	lan := b.as("lan")
	id := lan.begin(on("31/11296"))
	first := lan.speak(id)
	tinh := b.as("tinh").listen(b.server.URL + "/api/v1/events") // of the province
	told := func(state string) {
		t.Helper()
		tinh.wait("it is "+state, "sessions", func(data any) bool {
			list, _ := data.([]any)
			return len(list) == 1 && at(list[0], "source", "state") == state && at(list[0], "mine") == false && at(list[0], "source", "seconds_left") == nil
		})
	}
	first.hangUp()
	if s := first.wait("lost"); s.Gap < 25 || s.Gap > 30 {
		t.Errorf("its page is told of %v s left, want nearly 30", s.Gap)
	}
	told("lost")
	a := lan.get("/sessions/" + id)
	left, _ := at(a.body, "source", "seconds_left").(float64)
	if a.text("state") != "live" || a.text("source", "state") != "lost" || a.text("source", "lost_at") == "" || left < 20 || left > 30 {
		t.Errorf("in the gap: %s", a.raw)
	}
	second := lan.speak(id)
	first.wait("taken")
	told("connected")
	third := lan.speak(id)
	second.wait("taken")
	first.goodbye(websocket.CloseNormalClosure) // of one that speaks no more: it means nothing
	second.goodbye(websocket.CloseNormalClosure)
	if a := lan.get("/sessions/" + id); a.text("source", "state") != "connected" {
		t.Errorf("with the third one: %s", a.raw)
	}
	third.goodbye(websocket.CloseGoingAway)
	a = lan.do("POST", "/sessions/"+id+"/hold", nil).ok("hold", http.StatusOK)
	if left, _ := at(a.body, "source", "seconds_left").(float64); a.text("source", "state") == "lost" && left < 20 {
		t.Errorf("once held: %s", a.raw)
	}
	lan.do("POST", "/sessions/"+id+"/stop", nil).ok("stop", http.StatusOK)
	if a := lan.get("/sessions/" + id); a.text("end_reason") != "stop" || a.text("source", "state") != "" {
		t.Errorf("stopped in the gap: %s", a.raw)
	}
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
