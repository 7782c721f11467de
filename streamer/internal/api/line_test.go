package api

import (
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"dongthanh/internal/testkit"
	"dongthanh/streamer/internal/accounts"
)

func byRTP(more object, zones ...string) object {
	source := object{"kind": "rtp"}
	for k, v := range more {
		source[k] = v
	}
	return object{"zones": zones, "source": source}
}

// TestLineIn: a machine opens a line-in, ffmpeg sends to it, it is on air, and ends with ffmpeg.
func TestLineIn(t *testing.T) {
	b := newBed(t)
	m := b.machine(accounts.Officer, "31/11296")
	begun := m.do("POST", "/sessions", byRTP(nil, "31/11296")).ok("start", http.StatusCreated)
	id, listen, sdp := begun.text("id"), begun.text("source", "listen"), begun.text("source", "sdp")
	host, port, err := net.SplitHostPort(listen)
	b.must(err)
	if host != "127.0.0.1" || !strings.Contains(sdp, "m=audio "+port+" RTP/AVP ") || !strings.Contains(sdp, "opus/48000/2\r\n") {
		t.Fatalf("source of the answer: %s", begun.raw)
	}
	if a := m.get("/sessions/" + id); a.text("source", "listen") != listen || a.text("source", "sdp") != sdp {
		t.Errorf("asked again: %s", a.raw)
	}
	if a := b.as("ha").get("/sessions/" + id); a.text("source", "listen") != listen || at(a.body, "source", "sdp") != nil {
		t.Errorf("an auditor is told how to speak: %s", a.raw)
	}
	ffmpeg := testkit.Recipe(t, "ffmpeg-rtp", "ffmpeg", "INPUT=-re -f lavfi -i sine=frequency=1000:duration=1", "HOST="+host, "PORT="+port)
	b.must(ffmpeg.Run())
	if a := m.until(id, "ended"); a.text("end_reason") != "source_end" || at(a.body, "source", "listen") != nil {
		t.Errorf("after ffmpeg: %s", a.raw)
	}
	free(t, listen)
}

// TestLineInStops: a stop gives the port back, before anything came as after.
func TestLineInStops(t *testing.T) {
	b := newBed(t)
	lan := b.as("lan")
	begun := lan.do("POST", "/sessions", byRTP(object{"from": "127.0.0.0/8", "srtp": true}, "31/11296")).ok("start", http.StatusCreated)
	if sdp := begun.text("source", "sdp"); !strings.Contains(sdp, "RTP/SAVP") || !strings.Contains(sdp, "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:") {
		t.Errorf("SDP with srtp: %s", sdp)
	}
	lan.do("POST", "/sessions/"+begun.text("id")+"/stop", nil).ok("stop", http.StatusOK)
	lan.until(begun.text("id"), "ended")
	free(t, begun.text("source", "listen"))
}

// free waits until a UDP port can be opened again.
func free(t *testing.T, address string) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(limit); ; {
		if conn, err := net.ListenPacket("udp", address); err == nil {
			_ = conn.Close()
			return
		}
		select {
		case <-tick.C: // the kernel tells nobody
		case <-deadline:
			t.Fatalf("%s is not free", address)
		}
	}
}
