package api

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/pion/webrtc/v4"

	"dongthanh/codec"
	"dongthanh/streamer/internal/accounts"
	"dongthanh/streamer/internal/store"
)

// listenOffer is the offer of a page that wants to hear, with its connection, and the packets' sound as it comes.
func listenOffer(t *testing.T) (offer string, pc *webrtc.PeerConnection, sound <-chan []byte) {
	t.Helper()
	engine := webrtc.SettingEngine{}
	engine.SetIncludeLoopbackCandidate(true)
	pc, err := webrtc.NewAPI(webrtc.WithSettingEngine(engine)).NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = pc.GracefulClose() })
	if _, err := pc.AddTransceiverFromKind(webrtc.RTPCodecTypeAudio, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionRecvonly}); err != nil {
		t.Fatal(err)
	}
	out := make(chan []byte, 1000)
	pc.OnTrack(func(track *webrtc.TrackRemote, _ *webrtc.RTPReceiver) {
		defer close(out)
		for {
			p, _, err := track.ReadRTP()
			if err != nil {
				return
			}
			select {
			case out <- p.Payload:
			default:
			}
		}
	})
	description, err := pc.CreateOffer(nil)
	if err == nil {
		gathered := webrtc.GatheringCompletePromise(pc)
		err = pc.SetLocalDescription(description)
		<-gathered
	}
	if err != nil {
		t.Fatal(err)
	}
	return pc.LocalDescription().SDP, pc, out
}

const sdpType = "Content-Type: application/sdp"

// TestListen: whoever may see a session hears the packets that the loudspeakers get, until it ends.
func TestListen(t *testing.T) {
	b := newBed(t)
	lan := b.as("lan")
	id := lan.begin(object{"zones": []string{"31/11296"}, "source": object{"kind": "file", "audio": lan.upload(30)}})
	offer, pc, sound := listenOffer(t)
	ha := b.as("ha").with(sdpType)
	a := ha.do("POST", "/sessions/"+id+"/listen", strings.NewReader(offer)).ok("listen", http.StatusCreated)
	place := a.header.Get("Location")
	if a.header.Get("Content-Type") != "application/sdp" || !strings.HasPrefix(place, "/api/v1/sessions/"+id+"/listen/") || !strings.Contains(a.raw, "a=sendonly") {
		t.Errorf("answer %v\n%s", a.header, a.raw)
	}
	b.must(pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: a.raw}))
	for n := range 10 {
		select {
		case opus := <-sound:
			if samples, err := codec.PacketSamples(opus); samples != 2*codec.FrameSamples || err != nil {
				t.Fatalf("packet %d holds %d samples, %v", n, samples, err)
			}
		case <-time.After(limit):
			t.Fatalf("packet %d does not come", n)
		}
	}
	lan.do("DELETE", strings.TrimPrefix(place, "/api/v1"), nil).refused("another person's", http.StatusNotFound, "not_found")
	lan.do("POST", "/sessions/"+id+"/stop", nil).ok("stop", http.StatusOK)
	for deadline := time.After(limit); ; { // it ends with the session
		select {
		case _, ok := <-sound:
			if ok {
				continue
			}
		case <-deadline:
			t.Fatal("the connection does not end with the session")
		}
		break
	}
	ha.do("POST", "/sessions/"+id+"/listen", strings.NewReader(offer)).refused("it is over", http.StatusConflict, "over")
}

// TestListenRefuses: who may not see a session does not hear it; what is no offer changes nothing; nobody takes all places.
func TestListenRefuses(t *testing.T) {
	b := newBed(t)
	lan := b.as("lan")
	id := lan.begin(on("31/11296"))
	offer, _, _ := listenOffer(t)
	microphone, _, _ := browserOffer(t)
	post := func(c caller, id, body string) answer {
		return c.do("POST", "/sessions/"+id+"/listen", strings.NewReader(body))
	}
	post(b.nobody(sdpType), id, offer).refused("nobody", http.StatusUnauthorized, "unauthenticated")
	post(b.as("minh").with(sdpType), id, offer).refused("another commune's officer", http.StatusNotFound, "not_found")
	post(b.machine(accounts.Officer, "31/11407").with(sdpType), id, offer).refused("another commune's machine", http.StatusNotFound, "not_found")
	post(lan.with(sdpType), store.NewID(), offer).refused("no such session", http.StatusNotFound, "not_found")
	post(lan, id, offer).refused("no type", http.StatusUnsupportedMediaType, "media_type")
	post(lan.with(sdpType), id, "xin chào").refused("no SDP", http.StatusBadRequest, "bad_offer")
	post(lan.with(sdpType), id, offer[:len(offer)/2]).refused("half an offer", http.StatusBadRequest, "bad_offer")
	post(lan.with(sdpType), id, microphone).refused("an offer to speak", http.StatusBadRequest, "bad_offer")
	post(lan.with(sdpType), id, strings.Repeat("x", maxOffer+1)).refused("more than 64 kB", http.StatusRequestEntityTooLarge, "too_large")
	var places []string
	for range maxListensOne {
		places = append(places, post(lan.with(sdpType), id, offer).ok("listen", http.StatusCreated).header.Get("Location"))
	}
	post(lan.with(sdpType), id, offer).refused("one more", http.StatusServiceUnavailable, "too_many_listeners")
	post(b.as("ha").with(sdpType), id, offer).ok("somebody else", http.StatusCreated)
	lan.do("DELETE", strings.TrimPrefix(places[0], "/api/v1"), nil).ok("DELETE", http.StatusOK)
	lan.do("DELETE", strings.TrimPrefix(places[0], "/api/v1"), nil).refused("a second DELETE", http.StatusNotFound, "not_found")
	post(lan.with(sdpType), id, offer).ok("in its place", http.StatusCreated)
	if a := lan.get("/sessions/" + id); a.text("state") != "starting" {
		t.Errorf("the session: %s", a.raw)
	}
}
