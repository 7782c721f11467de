package main

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// recording is what the API tells of a recording.
type recording struct {
	Seconds float64
	Bytes   int64
	Missing float64 `json:"missing_seconds"`
}

// recorded returns a session's recording; nil: there is none yet.
func (c caller) recorded(t testing.TB, id string) *recording {
	t.Helper()
	var s struct{ Recording *recording }
	if err := json.Unmarshal(c.get(t, "/sessions/"+id).body, &s); err != nil {
		t.Fatal(err)
	}
	return s.Recording
}

// replay downloads a recording and has ffmpeg decode it, as if it had begun to sound at a moment.
func (c caller) replay(t testing.TB, id string, start time.Time) played {
	t.Helper()
	a := c.get(t, "/sessions/"+id+"/recording")
	if a.status != http.StatusOK || a.header.Get("Content-Type") != "audio/ogg" {
		t.Fatalf("recording: %d %v", a.status, a.header)
	}
	path := filepath.Join(t.TempDir(), "recording.ogg")
	if err := os.WriteFile(path, a.body, 0o600); err != nil {
		t.Fatal(err)
	}
	raw, err := exec.CommandContext(t.Context(), "ffmpeg", "-v", "error", "-i", path, "-f", "s16le", "-ac", "1", "-ar", "48000", "-").Output()
	if err != nil {
		t.Fatal("ffmpeg: ", err)
	}
	p := played{start: start, rate: 48000}
	for ; len(raw) > 1; raw = raw[2:] {
		p.pcm = append(p.pcm, float64(int16(binary.LittleEndian.Uint16(raw))))
	}
	return p
}

func needFFmpeg(t testing.TB) {
	t.Helper()
	if _, err := exec.LookPath("ffmpeg"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("ffmpeg is not installed: make test installs it")
		}
		t.Skip("ffmpeg is not installed")
	}
}

// testRecording: after a session its sound can be downloaded and played, and who heard it is known by name.
func testRecording(t *testing.T, r *rig, m caller) {
	needFFmpeg(t)
	id := m.speak(t, m.upload(t, 800, 4), map[string]any{"title": "Thử ghi âm"}, "31")
	eventually(t, 5*time.Second, "all hear it", func() bool { return m.session(t, id).Listeners.Hearing == 6 })
	eventually(t, 10*time.Second, "its recording is there", func() bool { return m.recorded(t, id) != nil })
	rec := m.recorded(t, id)
	start := time.Unix(0, 0)
	p := m.replay(t, id, start)
	end := start.Add(time.Duration(len(p.pcm)) * time.Second / 48000)
	share, first, last := p.tonal(800, start, end)
	t.Logf("%d bytes, %.3f s, of which the tone is %v, in %.1f %% of the time", rec.Bytes, rec.Seconds, last.Sub(first), 100*share)
	if rec.Missing != 0 || math.Abs(rec.Seconds-end.Sub(start).Seconds()) > 0.001 {
		t.Errorf("the record says %.3f s, %.3f missing; %v can be played", rec.Seconds, rec.Missing, end.Sub(start))
	}
	if whole := last.Sub(first); whole < 3980*time.Millisecond || whole > 4020*time.Millisecond || first.Sub(start) > 20*time.Millisecond {
		t.Errorf("four seconds are recorded as %v, from %v on", whole, first.Sub(start))
	}
	if share, _, _ := p.tonal(800, first, last); share < 0.99 {
		t.Errorf("the tone is in %.1f %% of its time", 100*share)
	}
	if a := m.do(t, "GET", "/sessions/"+id+"/recording", nil, "Range", "bytes=0-3"); a.status != http.StatusPartialContent || string(a.body) != "OggS" {
		t.Errorf("its first four bytes: %d %q", a.status, a.body)
	}
	var list []struct {
		Name             string
		Heard            bool
		Played, Repaired int
		From, To         *time.Time
	}
	eventually(t, 15*time.Second, "who heard it, and how much", func() bool {
		list = nil
		_ = json.Unmarshal(m.get(t, "/sessions/"+id+"/listeners").body, &list)
		whole := 0
		for _, l := range list {
			if sounded := l.Played + l.Repaired; l.Heard && l.Name != "" && l.From != nil && l.To != nil && sounded > 150 && sounded < 210 {
				whole++ // of about 200 frames
			}
		}
		return whole == 6
	})
	testReplayPage(t, r, id)
}

// testReplayPage plays the recording in the page of its session, from a place in the middle.
func testReplayPage(t *testing.T, r *rig, id string) {
	ctx, closeTab := tab(t, 0, allowed)
	defer closeTab()
	signIn(ctx, t, r)
	must(t, "open the session's page", chromedp.Do(ctx, chromedp.Navigate(r.ready["console"]+"/sessions/"+id)))
	got := eval[[]float64](ctx, t, `(async () => {
		const player = document.querySelector('audio');
		const once = name => new Promise((done, fail) => { player.addEventListener(name, done, {once: true}); player.addEventListener('error', () => fail(new Error(player.error.message)), {once: true}) });
		const ready = once('loadedmetadata');
		player.load(); player.preload = 'auto';
		await ready;
		const sought = once('seeked');
		player.currentTime = 2;
		await sought;
		const at = player.currentTime;
		await player.play();
		while (player.currentTime < at + 0.3) await new Promise(done => setTimeout(done, 20));
		return [player.duration, at];
	})()`)
	if got[0] < 4 || got[0] > 4.1 || math.Abs(got[1]-2) > 0.05 {
		t.Errorf("the player says it lasts %.2f s and seeks to %.2f, want 4 and 2", got[0], got[1])
	}
	if rows := eval[int](ctx, t, `document.querySelectorAll('[aria-labelledby=hearers] tbody tr').length`); rows != 6 {
		t.Errorf("%d loudspeakers heard it by the page, want 6", rows)
	}
}

