package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// micPort is where the demo's streamer takes microphones, by UDP and by TCP.
const micPort = 8082

// cut lets the kernel drop what goes to and from a port, and returns what undoes it.
func cut(t *testing.T, protocols ...string) (mend func()) {
	t.Helper()
	const table = "dongthanh_demo_test"
	nft := func(script string) error {
		cmd := exec.Command("nft", "-f", "-")
		cmd.Stdin = strings.NewReader(script)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	}
	if _, err := exec.LookPath("nft"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("nft is not installed: make test installs it")
		}
		t.Skip("nft is not installed")
	}
	script := "add table inet " + table + "\nadd chain inet " + table + " in { type filter hook input priority 0; }\n"
	for _, p := range protocols {
		for _, end := range []string{"sport", "dport"} {
			script += fmt.Sprintf("add rule inet %s in %s %s %d drop\n", table, p, end, micPort)
		}
	}
	if err := nft(script); err != nil {
		t.Skipf("this machine lets nobody drop packets: %v", err)
	}
	done := false
	mend = func() {
		if !done {
			done = true
			must(t, "undo the rules", nft("delete table inet "+table))
		}
	}
	t.Cleanup(mend)
	return mend
}

// onAir is the one session on air, as the official's own eyes see it.
func (r *rig) onAir(t *testing.T, p caller) (id string) {
	t.Helper()
	var list []struct{ ID, State string }
	must(t, "list sessions", json.Unmarshal(p.get(t, "/sessions?limit=1").body, &list))
	if len(list) != 1 || list[0].State != "live" {
		t.Fatalf("on air: %+v, want one session", list)
	}
	return list[0].ID
}

// shoot keeps a picture of the page for eyes to look at, if SHOTS names a folder: on a phone and on a laptop.
func shoot(ctx context.Context, t *testing.T, name string) {
	t.Helper()
	dir := os.Getenv("SHOTS")
	if dir == "" {
		return
	}
	for _, size := range [][2]int64{{390, 844}, {1366, 768}} {
		must(t, "resize", chromedp.Do(ctx, chromedp.EmulateViewport(size[0], size[1])))
		png, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
		must(t, "take a picture", err)
		must(t, "keep it", os.WriteFile(filepath.Join(dir, fmt.Sprintf("%s-%d.png", name, size[0])), png, 0o600))
	}
}

// keepTracks lets the test pull out a microphone: Chromium's fake ones cannot be. While noMicrophone is set there is none.
const keepTracks = `(() => {
	const ask = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
	navigator.mediaDevices.getUserMedia = async constraints => {
		if (window.noMicrophone) throw new DOMException('none', 'NotFoundError');
		const stream = await ask(constraints);
		window.track = stream.getAudioTracks()[0];
		return stream;
	};
	window.unplug = () => { track.stop(); track.dispatchEvent(new Event('ended')); return true };
	return true;
})()`

// testUnplugged pulls the microphone out while it is on air: another one takes its place, or is chosen.
func testUnplugged(ctx context.Context, t *testing.T) {
	const chosen = `document.getElementById('air-device')`
	eval[bool](ctx, t, `(() => { window.noMicrophone = true; return unplug() })()`)
	sees(ctx, t, 10*time.Second, "that the microphone is gone", statusHas("Mất micrô – hãy cắm lại hoặc chọn micrô khác"))
	shoot(ctx, t, "unplugged")
	eval[bool](ctx, t, `(() => { window.noMicrophone = false; const e = `+chosen+`;
		e.value = [...e.options].find(o => o.text == 'Fake Audio Input 2').value; e.dispatchEvent(new Event('change')); return true })()`)
	sees(ctx, t, 10*time.Second, "sound by the chosen one", statusHas("Đang phát")+` && `+chosen+`.selectedOptions[0].text == 'Fake Audio Input 2'`)
	eval[bool](ctx, t, `unplug()`)
	sees(ctx, t, 10*time.Second, "sound by whichever is there", statusHas("Đang phát")+` && track.readyState == 'live'`)
	sees(ctx, t, 10*time.Second, "that it is another one", `document.getElementById('alert').textContent.includes('Đang dùng micrô khác')`)
}

