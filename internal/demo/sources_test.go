package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pion/logging"
	"github.com/pion/webrtc/v4"
	"github.com/pion/webrtc/v4/pkg/media"

	"dongthanh/codec"
	"dongthanh/internal/testkit"
)

// spoken is a session that was: a tone that must have sounded everywhere for so long.
type spoken struct {
	name         string
	hz           float64
	length       time.Duration
	pauses       time.Duration // that the sender may make because the machine is busy: a gap, which takes nothing away
	began, ended time.Time
}

// testSources feeds the system as real peers do, one after the other: RTP by ffmpeg and GStreamer, WHIP by pion, and a file
// of each format; and looks at the sound of all six loudspeakers in the end.
func testSources(t *testing.T, r *rig, m caller) {
	var all []spoken
	say := func(name string, hz float64, length time.Duration, speak func(t *testing.T, hz float64, length time.Duration)) {
		t.Run(name, func(t *testing.T) {
			s := spoken{name: name, hz: hz, length: length, began: time.Now()}
			if length > time.Second {
				s.pauses = time.Second // it is spoken live
			}
			speak(t, hz, length)
			s.ended = time.Now()
			all = append(all, s)
		})
	}
	say("RTP of ffmpeg", 500, 3*time.Second, func(t *testing.T, hz float64, length time.Duration) {
		input := fmt.Sprintf("INPUT=-re -f lavfi -i sine=frequency=%.0f:duration=%.0f:sample_rate=48000", hz, length.Seconds())
		id := m.lineIn(t, func(variables ...string) *exec.Cmd {
			return testkit.Recipe(t, "ffmpeg-rtp", "ffmpeg", append(variables, input)...)
		})
		m.ends(t, id, "source_end") // its goodbye
	})
	say("RTP of GStreamer", 600, 3*time.Second, func(t *testing.T, hz float64, length time.Duration) {
		input := fmt.Sprintf("INPUT=audiotestsrc is-live=true freq=%.0f samplesperbuffer=960 num-buffers=%d", hz, length/(20*time.Millisecond))
		id := m.lineIn(t, func(variables ...string) *exec.Cmd {
			return testkit.Recipe(t, "gstreamer-rtp", "gst-launch-1.0", append(variables, input)...)
		})
		<-time.After(time.Second) // what was sent sounds; it says no goodbye
		m.post(t, "/sessions/"+id+"/stop", nil)
		m.ends(t, id, "stop")
	})
	say("WHIP", 700, 3*time.Second, func(t *testing.T, hz float64, length time.Duration) { m.whip(t, hz, length) })
	dir := t.TempDir()
	for i, c := range []struct{ name, file, encode string }{
		{"Ogg Opus", "a.ogg", "-c:a libopus"}, {"FLAC", "a.flac", ""}, {"MP3", "a.mp3", ""}, {"M4A", "a.m4a", "-c:a aac"}, {"AMR", "a.awb", ""},
	} {
		say(c.name, 800+100*float64(i), time.Second, func(t *testing.T, hz float64, length time.Duration) {
			a := m.do(t, http.MethodPost, "/audio?name="+c.file, bytes.NewReader(encoded(t, filepath.Join(dir, c.file), c.encode, hz, length)))
			if a.status != http.StatusCreated {
				t.Fatalf("upload: %d %s", a.status, a.body)
			}
			m.ends(t, m.speak(t, a.field("id"), nil, "31"), "source_end")
		})
	}
	<-time.After(settled)
	for n := 1; n <= 6; n++ {
		p := r.heard(t, n)
		for _, s := range all {
			_, first, last := p.tonal(s.hz, s.began, s.ended.Add(settled))
			if first.IsZero() {
				t.Errorf("loudspeaker %d played nothing of %s", n, s.name)
				continue
			}
			share, _, _ := p.tonal(s.hz, first, last)
			span := last.Sub(first)
			tone := time.Duration(share * float64(span))
			if n == 1 {
				t.Logf("loudspeaker 1: %s sounded for %v, %.1f %% whole", s.name, span, 100*share)
			}
			if tone < s.length-100*time.Millisecond || span > s.length+100*time.Millisecond+s.pauses {
				t.Errorf("loudspeaker %d: %s sounded for %v within %v, want all of %v", n, s.name, tone, span, s.length)
			}
		}
	}
}

// lineIn opens a line-in to all and runs a sender to it, which is told HOST and PORT, to its end, while another floods it.
func (c caller) lineIn(t *testing.T, sender func(variables ...string) *exec.Cmd) (id string) {
	t.Helper()
	a := c.post(t, "/sessions", map[string]any{"zones": []string{"31"}, "source": map[string]any{"kind": "rtp"}})
	if a.status != http.StatusCreated {
		t.Fatalf("start: %d %s", a.status, a.body)
	}
	_, rest, _ := strings.Cut(string(a.body), `"listen":"`)
	listen, _, _ := strings.Cut(rest, `"`)
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		t.Fatalf("listen of %s: %v", a.body, err)
	}
	var said bytes.Buffer
	cmd := sender("HOST="+host, "PORT="+port)
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	id = a.field("id")
	eventually(t, 10*time.Second, "it is live", func() bool { return c.session(t, id).State == "live" })
	flood(t, listen)
	if err := cmd.Wait(); err != nil {
		t.Fatalf("sender: %v: %s", err, said.String())
	}
	return id
}

