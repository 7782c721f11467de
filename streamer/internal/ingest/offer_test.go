package ingest

import (
	"context"
	"errors"
	"strings"
	"testing"
)

// chromiumOffer is what Chromium 156 offers for one microphone, candidates of all kinds included.
const chromiumOffer = "v=0\r\no=- 4611731400430051336 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\na=extmap-allow-mixed\r\na=msid-semantic: WMS 9b0c\r\n" +
	"m=audio 9 UDP/TLS/RTP/SAVPF 111 63 9 0 8 13 110 126\r\nc=IN IP4 0.0.0.0\r\na=rtcp:9 IN IP4 0.0.0.0\r\n" +
	"a=candidate:1 1 udp 2113937151 6a2a5b5c-1111-4222-8333-444455556666.local 51234 typ host generation 0 network-cost 999\r\n" +
	"a=candidate:2 1 udp 2122260223 192.0.2.5 51235 typ host generation 0\r\n" +
	"a=ice-ufrag:h5xk\r\na=ice-pwd:Vb3HqB2G9jWZkX1dBn7r2uQm\r\na=ice-options:trickle\r\n" +
	"a=fingerprint:sha-256 7B:8B:F0:65:5F:78:E2:51:3B:AC:6F:F3:3F:46:1B:35:DC:B8:5F:64:1A:24:C2:43:F0:A1:58:D0:A1:2C:19:08\r\na=setup:actpass\r\na=mid:0\r\n" +
	"a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level\r\na=extmap:2 http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time\r\n" +
	"a=sendonly\r\na=msid:9b0c 4f\r\na=rtcp-mux\r\na=rtcp-rsize\r\na=rtpmap:111 opus/48000/2\r\na=rtcp-fb:111 transport-cc\r\na=fmtp:111 minptime=10;useinbandfec=1\r\n" +
	"a=rtpmap:63 red/48000/2\r\na=fmtp:63 111/111\r\na=rtpmap:9 G722/8000\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:13 CN/8000\r\n" +
	"a=rtpmap:110 telephone-event/48000\r\na=rtpmap:126 telephone-event/8000\r\na=ssrc:2231627014 cname:x\r\na=ssrc:2231627014 msid:9b0c 4f\r\n"

// firefoxOffer is the shape of Firefox's: fingerprint and direction for the whole session.
const firefoxOffer = "v=0\r\no=mozilla...THIS_IS_SDPARTA-99.0 5530 0 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=sendrecv\r\n" +
	"a=fingerprint:sha-256 7B:8B:F0:65:5F:78:E2:51:3B:AC:6F:F3:3F:46:1B:35:DC:B8:5F:64:1A:24:C2:43:F0:A1:58:D0:A1:2C:19:08\r\n" +
	"a=group:BUNDLE 0\r\na=ice-options:trickle\r\na=msid-semantic:WMS *\r\nm=audio 9 UDP/TLS/RTP/SAVPF 109 9 0 8 101\r\nc=IN IP4 0.0.0.0\r\n" +
	"a=sendonly\r\na=fmtp:109 maxplaybackrate=48000;stereo=1;useinbandfec=1\r\na=ice-pwd:c6c5d2b2f0d2fbb6e5e1ed0eee06d28c\r\na=ice-ufrag:0b4c5ea1\r\n" +
	"a=mid:0\r\na=msid:{a} {b}\r\na=rtcp-mux\r\na=rtpmap:109 opus/48000/2\r\na=rtpmap:9 G722/8000/1\r\na=setup:actpass\r\na=ssrc:2655508255 cname:{c}\r\n"

const videoMedia = "m=video 9 UDP/TLS/RTP/SAVPF 96\r\nc=IN IP4 0.0.0.0\r\na=ice-ufrag:h5xk\r\na=ice-pwd:Vb3HqB2G9jWZkX1dBn7r2uQm\r\n" +
	"a=fingerprint:sha-256 7B:8B:F0:65:5F:78:E2:51:3B:AC:6F:F3:3F:46:1B:35:DC:B8:5F:64:1A:24:C2:43:F0:A1:58:D0:A1:2C:19:08\r\na=setup:actpass\r\na=mid:1\r\na=sendonly\r\na=rtcp-mux\r\na=rtpmap:96 VP8/90000\r\n"

