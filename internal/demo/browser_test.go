package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"dongthanh/internal/testkit"
)

// tab starts Chromium with a fake microphone that hears a tone (of 0 Hz: beeps), and returns its one tab,
// and what closes it before the test ends.
func tab(t testing.TB, hz float64, flags ...string) (tab context.Context, closeTab func()) {
	t.Helper()
	return tabOf(t, testkit.Program(t, "chromium"), hz, flags...)
}

// tabOf is tab of the Chromium at path.
func tabOf(t testing.TB, path string, hz float64, flags ...string) (tab context.Context, closeTab func()) {
	t.Helper()
	wav := filepath.Join(t.TempDir(), "tone.wav")
	sound := beeps()
	if hz > 0 {
		sound = toneWAV(hz, 10)
	}
	if err := os.WriteFile(wav, sound, 0o600); err != nil {
		t.Fatal(err)
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox,
		chromedp.Flag("use-fake-device-for-media-stream", true),
		chromedp.Flag("use-file-for-fake-audio-capture", wav),
		chromedp.Flag("allow-loopback-in-peer-connection", true),
		chromedp.Flag("autoplay-policy", "no-user-gesture-required"),
	)
	for _, f := range flags {
		options = append(options, chromedp.Flag(f, true))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewExecAllocator(ctx, options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	closeTab = sync.OnceFunc(func() { _ = chromedp.Cancel(ctx) }) // waits until it has ended
	t.Cleanup(closeTab)
	must(t, "start chromium", chromedp.Do(ctx))
	return ctx, closeTab
}

const allowed = "use-fake-ui-for-media-stream" // grants the microphone

func must(t testing.TB, act string, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", act, err)
	}
}

// named finds a control by its role and accessible name, as Chromium itself computes it for a screen reader.
const named = `(role, name) => [...document.querySelectorAll(role)].find(e => e.checkVisibility() &&
	((e.getAttribute('aria-label') || e.textContent).trim() == name || [...(e.labels || [])].some(l => l.textContent.trim() == name)))`

// eval runs an expression in the page.
func eval[T any](ctx context.Context, t testing.TB, expression string) T {
	t.Helper()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	must(t, expression, err)
	return v
}

// fill, press and sees act on a page through accessible names alone.
func fill(ctx context.Context, t testing.TB, label, value string) {
	t.Helper()
	eval[bool](ctx, t, fmt.Sprintf(`(() => { const e = (%s)('input', %q); e.focus(); e.value = %q; e.dispatchEvent(new Event('input', {bubbles: true})); return true })()`, named, label, value))
}

func press(ctx context.Context, t testing.TB, role, name string) {
	t.Helper()
	eval[bool](ctx, t, fmt.Sprintf(`new Promise((done, fail) => { let n = 0; const id = setInterval(() => {
		const e = (%s)(%q, %q);
		if (e && !e.disabled) { clearInterval(id); e.click(); done(true) } else if (++n > 250) { clearInterval(id); fail(new Error('no '+%q)) } }, 20) })`, named, role, name, name))
}

func sees(ctx context.Context, t testing.TB, limit time.Duration, what, expression string) {
	t.Helper()
	eventually(t, limit, what, func() bool { return eval[bool](ctx, t, expression) })
}

func statusHas(text string) string {
	return fmt.Sprintf(`[...document.querySelectorAll('[role=status]')].some(e => e.textContent.includes(%q))`, text)
}

// signIn leads a tab to the live page, as the demo's official.
func signIn(ctx context.Context, t testing.TB, r *rig) {
	t.Helper()
	signInAs(ctx, t, r, r.ready["user"], r.ready["password"])
}

func signInAs(ctx context.Context, t testing.TB, r *rig, user, password string) {
	t.Helper()
	must(t, "open the console", chromedp.Do(ctx, chromedp.Navigate(r.ready["console"]+"/")))
	fill(ctx, t, "Tên đăng nhập", user)
	fill(ctx, t, "Mật khẩu", password)
	press(ctx, t, "button", "Đăng nhập")
	sees(ctx, t, 10*time.Second, "the live page", `location.pathname == '/live'`)
	// Remember what goes wrong in the page's own script.
	eval[bool](ctx, t, `(() => { window.faults = []; addEventListener('error', e => faults.push(e.message)); addEventListener('unhandledrejection', e => faults.push(String(e.reason))); return true })()`)
}

func testBrowser(t *testing.T, r *rig) {
	t.Run("a microphone sounds in one commune", func(t *testing.T) { testMicrophone(t, r) })
	t.Run("a chime comes first", func(t *testing.T) { testChime(t, r) })
	t.Run("a text and a file from the page", func(t *testing.T) { testPageSources(t, r) })
	t.Run("the keyboard alone is enough", func(t *testing.T) { testKeyboard(t, r) })
	t.Run("a refused microphone is explained", func(t *testing.T) { testRefusedMicrophone(t, r) })
	t.Run("a lost microphone comes back", func(t *testing.T) { testReconnect(t, r) })
	t.Run("a closed tab ends the session", func(t *testing.T) { testClosedTab(t, r) })
}

// testMicrophone is the product's main job, measured from the sound.
func testMicrophone(t *testing.T, r *rig) {
	ctx, _ := tab(t, 1000, allowed)
	signIn(ctx, t, r)
	press(ctx, t, "input[type=checkbox]", "Xã Tiên Lãng")
	pressed := time.Now()
	press(ctx, t, "button", "Phát trực tiếp")
	sees(ctx, t, 10*time.Second, "on air", statusHas("Đang phát"))
	sees(ctx, t, 10*time.Second, "3/3", statusHas("3/3 loa đang nghe"))
	<-time.After(3 * time.Second)
	stopped := time.Now()
	press(ctx, t, "button", "Dừng phát")
	sees(ctx, t, 5*time.Second, "off air", "!"+statusHas("Đang phát"))
	if faults := eval[[]string](ctx, t, `faults`); len(faults) > 0 {
		t.Errorf("the page's script failed: %q", faults)
	}
	<-time.After(2*time.Second + settled)
	for n := 1; n <= 3; n++ {
		p := r.heard(t, n)
		_, first, _ := p.tonal(1000, pressed, stopped)
		if first.IsZero() {
			t.Errorf("loudspeaker %d played nothing of the microphone", n)
			continue
		}
		share, _, _ := p.tonal(1000, first, stopped)
		t.Logf("loudspeaker %d: press to sound %v, tone in %.1f %% of the time, silent %v after the stop", n, first.Sub(pressed).Round(time.Millisecond), 100*share, lastTone(p, stopped).Sub(stopped))
		if first.Sub(pressed) > 2500*time.Millisecond {
			t.Errorf("loudspeaker %d: from the press to the sound %v, at most 2.5 s", n, first.Sub(pressed))
		}
		if share < 0.8 { // all of it, unless the machine is too busy for Chromium to capture
			t.Errorf("loudspeaker %d: the tone in %.1f %% of the time", n, 100*share)
		}
		if !p.silent(stopped.Add(2*time.Second), stopped.Add(3*time.Second)) {
			t.Errorf("loudspeaker %d sounds 2 s after the stop", n)
		}
	}
	for n := 4; n <= 6; n++ {
		if !r.heard(t, n).silent(pressed, stopped.Add(2*time.Second)) {
			t.Errorf("loudspeaker %d, of the other commune, made a sound", n)
		}
	}
}

// testKeyboard signs in, chooses, speaks and stops with Tab, Space and Enter.
func testKeyboard(t *testing.T, r *rig) {
	ctx, _ := tab(t, 1300, allowed)
	must(t, "open the console", chromedp.Do(ctx, chromedp.Navigate(r.ready["console"]+"/login")))
	keys := func(s string) { must(t, "press a key", chromedp.Do(ctx, chromedp.KeyEvent(s))) }
	reach := func(role, name string) {
		t.Helper()
		for range 60 {
			if eval[bool](ctx, t, fmt.Sprintf(`document.activeElement == (%s)(%q, %q)`, named, role, name)) {
				return
			}
			keys("\t")
		}
		t.Fatalf("Tab does not lead to %s", name)
	}
	reach("input", "Tên đăng nhập")
	keys(r.ready["user"])
	reach("input", "Mật khẩu")
	keys(r.ready["password"])
	keys("\r")
	sees(ctx, t, 10*time.Second, "the live page", `location.pathname == '/live'`)
	sees(ctx, t, 10*time.Second, "its script", fmt.Sprintf(`!!(%s)('input[type=checkbox]', 'Thôn Cầu')`, named))
	reach("input[type=checkbox]", "Thôn Cầu")
	keys(" ")
	reach("button", "Phát trực tiếp")
	keys("\r")
	sees(ctx, t, 10*time.Second, "on air", statusHas("Đang phát"))
	sees(ctx, t, 10*time.Second, "1/1", statusHas("1/1 loa đang nghe"))
	reach("button", "Dừng phát")
	keys("\r")
	sees(ctx, t, 5*time.Second, "off air", "!"+statusHas("Đang phát"))
}

// testRefusedMicrophone has the browser deny the microphone: a clear word, and no session is left behind.
func testRefusedMicrophone(t *testing.T, r *rig) {
	ctx, _ := tab(t, 1000, "deny-permission-prompts")
	signIn(ctx, t, r)
	press(ctx, t, "input[type=checkbox]", "Xã Vĩnh Bảo")
	press(ctx, t, "button", "Phát trực tiếp")
	sees(ctx, t, 10*time.Second, "an explanation", `[...document.querySelectorAll('[role=alert]')].some(e => e.checkVisibility() && /micrô/i.test(e.textContent))`)
	if eval[bool](ctx, t, statusHas("Đang phát")) {
		t.Error("the page says that it is on air")
	}
	m := r.machine()
	eventually(t, 10*time.Second, "no session of it is on air", func() bool {
		return !strings.Contains(string(m.get(t, "/sessions?limit=1").body), `"state":"starting"`)
	})
}

// testClosedTab speaks and closes the tab: the session ends by itself, and its reason is on record.
func testClosedTab(t *testing.T, r *rig) {
	ctx, closeTab := tab(t, 1000, allowed)
	signIn(ctx, t, r)
	press(ctx, t, "input[type=checkbox]", "Xã Vĩnh Bảo")
	press(ctx, t, "button", "Phát trực tiếp")
	sees(ctx, t, 10*time.Second, "on air", statusHas("Đang phát"))
	closeTab()
	left := time.Now()
	m := r.machine()
	eventually(t, 10*time.Second, "the session ends", func() bool {
		return strings.Contains(string(m.get(t, "/sessions?limit=1").body), `"state":"ended"`)
	})
	t.Logf("the session ended %v after the browser", time.Since(left))
	if a := string(m.get(t, "/sessions?limit=1").body); !strings.Contains(a, `"end_reason":"source_lost"`) && !strings.Contains(a, `"end_reason":"source_end"`) {
		t.Errorf("session: %s", a)
	}
	<-time.After(settled + time.Second)
	if now := time.Now(); !r.heard(t, 5).silent(now.Add(-settled), now) {
		t.Error("loudspeaker 5 still sounds")
	}
}
