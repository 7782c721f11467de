package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// streamerCLI runs a command of the streamer's and returns the last line of what it says.
func (r *rig) streamerCLI(t testing.TB, input string, args ...string) string {
	t.Helper()
	cmd := exec.Command(filepath.Join("..", "..", "bin", "streamer"), append(args, "--config", filepath.Join(r.dir, "streamer", "config.yaml"))...)
	cmd.Stdin = strings.NewReader(input)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("streamer %v: %v: %s", args, err, out)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	return lines[len(lines)-1]
}

func (c caller) patch(t testing.TB, path, body string) reply {
	t.Helper()
	return c.do(t, http.MethodPatch, path, strings.NewReader(body))
}

// nodeSetting is what the API tells of how a loudspeaker is set.
type nodeSetting struct {
	State   string
	Since   *time.Time
	Volume  float64  `json:"volume_db"`
	Applied *float64 `json:"applied_volume_db"`
}

func (c caller) setting(t testing.TB, id string) (n nodeSetting) {
	t.Helper()
	if a := c.get(t, "/nodes/"+id); a.status != http.StatusOK || json.Unmarshal(a.body, &n) != nil {
		t.Fatalf("node %s: %d %s", id, a.status, a.body)
	}
	return n
}

// applied waits until a loudspeaker says that it plays at a volume.
func (c caller) applied(t testing.TB, id string, db float64) {
	t.Helper()
	eventually(t, 10*time.Second, fmt.Sprintf("the loudspeaker plays at %g dB", db), func() bool {
		n := c.setting(t, id)
		return n.Applied != nil && *n.Applied == db && n.Volume == db
	})
}

// testOrders turns loudspeakers down and has them sound the test tone: over the API and in the browser, by people who may.
func testOrders(t *testing.T, r *rig, m caller) {
	tech := m
	tech.token = r.streamerCLI(t, "", "token", "add", "--kind", "api", "--name", "kỹ thuật", "--role", "technician", "--zone", "31")
	t.Run("refusals", func(t *testing.T) { testOrderRefusals(t, r, m, tech) })
	t.Run("a volume outlives a restart", func(t *testing.T) { testVolume(t, r, m, tech) })
	t.Run("a test tone sounds at one loudspeaker", func(t *testing.T) { testTone(t, r, m, tech) })
	t.Run("the panel", func(t *testing.T) { testPanel(t, r, tech) })
}

func testOrderRefusals(t *testing.T, r *rig, m, tech caller) {
	speaker, relay := r.nodeID(t, m, "client-1"), r.nodeID(t, m, "relay-1")
	elsewhere := m
	elsewhere.token = r.streamerCLI(t, "", "token", "add", "--kind", "api", "--name", "xã khác", "--role", "technician", "--zone", commune2)
	for _, c := range []struct {
		name   string
		answer reply
		status int
		say    string
	}{
		{"volume by an officer", m.patch(t, "/nodes/"+speaker, `{"volume_db":-6}`), 403, "kỹ thuật viên"},
		{"tone by an officer", m.post(t, "/nodes/"+speaker+"/tone", map[string]any{}), 403, "kỹ thuật viên"},
		{"volume by another commune's technician", elsewhere.patch(t, "/nodes/"+speaker, `{"volume_db":-6}`), 404, "thiết bị"},
		{"volume of a relay", tech.patch(t, "/nodes/"+relay, `{"volume_db":-6}`), 409, "nút chuyển tiếp"},
		{"tone of a relay", tech.post(t, "/nodes/"+relay+"/tone", map[string]any{}), 409, "nút chuyển tiếp"},
		{"louder than full", tech.patch(t, "/nodes/"+speaker, `{"volume_db":1}`), 422, "-60 đến 0"},
		{"far too quiet", tech.patch(t, "/nodes/"+speaker, `{"volume_db":-61}`), 422, "-60 đến 0"},
		{"nothing to change", tech.patch(t, "/nodes/"+speaker, `{}`), 422, "thay đổi"},
		{"a volume that is no number", tech.patch(t, "/nodes/"+speaker, `{"volume_db":"to"}`), 400, "JSON"},
		{"an endless tone", tech.post(t, "/nodes/"+speaker+"/tone", map[string]any{"seconds": 3600}), 422, "giây"},
		{"no node", tech.post(t, "/nodes/nope/tone", map[string]any{}), 404, "Không có thiết bị"},
	} {
		if c.answer.status != c.status || !strings.Contains(c.answer.field("detail"), c.say) {
			t.Errorf("%s: %d %s, want %d and %q", c.name, c.answer.status, c.answer.body, c.status, c.say)
		}
	}
	if n := m.setting(t, speaker); n.Volume != 0 {
		t.Errorf("after all this the volume is %g dB", n.Volume)
	}
}

