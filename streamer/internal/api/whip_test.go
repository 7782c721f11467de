package api

import (
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pion/webrtc/v4"

	"dongthanh/streamer/internal/accounts"
)

func byWHIP(zones ...string) object {
	return object{"zones": zones, "source": object{"kind": "whip"}}
}

func (c caller) with(headers ...string) caller {
	return caller{c.bed, append(headers, c.headers...)}
}

// TestWHIP: a machine with a token begins a session, brings its microphone by WHIP, is on air with its sound, and ends
// it by DELETE.
func TestWHIP(t *testing.T) {
	b := newBed(t)
	m := b.machine(accounts.Officer, "31/11296")
	begun := m.do("POST", "/sessions", byWHIP("31/11296")).ok("start", http.StatusCreated)
	id, base := begun.text("id"), b.server.URL+"/api/v1"
	if got := begun.text("source", "whip_url"); got != base+"/whip/"+id {
		t.Fatalf("whip_url %q, want %s", got, base+"/whip/"+id)
	}
	offer, pc, track := browserOffer(t)
	sdp := m.with("Content-Type: application/sdp")
	a := sdp.do("POST", "/whip/"+id, strings.NewReader(offer)).ok("WHIP", http.StatusCreated)
	location := a.header.Get("Location")
	if a.header.Get("Content-Type") != "application/sdp" || location != "/api/v1/whip/"+id+"/microphone" || len(a.header.Get("ETag")) < 6 || !strings.HasPrefix(a.raw, "v=0") {
		t.Errorf("answer %v\n%s", a.header, a.raw)
	}
	sdp.do("POST", "/whip/"+id, strings.NewReader(offer)).refused("a second microphone", http.StatusConflict, "attached")
	hangUp := b.talk(pc, track, a.raw)
	m.until(id, "live")
	m.sounds(id)

	// Its connection breaks: the session waits, and the client comes again to the same address.
	hangUp()
	m.poll(id, "lost", func(a answer) bool { return a.text("source", "state") == "lost" })
	offer, pc, track = browserOffer(t)
	b.machine(accounts.Officer, "31/11296").with("Content-Type: application/sdp").do("POST", "/whip/"+id, strings.NewReader(offer)).
		refused("another machine's microphone", http.StatusForbidden, "not_speaker")
	again := sdp.do("POST", "/whip/"+id, strings.NewReader(offer)).ok("WHIP again", http.StatusCreated)
	b.talk(pc, track, again.raw)
	m.poll(id, "connected", func(a answer) bool { return a.text("source", "state") == "connected" })
	m.sounds(id)
	sdp.do("POST", "/whip/"+id, strings.NewReader(offer)).refused("one beside a microphone that is alive", http.StatusConflict, "attached")
	if a := m.get("/sessions/" + id); a.text("state") != "live" || a.text("source", "state") != "connected" {
		t.Errorf("with the second microphone: %s", a.raw)
	}
	resource := strings.TrimPrefix(location, "/api/v1")
	m.do("PATCH", resource, nil).refused("a trickle", http.StatusMethodNotAllowed, "method")
	b.as("minh").do("DELETE", resource, nil).refused("another commune's officer", http.StatusNotFound, "not_found")
	b.as("ha").do("DELETE", resource, nil).refused("an auditor", http.StatusForbidden, "forbidden")
	m.do("DELETE", resource, nil).ok("DELETE", http.StatusOK)
	if a := m.until(id, "ended"); a.text("end_reason") != "source_end" || at(a.body, "source", "whip_url") != nil {
		t.Errorf("after DELETE: %s", a.raw)
	}
	m.do("DELETE", resource, nil).refused("a second DELETE", http.StatusConflict, "over")
}

// talk connects a client to where an answer points and speaks a tone, until the function that it returns is called or
// the test ends.
func (b *bed) talk(pc *webrtc.PeerConnection, track *webrtc.TrackLocalStaticSample, answer string) (hangUp func()) {
	b.t.Helper()
	connected := make(chan struct{})
	pc.OnConnectionStateChange(func(s webrtc.PeerConnectionState) {
		if s == webrtc.PeerConnectionStateConnected {
			close(connected)
		}
	})
	b.must(pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: answer}))
	select {
	case <-connected:
	case <-time.After(limit):
		b.t.Fatal("the client does not connect")
	}
	enough, spoken := make(chan struct{}), make(chan error, 1)
	go func() { spoken <- speak(track, enough) }()
	hangUp = sync.OnceFunc(func() {
		close(enough)
		_ = pc.GracefulClose()
		if err := <-spoken; err != nil {
			b.t.Error(err)
		}
	})
	b.t.Cleanup(hangUp)
	return hangUp
}

// sounds waits until what leaves the streamer is the tone, of 0.3 of full scale.
func (c caller) sounds(id string) {
	c.t.Helper()
	c.poll(id, "the tone", func(a answer) bool {
		peak, ok := at(a.body, "level", "peak_dbfs").(float64)
		return ok && peak > -12 && peak < -9
	})
}

// poll asks for a session until it is as wanted.
func (c caller) poll(id, what string, ok func(answer) bool) {
	c.t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(limit); ; {
		a := c.get("/sessions/" + id)
		if ok(a) {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			c.t.Fatalf("%s: not within %v: %s", what, limit, a.raw)
		}
	}
}