// testReconnect cuts an official's way to the streamer in several ways: the sound has gaps, the session has none.
func testReconnect(t *testing.T, r *rig) {
	const lost = "Mất kết nối micrô – đang nối lại…"
	p := r.person(t)
	ctx, closeTab := tab(t, 1000, allowed)
	signIn(ctx, t, r)
	eval[bool](ctx, t, keepTracks)
	press(ctx, t, "input[type=checkbox]", "Xã Tiên Lãng")

	// A network that lets no UDP pass: on air by TCP.
	mend := cut(t, "udp")
	press(ctx, t, "button", "Phát trực tiếp")
	sees(ctx, t, 10*time.Second, "3/3", statusHas("3/3 loa đang nghe"))
	id := r.onAir(t, p)
	shoot(ctx, t, "live")
	<-time.After(2 * time.Second)
	byTCP := time.Now()
	testUnplugged(ctx, t)

	// Nothing passes for some seconds, as from one network to another.
	mend()
	mend = cut(t, "udp", "tcp")
	sees(ctx, t, 15*time.Second, "the loss", statusHas(lost))
	gapAt := time.Now()
	<-time.After(3 * time.Second)
	shoot(ctx, t, "lost")
	if s := p.session(t, id); s.State != "live" || s.Source.State != "lost" || s.Listeners.Hearing != 3 {
		t.Errorf("in the gap: %+v, want it live, heard by 3, its microphone lost", s)
	}
	quiet := time.Now()
	mend()
	sees(ctx, t, 15*time.Second, "sound again", statusHas("Đang phát"))
	t.Logf("network back: sound after %v", time.Since(quiet).Round(time.Millisecond))
	<-time.After(2 * time.Second)
	again := time.Now()

	// UDP is blocked on air: it goes on by TCP.
	mend = cut(t, "udp")
	sees(ctx, t, 15*time.Second, "the loss", statusHas(lost))
	sees(ctx, t, 15*time.Second, "sound by TCP", statusHas("Đang phát"))
	back := time.Now()
	t.Logf("UDP blocked: sound is back after %v", back.Sub(again).Round(time.Millisecond))
	<-time.After(2 * time.Second)
	changed := time.Now()
	mend()

	// The page is loaded again: it shows its broadcast, and goes on with it.
	must(t, "load the page again", chromedp.Do(ctx, chromedp.Navigate(r.ready["console"]+"/live")))
	sees(ctx, t, 10*time.Second, "one's own broadcast", `[...document.querySelectorAll('section')].some(e => e.checkVisibility() && /Còn 00:\d\d để nói tiếp/.test(e.textContent))`)
	shoot(ctx, t, "reloaded")
	press(ctx, t, "button", "Tiếp tục nói")
	sees(ctx, t, 10*time.Second, "on air again", statusHas("Đang phát")+` && !document.querySelector('[data-sound=lost]')`)
	sees(ctx, t, 10*time.Second, "3/3", statusHas("3/3 loa đang nghe"))
	<-time.After(time.Second)
	reloaded := time.Now()
	<-time.After(time.Second)

	// Another browser of the same official takes the microphone, and the first one is told.
	other, closeOther := tab(t, 1300, allowed)
	signIn(other, t, r)
	sees(other, t, 10*time.Second, "one's own broadcast", `[...document.querySelectorAll('section')].some(e => e.checkVisibility() && e.textContent.includes('từ một trang khác'))`)
	shoot(other, t, "elsewhere")
	press(other, t, "button", "Nói ở trang này")
	sees(other, t, 10*time.Second, "on air there", statusHas("Đang phát"))
	sees(ctx, t, 10*time.Second, "the first page is told", statusHas("Micrô đã chuyển sang trang khác"))
	shoot(ctx, t, "moved")
	taken := time.Now()
	<-time.After(2 * time.Second)
	if now := r.onAir(t, p); now != id {
		t.Errorf("session %s is on air, want %s all the time", now, id)
	}

	// Both browsers are closed: the loudspeakers fall silent, and some seconds later the session ends.
	closeTab()
	closeOther()
	left := time.Now()
	eventually(t, 12*time.Second, "the session ends", func() bool { return p.session(t, id).State == "ended" })
	if s := p.session(t, id); s.EndReason != "source_lost" {
		t.Errorf("ended because of %s, want source_lost", s.EndReason)
	}
	t.Logf("the session ended %v after its last page", time.Since(left).Round(time.Millisecond))
	<-time.After(settled + time.Second)
	ended := time.Now().Add(-settled)
	for n := 1; n <= 3; n++ {
		h := r.heard(t, n)
		for _, part := range []struct {
			name     string
			hz       float64
			from, to time.Time
		}{
			{"by TCP", 1000, byTCP.Add(-time.Second), byTCP},
			{"after nothing passed", 1000, again.Add(-time.Second), again},
			{"after UDP was blocked", 1000, changed.Add(-time.Second), changed},
			{"after the page was loaded again", 1000, reloaded, reloaded.Add(time.Second)},
			{"from another browser", 1300, taken.Add(time.Second), taken.Add(2 * time.Second)},
		} {
			if share, _, _ := h.tonal(part.hz, part.from, part.to); share < 0.8 {
				t.Errorf("loudspeaker %d, %s: the tone in %.0f %% of the time", n, part.name, 100*share)
			}
		}
		if !h.silent(gapAt.Add(time.Second), quiet) {
			t.Errorf("loudspeaker %d sounds in the gap", n)
		}
		if !h.silent(left.Add(3*time.Second), ended) {
			t.Errorf("loudspeaker %d sounds after its microphone has left", n)
		}
	}
}