// testVolume turns one loudspeaker down, ends it, and starts it without any upstream: it is as loud as it was. Then it plays
// with its neighbour, at 6 dB less.
func testVolume(t *testing.T, r *rig, m, tech caller) {
	id := r.nodeID(t, m, "client-1")
	if a := tech.patch(t, "/nodes/"+id, `{"volume_db":-6}`); a.status != http.StatusOK || a.field("volume_db") != "-6" {
		t.Fatalf("turn down: %d %s", a.status, a.body)
	}
	tech.applied(t, id, -6)
	p := r.processes(t)["client-1"]
	must(t, "end client-1", syscall.Kill(p.Pid, syscall.SIGTERM))
	ended := time.Now()
	eventually(t, 15*time.Second, "it is shown as gone", func() bool { return m.setting(t, id).State == "offline" })
	if n := m.setting(t, id); n.Since == nil || n.Since.Before(ended.Add(-2*time.Second)) || n.Since.After(time.Now()) {
		t.Errorf("it is gone since %v, and was ended at %v", n.Since, ended)
	}
	if a := tech.post(t, "/nodes/"+id+"/tone", map[string]any{}); a.status != http.StatusConflict || a.field("code") != "offline" {
		t.Errorf("a tone where nobody is: %d %s", a.status, a.body)
	}
	nameSilent(t, r)
	root, err := filepath.Abs(filepath.Join("..", ".."))
	must(t, "find the repository", err)
	alone := exec.Command(filepath.Join(root, p.Args[0]), p.Args[1:]...)
	alone.Dir = root
	alone.Env = append(os.Environ(), "DONGTHANH_UPSTREAMS_0_CONTROL=wss://127.0.0.1:1", "DONGTHANH_UPSTREAMS_1_CONTROL=wss://127.0.0.1:1")
	must(t, "start client-1 without upstreams", alone.Start())
	eventually(t, 10*time.Second, "it is at -6 dB by itself", func() bool {
		resp, err := http.Get("http://" + p.Admin + "/metrics")
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		var b bytes.Buffer
		_, err = b.ReadFrom(resp.Body)
		return err == nil && strings.Contains(b.String(), "\ndongthanh_client_volume_decibels -6\n")
	})
	must(t, "end it", alone.Process.Signal(syscall.SIGTERM))
	must(t, "its end", alone.Wait())
	r.again(t, "client-1")
	eventually(t, 15*time.Second, "it is back", func() bool { return m.setting(t, id).State == "online" })

	audio := m.upload(t, 500, 3)
	session := m.speak(t, audio, nil, commune1)
	eventually(t, 5*time.Second, "three hear it", func() bool { return m.session(t, session).Listeners.Hearing == 3 })
	began := time.Now()
	if a := tech.post(t, "/nodes/"+id+"/tone", map[string]any{}); a.status != http.StatusConflict || a.field("code") != "on_air" {
		t.Errorf("a tone while a session is on air: %d %s", a.status, a.body)
	}
	eventually(t, 10*time.Second, "it ends", func() bool { return m.session(t, session).State == "ended" })
	<-time.After(settled)
	level := func(n int) float64 {
		sum, count := 0.0, 0
		for _, x := range r.heard(t, n).between(began.Add(500*time.Millisecond), began.Add(1500*time.Millisecond)) {
			sum += x * x
			count++
		}
		return 10 * math.Log10(sum/float64(max(count, 1)))
	}
	one, two, three := level(1), level(2), level(3)
	t.Logf("loudspeakers 1 to 3 play at %.2f, %.2f and %.2f dB", one, two, three)
	if math.Abs(one-two+6) > 0.3 || math.Abs(two-three) > 0.3 || two < 40 {
		t.Error("the first should play 6 dB below the others")
	}
	if a := tech.patch(t, "/nodes/"+id, `{"volume_db":0}`); a.status != http.StatusOK {
		t.Errorf("turn up again: %d %s", a.status, a.body)
	}
	tech.applied(t, id, 0)
}

// nameSilent speaks while client-1 is gone: the live page names it, and since when.
func nameSilent(t *testing.T, r *rig) {
	ctx, _ := tab(t, 1000, allowed)
	signIn(ctx, t, r)
	press(ctx, t, "input[type=checkbox]", "Xã Tiên Lãng")
	press(ctx, t, "button", "Phát trực tiếp")
	sees(ctx, t, 15*time.Second, "2/3", statusHas("2/3 loa đang nghe"))
	sees(ctx, t, 10*time.Second, "who is silent since when", `[...document.querySelectorAll('#missing li')].some(e => e.checkVisibility() && /client-1.*mất kết nối từ \d\d:\d\d$/.test(e.textContent))`)
	press(ctx, t, "button", "Dừng phát")
	sees(ctx, t, 5*time.Second, "off air", "!"+statusHas("Đang phát"))
}