// TestWHIPRefuses: what is no offer, or not from who may speak, changes nothing, and the session goes on waiting.
func TestWHIPRefuses(t *testing.T) {
	b := newBed(t)
	lan := b.as("lan")
	id := lan.begin(byWHIP("31/11296"))
	offer, _, _ := browserOffer(t)
	sdp := "Content-Type: application/sdp"
	post := func(c caller, id, body string) answer { return c.do("POST", "/whip/"+id, strings.NewReader(body)) }
	post(b.nobody(sdp), id, offer).refused("nobody", http.StatusUnauthorized, "unauthenticated")
	post(b.nobody(sdp, "Authorization: Bearer dt_none"), id, offer).refused("an unknown token", http.StatusUnauthorized, "unauthenticated")
	post(b.as("ha").with(sdp), id, offer).refused("an auditor", http.StatusForbidden, "forbidden")
	post(b.as("minh").with(sdp), id, offer).refused("another commune's officer", http.StatusNotFound, "not_found")
	post(lan.with("Content-Type: text/plain"), id, offer).refused("no SDP's type", http.StatusUnsupportedMediaType, "media_type")
	post(lan, id, offer).refused("no type", http.StatusUnsupportedMediaType, "media_type")
	post(lan.with(sdp), id, "xin chào").refused("no SDP", http.StatusBadRequest, "bad_offer")
	post(lan.with(sdp), id, offer[:len(offer)/2]).refused("half an offer", http.StatusBadRequest, "bad_offer")
	post(lan.with(sdp), id, strings.Repeat("x", maxOffer+1)).refused("more than 64 kB", http.StatusRequestEntityTooLarge, "too_large")
	lan.do("DELETE", "/whip/"+id+"/microphone", nil).refused("no microphone yet", http.StatusNotFound, "not_found")
	lan.get("/sessions/"+id+"/microphone").refused("a page's microphone", http.StatusConflict, "over")
	minh := b.as("minh")
	post(minh.with(sdp), minh.begin(on("31/11407")), offer).refused("a page's session", http.StatusConflict, "over")
	if a := lan.get("/sessions/" + id); a.text("state") != "starting" {
		t.Errorf("the session: %s", a.raw)
	}
	lan.do("POST", "/sessions/"+id+"/stop", nil).ok("stop", http.StatusOK)
	post(lan.with(sdp), id, offer).refused("a session that is over", http.StatusConflict, "over")
}

// TestWHIPForPages: what RFC 9725 asks beside POST and DELETE, for pages of other sites as for programs.
func TestWHIPForPages(t *testing.T) {
	b := newBed(t)
	m := b.machine(accounts.Officer, "31/11296")
	id := m.begin(byWHIP("31/11296"))
	at, microphone := "/whip/"+id, "/whip/"+id+"/microphone"
	page := b.nobody("Origin: https://trang.example", "Sec-Fetch-Site: cross-site")
	servers := []string{"<stun:stun.example.vn>; rel=\"ice-server\"", `<turn:turn.example.vn?transport=udp>; rel="ice-server"; username="u"; credential="a\"b"; credential-type="password"`}

	if a := b.nobody().do("OPTIONS", at, nil).ok("OPTIONS of nobody", http.StatusOK); a.header["Link"] != nil {
		t.Errorf("anybody learns the password of an ICE server: %v", a.header)
	}
	a := b.machine(accounts.Officer, "31/11296").do("OPTIONS", at, nil).ok("OPTIONS", http.StatusOK)
	if a.header.Get("Accept-Post") != "application/sdp" || !slices.Equal(a.header["Link"], servers) || a.header.Get("Allow") == "" {
		t.Errorf("OPTIONS: %v", a.header)
	}
	for path, method := range map[string]string{at: "POST", microphone: "DELETE"} {
		a := page.with("Access-Control-Request-Method: "+method, "Access-Control-Request-Headers: authorization,content-type").
			do("OPTIONS", path, nil).ok("a preflight", http.StatusOK)
		h := a.header
		if h.Get("Access-Control-Allow-Origin") != "*" || h.Get("Access-Control-Allow-Credentials") != "" || h["Link"] != nil ||
			!strings.Contains(h.Get("Access-Control-Allow-Methods"), method) || !strings.Contains(h.Get("Access-Control-Allow-Headers"), "Authorization") {
			t.Errorf("preflight of %s %s: %v", method, path, h)
		}
	}
	for _, path := range []string{at, microphone} {
		b.nobody().do("GET", path, nil).ok("GET", http.StatusNoContent)
		b.nobody().do("HEAD", path, nil).ok("HEAD", http.StatusNoContent)
		for _, method := range []string{"PUT", "PATCH"} {
			a := b.nobody().do(method, path, nil)
			a.refused(method, http.StatusMethodNotAllowed, "method")
			if a.header.Get("Allow") == "" || a.header.Get("Access-Control-Allow-Origin") != "*" {
				t.Errorf("%s %s: %v", method, path, a.header)
			}
		}
	}
	m.do("POST", microphone, nil).refused("POST of a microphone", http.StatusMethodNotAllowed, "method")
	if a := page.do("POST", at, nil); a.status != http.StatusUnauthorized || a.header.Get("Access-Control-Allow-Origin") != "*" || a.header.Get("WWW-Authenticate") != "Bearer" {
		t.Errorf("a page without a token: %d %v", a.status, a.header)
	}
	offer, _, _ := browserOffer(t)
	a = m.with("Content-Type: application/sdp; charset=utf-8", "Origin: https://trang.example").do("POST", at, strings.NewReader(offer)).ok("a page's microphone", http.StatusCreated)
	h := a.header
	if h.Get("Access-Control-Allow-Origin") != "*" || !strings.Contains(h.Get("Access-Control-Expose-Headers"), "Location") ||
		!slices.Equal(h["Link"], servers) || !strings.Contains(a.raw, "a=recvonly") || strings.Contains(a.raw, "a=sendrecv") {
		t.Errorf("answer to a page: %v\n%s", h, a.raw)
	}
	m.with("If-Match: \"another\"").do("DELETE", microphone, nil).ok("DELETE, whatever it matches", http.StatusOK)
}