// pitch measures in the page what it hears: the loudest frequency, 0 for silence.
const pitch = `(async () => {
	if (!ear.srcObject) return 0;
	if (!window.scope || scope.stream != ear.srcObject) {
		const audio = window.audio ??= new AudioContext();
		window.scope = audio.createAnalyser();
		scope.fftSize = 4096;
		scope.stream = ear.srcObject;
		audio.createMediaStreamSource(ear.srcObject).connect(scope);
		await new Promise(done => setTimeout(done, 200));
	}
	const power = new Float32Array(scope.frequencyBinCount);
	scope.getFloatFrequencyData(power);
	const loudest = Math.max(...power);
	return loudest > -35 ? power.indexOf(loudest) * audio.sampleRate / scope.fftSize : 0;
})()`

func hears(ctx context.Context, t testing.TB, hz float64) {
	t.Helper()
	eventually(t, 10*time.Second, fmt.Sprintf("the page hears %v Hz", hz), func() bool {
		return math.Abs(eval[float64](ctx, t, pitch)-hz) < 15
	})
}

// testListening: an official hears in the page what is on air, somebody else's at once, one's own only when asked twice.
func testListening(t *testing.T, r *rig, m caller) {
	ctx, closeTab := tab(t, 1000, allowed)
	defer closeTab()
	signIn(ctx, t, r)
	other := m.speak(t, m.upload(t, 600, 60), map[string]any{"title": "Buổi của máy"}, commune2)
	press(ctx, t, "button", "Nghe ở Xã Vĩnh Bảo, bởi make run")
	hears(ctx, t, 600)
	if eval[bool](ctx, t, `ear.muted`) {
		t.Error("somebody else's session is muted")
	}
	press(ctx, t, "button", "Thôi nghe ở Xã Vĩnh Bảo, bởi make run")
	sees(ctx, t, 2*time.Second, "silence in the page", `!ear.srcObject`)
	press(ctx, t, "button", "Nghe ở Xã Vĩnh Bảo, bởi make run")
	hears(ctx, t, 600)
	m.post(t, "/sessions/"+other+"/stop", nil)
	sees(ctx, t, 5*time.Second, "silence in the page with the session's end", `!ear.srcObject`)

	press(ctx, t, "input[type=checkbox]", "Xã Tiên Lãng")
	press(ctx, t, "button", "Phát trực tiếp")
	sees(ctx, t, 10*time.Second, "on air", statusHas("Đang phát"))
	press(ctx, t, "button", "Nghe")
	hears(ctx, t, 1000)
	if !eval[bool](ctx, t, `ear.muted`) {
		t.Error("one's own session sounds in the room without being asked to")
	}
	press(ctx, t, "button", "Bật tiếng")
	if eval[bool](ctx, t, `ear.muted`) {
		t.Error("one's own session stays muted")
	}
	press(ctx, t, "button", "Dừng phát")
	sees(ctx, t, 5*time.Second, "off air", "!"+statusHas("Đang phát"))
	sees(ctx, t, 5*time.Second, "silence in the page", `!ear.srcObject`)
	if faults := eval[[]string](ctx, t, `faults`); len(faults) > 0 {
		t.Errorf("the page's script failed: %q", faults)
	}
}

// testStreamerKilled ends the streamer with no time to say goodbye: what it had recorded is there when it is back.
func testStreamerKilled(t *testing.T, r *rig, m caller) {
	needFFmpeg(t)
	id := m.speak(t, m.upload(t, 650, 60), nil, commune1)
	eventually(t, 5*time.Second, "it is live", func() bool { return m.session(t, id).State == "live" })
	live := time.Now()
	<-time.After(3 * time.Second)
	killed := time.Now()
	if err := syscall.Kill(r.processes(t)["streamer"].Pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, 5*time.Second, "its ports are free", func() bool {
		c, err := net.Dial("tcp", r.processes(t)["streamer"].Admin)
		if err == nil {
			c.Close()
		}
		return err != nil
	})
	r.again(t, "streamer")
	eventually(t, 20*time.Second, "the streamer answers", func() bool {
		resp, err := http.Get(r.ready["console"] + "/readyz")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
	if s := m.session(t, id); s.State != "ended" || s.EndReason != "interrupted" {
		t.Errorf("the session: %+v", s)
	}
	rec := m.recorded(t, id)
	if rec == nil {
		t.Fatal("nothing is left of its recording")
	}
	p := m.replay(t, id, live)
	share, _, _ := p.tonal(650, live, live.Add(time.Duration(rec.Seconds*float64(time.Second))))
	t.Logf("killed after %v on air, %.2f s are recorded, the tone in %.1f %%", killed.Sub(live), rec.Seconds, 100*share)
	if rec.Seconds < killed.Sub(live).Seconds()-1 || share < 0.97 {
		t.Errorf("killed after %v, %.2f s are recorded, the tone in %.1f %%", killed.Sub(live), rec.Seconds, 100*share)
	}
}