// testTone has one loudspeaker sound, and listens to all six.
func testTone(t *testing.T, r *rig, m, tech caller) {
	frames := r.frames(t)
	began := time.Now()
	if a := tech.post(t, "/nodes/"+r.nodeID(t, m, "client-2")+"/tone", map[string]any{"seconds": 2}); a.status != http.StatusNoContent {
		t.Fatalf("test tone: %d %s", a.status, a.body)
	}
	end := began.Add(3500 * time.Millisecond)
	<-time.After(time.Until(end) + settled)
	r.toneSounds(t, 2, began, end, 2*time.Second)
	for n := 1; n <= 6; n++ {
		if n != 2 && !r.heard(t, n).silent(began, end) {
			t.Errorf("loudspeaker %d made a sound", n)
		}
	}
	if after := r.frames(t); after["client-2"] != frames["client-2"] {
		t.Errorf("the tone counts as frames: %+v, and %+v before", after["client-2"], frames["client-2"])
	}
}

// toneSounds holds what a loudspeaker played to the two notes of the test tone and their length, nearly.
func (r *rig) toneSounds(t testing.TB, n int, from, to time.Time, length time.Duration) {
	t.Helper()
	p := r.heard(t, n)
	low, first, _ := p.tonal(440, from, to)
	high, _, last := p.tonal(880, from, to)
	if got := time.Duration((low + high) * float64(to.Sub(from))); got < length*8/10 || got > length+100*time.Millisecond || low == 0 || high == 0 {
		t.Errorf("loudspeaker %d: the test tone sounds for %v from %v to %v after the order, want %v", n, got, first.Sub(from), last.Sub(from), length)
	}
}

// testPanel does the same as a technician in a browser, and leaves the panel by the keyboard.
func testPanel(t *testing.T, r *rig, tech caller) {
	const password = "bốn con trâu đỏ"
	r.streamerCLI(t, password+"\n", "user", "add", "kythuat", "--role", "technician", "--zone", "31")
	id := r.nodeID(t, tech, "client-3")
	ctx, _ := tab(t, 1000)
	signInAs(ctx, t, r, "kythuat", password)
	must(t, "open the equipment", chromedp.Do(ctx, chromedp.Navigate(r.ready["console"]+"/nodes")))
	eval[bool](ctx, t, `(() => { window.faults = []; addEventListener('error', e => faults.push(e.message)); addEventListener('unhandledrejection', e => faults.push(String(e.reason))); return true })()`)
	press(ctx, t, "button", "client-3")
	sees(ctx, t, 5*time.Second, "the panel", `document.querySelector('dialog[open] h2')?.textContent == 'client-3'`)
	sees(ctx, t, 5*time.Second, "the volume in force", statusHas("Loa đang dùng mức 0 dB."))
	for range 3 {
		press(ctx, t, "button", "Giảm âm lượng")
	}
	sees(ctx, t, 5*time.Second, "the volume turned down", statusHas("Loa đang dùng mức −3 dB."))
	tech.applied(t, id, -3)
	began := time.Now()
	press(ctx, t, "button", "Phát tiếng thử")
	sees(ctx, t, 5*time.Second, "that it was ordered", statusHas("Loa kêu trong 3 giây."))
	<-time.After(4*time.Second + settled)
	r.toneSounds(t, 3, began, began.Add(4*time.Second), 3*time.Second)
	// The arrow keys of the slider, as of any.
	eval[bool](ctx, t, fmt.Sprintf(`((%s)('input', 'Âm lượng').focus(), true)`, named))
	for range 3 {
		must(t, "press a key", chromedp.Do(ctx, chromedp.KeyEvent("\u0303"))) // →
	}
	tech.applied(t, id, 0)
	must(t, "press Escape", chromedp.Do(ctx, chromedp.KeyEvent("\x1b")))
	sees(ctx, t, 5*time.Second, "the panel closed, and the focus where it was", `!document.querySelector('dialog[open]') && document.activeElement?.textContent == 'client-3'`)
	if faults := eval[[]string](ctx, t, `faults`); len(faults) > 0 {
		t.Errorf("the page's script failed: %q", faults)
	}
	if a := eval[string](ctx, t, `document.activeElement.getAttribute('aria-haspopup')`); a != "dialog" {
		t.Errorf("the row's button says that it opens %q", a)
	}
}