// flood sends another source's sound to a line-in, and garbage.
func flood(t *testing.T, listen string) {
	t.Helper()
	conn, err := net.Dial("udp", listen)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for i := range 3000 {
		b := []byte{0x80, 111, byte(i >> 8), byte(i), 0, 0, byte(i), 0, 1, 2, 3, 4, 0xf8, 0xff, 0xfe}
		if i%3 == 0 {
			b = bytes.Repeat(b, 1+i%90)
		}
		if _, err := conn.Write(b); err != nil {
			t.Fatal(err)
		}
		if i%100 == 0 {
			<-time.After(5 * time.Millisecond)
		}
	}
}

// ends waits for the end of a session, and wants a reason.
func (c caller) ends(t *testing.T, id, reason string) {
	t.Helper()
	eventually(t, 15*time.Second, "it ends", func() bool { return c.session(t, id).State == "ended" })
	if s := c.session(t, id); s.EndReason != reason {
		t.Errorf("it ended because of %s, want %s", s.EndReason, reason)
	}
}

// whip speaks a tone as a WHIP client: POST with the token, sound over WebRTC, DELETE.
func (c caller) whip(t *testing.T, hz float64, length time.Duration) {
	t.Helper()
	a := c.post(t, "/sessions", map[string]any{"zones": []string{"31"}, "source": map[string]any{"kind": "whip"}})
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	_, rest, _ := strings.Cut(string(a.body), `"whip_url":"`)
	url, _, ok := strings.Cut(rest, `"`)
	if a.status != http.StatusCreated || !ok {
		t.Fatalf("start: %d %s", a.status, a.body)
	}
	engine := &webrtc.MediaEngine{}
	must(engine.RegisterDefaultCodecs())
	s := webrtc.SettingEngine{LoggerFactory: &logging.DefaultLoggerFactory{DefaultLogLevel: logging.LogLevelDisabled}}
	s.SetIncludeLoopbackCandidate(true)
	pc, err := webrtc.NewAPI(webrtc.WithMediaEngine(engine), webrtc.WithSettingEngine(s)).NewPeerConnection(webrtc.Configuration{})
	must(err)
	defer pc.GracefulClose()
	track, err := webrtc.NewTrackLocalStaticSample(webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeOpus}, "mixer", "stream")
	must(err)
	_, err = pc.AddTransceiverFromTrack(track, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionSendonly})
	must(err)
	connected := make(chan struct{})
	pc.OnConnectionStateChange(func(s webrtc.PeerConnectionState) {
		if s == webrtc.PeerConnectionStateConnected {
			close(connected)
		}
	})
	offer, err := pc.CreateOffer(nil)
	must(err)
	must(pc.SetLocalDescription(offer))
	ask := func(method, url string, body io.Reader) reply {
		t.Helper()
		q, err := http.NewRequestWithContext(t.Context(), method, url, body)
		must(err)
		q.Header.Set("Authorization", "Bearer "+c.token)
		q.Header.Set("Content-Type", "application/sdp")
		p, err := c.client.Do(q)
		must(err)
		defer p.Body.Close()
		b, err := io.ReadAll(p.Body)
		must(err)
		return reply{p.StatusCode, p.Header, b}
	}
	answer := ask(http.MethodPost, url, strings.NewReader(offer.SDP))
	if answer.status != http.StatusCreated {
		t.Fatalf("WHIP: %d %s", answer.status, answer.body)
	}
	must(pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: string(answer.body)}))
	select {
	case <-connected:
	case <-time.After(10 * time.Second):
		t.Fatal("the WHIP client does not connect")
	}
	enc, err := codec.NewEncoder(codec.EncoderConfig{FramesPerPacket: 1, Bitrate: 64000, Music: true})
	must(err)
	wav := toneWAV(hz, int(length.Seconds()))[44:]
	pcm, packet := make([]float32, codec.FrameSamples), make([]byte, enc.MaxPacketBytes())
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for ; len(wav) >= 2*len(pcm); <-tick.C {
		for i := range pcm {
			pcm[i] = float32(int16(wav[2*i])|int16(wav[2*i+1])<<8) / 32768
		}
		wav = wav[2*len(pcm):]
		n, err := enc.Encode(pcm, packet)
		must(err)
		must(track.WriteSample(media.Sample{Data: bytes.Clone(packet[:n]), Duration: 20 * time.Millisecond}))
	}
	if d := ask(http.MethodDelete, c.base+answer.header.Get("Location"), nil); d.status != http.StatusOK {
		t.Errorf("DELETE: %d %s", d.status, d.body)
	}
	c.ends(t, a.field("id"), "source_end")
}

// encoded is a file of a tone; its name's ending tells the format.
func encoded(t *testing.T, path, options string, hz float64, length time.Duration) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), testkit.Program(t, "ffmpeg"), append(append([]string{"-v", "error", "-nostdin",
		"-f", "lavfi", "-i", fmt.Sprintf("sine=frequency=%.0f:duration=%.0f:sample_rate=48000", hz, length.Seconds())},
		strings.Fields(options)...), path)...)
	amr := strings.HasSuffix(path, ".awb")
	if amr { // ffmpeg only decodes it
		cmd = exec.CommandContext(t.Context(), testkit.Program(t, "gst-launch-1.0"), strings.Fields(fmt.Sprintf(
			"-q audiotestsrc freq=%.0f samplesperbuffer=320 num-buffers=%d ! audio/x-raw,rate=16000,channels=1 ! voamrwbenc ! filesink location=%s",
			hz, length/(20*time.Millisecond), path))...)
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", path, err, out)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if amr { // RFC 4867 §5.1
		b = append([]byte("#!AMR-WB\n"), b...)
	}
	return b
}