func TestAcceptOffers(t *testing.T) {
	swap := func(old, new string) string {
		if !strings.Contains(chromiumOffer, old) {
			t.Fatalf("the offer does not hold %q", old)
		}
		return strings.Replace(chromiumOffer, old, new, 1)
	}
	audio := chromiumOffer[strings.Index(chromiumOffer, "m=audio"):]
	for _, tt := range []struct {
		name  string
		offer string
		ok    bool
	}{
		{"Chromium's", chromiumOffer, true},
		{"Firefox's", firefoxOffer, true},
		{"lines that end in LF", strings.ReplaceAll(chromiumOffer, "\r\n", "\n"), true},
		{"sendrecv", swap("a=sendonly", "a=sendrecv"), true},
		{"no direction", swap("a=sendonly\r\n", ""), true},
		{"another number for Opus", strings.ReplaceAll(chromiumOffer, "111", "109"), true},
		{"a video as well, as a WHIP client offers", swap("BUNDLE 0", "BUNDLE 0 1") + videoMedia, true},
		{"no source named", chromiumOffer[:strings.Index(chromiumOffer, "a=ssrc")], true},
		{"ten thousand sources", chromiumOffer + strings.Repeat("a=ssrc:17 cname:y\r\n", 3000), true},

		{"nothing", "", false},
		{"no SDP", "xin chào", false},
		{"JSON", `{"type":"offer","sdp":"v=0"}`, false},
		{"half of it", chromiumOffer[:len(chromiumOffer)/2], false},
		{"larger than 64 kB", chromiumOffer + strings.Repeat("a=x:y\r\n", 10000), false},
		{"ten thousand media", chromiumOffer + strings.Repeat("m=audio 9 X 0\r\n", 4000), false},
		{"five media", chromiumOffer + strings.Repeat(videoMedia, 4), false},
		{"two microphones", chromiumOffer + audio, false},
		{"no microphone", chromiumOffer[:strings.Index(chromiumOffer, "m=audio")], false},
		{"only a video", chromiumOffer[:strings.Index(chromiumOffer, "m=audio")] + videoMedia, false},
		{"a data channel", chromiumOffer + "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\n", false},
		{"recvonly", swap("a=sendonly", "a=recvonly"), false},
		{"inactive", swap("a=sendonly", "a=inactive"), false},
		{"port 0", swap("m=audio 9 ", "m=audio 0 "), false},
		{"port 70000", swap("m=audio 9 ", "m=audio 70000 "), false},
		{"port -1", swap("m=audio 9 ", "m=audio -1 "), false},
		{"port x", swap("m=audio 9 ", "m=audio x "), false},
		{"no c=", swap("c=IN IP4 0.0.0.0\r\n", ""), false},
		{"no Opus", swap("a=rtpmap:111 opus/48000/2\r\n", ""), false},
		{"Opus that is not among the formats", swap("SAVPF 111 63", "SAVPF 63"), false},
		{"plain RTP", swap("UDP/TLS/RTP/SAVPF", "RTP/AVP"), false},
		{"no fingerprint", swap("a=fingerprint:sha-256 7B:8B:F0:65:5F:78:E2:51:3B:AC:6F:F3:3F:46:1B:35:DC:B8:5F:64:1A:24:C2:43:F0:A1:58:D0:A1:2C:19:08\r\n", ""), false},
		{"a fingerprint that is none", swap("sha-256 7B:8B", "sha-256"), false},
		{"no ice-ufrag", swap("a=ice-ufrag:h5xk\r\n", ""), false},
		{"no ice-pwd", swap("a=ice-pwd:Vb3HqB2G9jWZkX1dBn7r2uQm\r\n", ""), false},
		{"no mid", swap("a=mid:0\r\n", ""), false},
		{"a line without a value", swap("s=-\r\n", "s\r\n"), false},
		{"another version", swap("v=0", "v=1"), false},
		{"NUL bytes", swap("s=-", "s=\x00") + "\x00", false},
		{"an answer's setup", swap("a=setup:actpass", "a=setup:passive\r\na=setup:active"), true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := open(t)
			answer, mic, err := m.Accept(context.Background(), tt.offer)
			if mic != nil {
				defer mic.Close()
			}
			if tt.ok {
				if err != nil {
					t.Fatalf("Accept = %v, want an answer", err)
				}
				if !strings.Contains(answer, "a=recvonly\r\n") || !strings.Contains(answer, "opus/48000/2") {
					t.Errorf("the answer takes no Opus:\n%s", answer)
				}
				return
			}
			if !errors.Is(err, ErrBadOffer) {
				t.Errorf("Accept = %v, want ErrBadOffer; answer:\n%s", err, answer)
			}
			if m.taken != 0 {
				t.Errorf("%d places are taken after a refused offer", m.taken)
			}
		})
	}
}

// An offer cannot make the streamer send anywhere, nor look names up.
func TestOfferedCandidatesAreIgnored(t *testing.T) {
	reduced, err := readOffer(chromiumOffer)
	if err != nil {
		t.Fatal(err)
	}
	for _, unwanted := range []string{"candidate", ".local", "192.0.2.5", "extmap", "rtcp-fb"} {
		if strings.Contains(reduced, unwanted) {
			t.Errorf("%q is still in the offer:\n%s", unwanted, reduced)
		}
	}
}

func FuzzOffer(f *testing.F) {
	f.Add(chromiumOffer)
	f.Add(chromiumOffer + videoMedia)
	f.Add("v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\n")
	m := open(f)
	f.Fuzz(func(t *testing.T, offer string) {
		answer, mic, err := m.Accept(context.Background(), offer)
		switch {
		case err == nil:
			if answer == "" {
				t.Error("empty answer")
			}
			_ = mic.Close()
		case !errors.Is(err, ErrBadOffer):
			t.Errorf("Accept = %v, want ErrBadOffer", err)
		}
	})
}
