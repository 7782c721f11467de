package main

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// testPageSources broadcasts from the page what is no microphone: a text and a file. The browser has no microphone to
// give, so the page must not ask for one.
func testPageSources(t *testing.T, r *rig) {
	ctx, _ := tab(t, 1000, "deny-permission-prompts")
	signIn(ctx, t, r)
	press(ctx, t, "input[type=checkbox]", "Xã Tiên Lãng")

	press(ctx, t, "input[type=radio]", "Đọc văn bản")
	press(ctx, t, "button", "Phát trực tiếp")
	sees(ctx, t, 5*time.Second, "that there is no text", alertHas("nhập nội dung"))
	eval[bool](ctx, t, fmt.Sprintf(`(() => { (%s)('textarea', 'Nội dung cần đọc').value = 'Kính mời bà con ra nhà văn hóa lúc 15 giờ 30.'; return true })()`, named))
	read := time.Now()
	press(ctx, t, "button", "Phát trực tiếp")
	sees(ctx, t, 10*time.Second, "on air", statusHas("Đang phát"))
	sees(ctx, t, 10*time.Second, "3/3", statusHas("3/3 loa đang nghe"))
	sees(ctx, t, 20*time.Second, "its end", `document.getElementById('state').textContent == 'Đã phát xong'`)

	press(ctx, t, "input[type=radio]", "Tệp âm thanh")
	wav := filepath.Join(t.TempDir(), "thông báo.wav")
	must(t, "write the file", os.WriteFile(wav, toneWAV(700, 20), 0o600))
	must(t, "choose the file", chromedp.Do(ctx, chromedp.SetUploadFiles(chromedp.CSS("#file"), []string{wav})))
	sees(ctx, t, 10*time.Second, "the file at the server", `document.getElementById('file-ready').textContent.includes('thông báo.wav (dài 00:20)')`)
	began := time.Now()
	press(ctx, t, "button", "Phát trực tiếp")
	sees(ctx, t, 10*time.Second, "on air", statusHas("Đang phát"))
	sees(ctx, t, 10*time.Second, "3/3", statusHas("3/3 loa đang nghe"))
	<-time.After(time.Second)
	press(ctx, t, "button", "Dừng phát")
	sees(ctx, t, 5*time.Second, "off air", "!"+statusHas("Đang phát"))
	stopped := time.Now()
	if faults := eval[[]string](ctx, t, `faults`); len(faults) > 0 {
		t.Errorf("the page's script failed: %q", faults)
	}
	<-time.After(2*time.Second + settled)
	for n := 1; n <= 3; n++ {
		p := r.heard(t, n)
		if p.first(read, began).IsZero() {
			t.Errorf("loudspeaker %d did not read the text", n)
		}
		if share, _, _ := p.tonal(700, began, stopped); share < 0.2 {
			t.Errorf("loudspeaker %d: the file's tone in %.1f %% of the time", n, 100*share)
		}
		if !p.silent(stopped.Add(2*time.Second), stopped.Add(3*time.Second)) {
			t.Errorf("loudspeaker %d sounds 2 s after the stop", n)
		}
	}
}

func alertHas(text string) string {
	return fmt.Sprintf(`[...document.querySelectorAll('[role=alert]')].some(e => e.checkVisibility() && e.textContent.includes(%q))`, text)
}
