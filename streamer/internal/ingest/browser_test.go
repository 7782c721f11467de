package ingest

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/prometheus/client_golang/prometheus"

	"dongthanh/codec"
	"dongthanh/internal/mediaclock"
)

// page offers its microphone to /offer, raw: a noise suppressor takes a steady tone for noise.
const page = `<!doctype html><title>microphone</title><script>
async function speak() {
	const raw = {echoCancellation: false, noiseSuppression: false, autoGainControl: false};
	const stream = await navigator.mediaDevices.getUserMedia({audio: raw});
	const pc = window.pc = new RTCPeerConnection();
	pc.addTransceiver(stream.getAudioTracks()[0], {direction: "sendonly", streams: [stream]});
	await pc.setLocalDescription();
	const reply = await fetch("/offer", {method: "POST", body: pc.localDescription.sdp});
	if (!reply.ok) throw new Error(await reply.text());
	await pc.setRemoteDescription({type: "answer", sdp: await reply.text()});
	while (pc.connectionState != "connected") {
		if (pc.connectionState == "failed") throw new Error("connection failed");
		await new Promise(done => pc.addEventListener("connectionstatechange", done, {once: true}));
	}
	return "connected";
}
async function outgoing() {
	for (const s of (await pc.getStats()).values()) if (s.type == "outbound-rtp") return s.targetBitrate;
}
async function protocol() {
	const stats = await pc.getStats();
	for (const s of stats.values()) if (s.type == "transport") return stats.get(stats.get(s.selectedCandidatePairId).localCandidateId).protocol;
}
</script>`

// chromium starts Chromium with a microphone that hears the WAV file, and returns a context of its one tab.
func chromium(t *testing.T, wav string, more ...chromedp.ExecAllocatorOption) context.Context {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("chromium is not installed, and CI is set")
		}
		t.Skip("chromium is not installed: no real browser's microphone was tried (CI=1 makes this a failure)")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox,
		chromedp.Flag("use-fake-ui-for-media-stream", true),
		chromedp.Flag("use-fake-device-for-media-stream", true),
		chromedp.Flag("use-file-for-fake-audio-capture", wav),
		chromedp.Flag("allow-loopback-in-peer-connection", true), // where loopback is the only network
		chromedp.Flag("autoplay-policy", "no-user-gesture-required"),
	)
	options = append(options, more...)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewExecAllocator(ctx, options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	t.Cleanup(func() { _ = chromedp.Cancel(ctx) }) // waits until it has ended
	return ctx
}

// toneWAV writes ten seconds of the tone, which Chromium repeats.
func toneWAV(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "tone.wav")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	pcm := make([]int16, 10*mediaclock.Rate)
	for i := range pcm {
		pcm[i] = int16(32767 * tone(i))
	}
	w, err := codec.NewWAVWriter(f)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(w.Write(pcm), w.Flush()); err != nil {
		t.Fatal(err)
	}
	return path
}

// A real Chromium connects on loopback, sends what it is asked for, and its microphone's tone can be pulled in real
// time; when its page hangs up, the microphone ends.
func TestChromium(t *testing.T) { tryChromium(t, "udp", 3*time.Second) }

// Where no UDP passes, it connects to the same port by TCP.
func TestChromiumWithoutUDP(t *testing.T) {
	tryChromium(t, "tcp", time.Second, chromedp.Flag("webrtc-ip-handling-policy", "disable_non_proxied_udp"))
}

func tryChromium(t *testing.T, protocol string, length time.Duration, options ...chromedp.ExecAllocatorOption) {
	t.Helper()
	ctx := chromium(t, toneWAV(t), options...)
	m, err := NewMicrophones(Config{Listen: "127.0.0.1:0"}, quiet(), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	mics := make(chan *Microphone, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/offer" {
			w.Header().Set("Content-Type", "text/html")
			_, _ = io.WriteString(w, page)
			return
		}
		offer, _ := io.ReadAll(r.Body)
		answer, mic, err := m.Accept(r.Context(), string(offer))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		mics <- mic
		_, _ = io.WriteString(w, answer)
	}))
	defer server.Close()

	if err := chromedp.Do(ctx, chromedp.Navigate(server.URL)); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	state, err := chromedp.Run(ctx, chromedp.Evaluate[string]("speak()", chromedp.EvalAwaitPromise))
	if err != nil || state != "connected" {
		t.Fatalf("speak() = %q, %v", state, err)
	}
	connected := time.Since(begun)
	mic := <-mics
	await(t, mic.Started(), "sound")
	started := time.Since(begun)

	pcm := pullFor(t, mic, length)
	pure, pieces := 0, 0
	for at := mediaclock.Rate / 2; at+2*frameSamples <= len(pcm); at += frameSamples {
		pieces++
		if purity(pcm[at:at+2*frameSamples], toneHz) > 0.95 && loudness(pcm[at:at+2*frameSamples]) > 0.01 {
			pure++
		}
	}
	s := mic.Stats()
	t.Logf("connected after %v, sound after %v, %d of %d pieces pure, %+v", connected, started, pure, pieces, s)
	if pure < pieces*8/10 { // all of them, unless the machine is too busy for Chromium
		t.Errorf("%d of %d pieces of sound are the tone: %+v", pure, pieces, s)
	}
	if want := uint64(length / (20 * time.Millisecond)); s.Packets < want*2/3 || s.Malformed+s.Flood+s.Refused > 0 {
		t.Errorf("Stats = %+v, want %d good packets", s, want)
	}
	if p, err := chromedp.Run(ctx, chromedp.Evaluate[string]("protocol()", chromedp.EvalAwaitPromise)); p != protocol || err != nil {
		t.Errorf("Chromium sends by %q, error %v, want by %s", p, err, protocol)
	}
	bitrate, err := chromedp.Run(ctx, chromedp.Evaluate[float64]("outgoing()", chromedp.EvalAwaitPromise))
	if err != nil || bitrate != 64000 {
		t.Errorf("Chromium aims at %v bit/s, error %v, want the 64000 of the answer", bitrate, err)
	}

	if _, err := chromedp.Run(ctx, chromedp.Evaluate[bool]("pc.close(), true")); err != nil {
		t.Fatal(err)
	}
	await(t, mic.Done(), "the end of the microphone")
	if mic.Reason() != ReasonBrowser {
		t.Errorf("Reason = %q after the page was left, want %q", mic.Reason(), ReasonBrowser)
	}
}

// pullFor reads src in real time for so long.
func pullFor(t *testing.T, src Source, length time.Duration) []float32 {
	t.Helper()
	var all []float32
	frame := make([]float32, frameSamples)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for begun, n := time.Now(), time.Duration(0); n < length; n += 20 * time.Millisecond {
		for time.Since(begun) < n { // a ticker drops ticks, this makes up for them
			<-tick.C
		}
		if err := src.Read(frame); err != nil {
			t.Fatalf("Read: %v", err)
		}
		all = append(all, frame...)
	}
	return all
}
