package main

import (
	"testing"
	"time"
)

// testChime asks for the chime on the page: it comes first, nothing of the microphone is heard meanwhile, and the page
// tells when to speak.
func testChime(t *testing.T, r *rig) {
	ctx, _ := tab(t, 1000, allowed)
	signIn(ctx, t, r)
	press(ctx, t, "input[type=checkbox]", "Xã Tiên Lãng")
	press(ctx, t, "input[type=checkbox]", "Phát nhạc hiệu mở đầu")
	pressed := time.Now()
	press(ctx, t, "button", "Phát trực tiếp")
	const note = `document.getElementById('air-note').textContent`
	sees(ctx, t, 10*time.Second, "the word to wait", note+`.includes('chưa nói') && `+statusHas("Đang phát"))
	sees(ctx, t, 5*time.Second, "the word to speak", note+` == 'Mời nói.'`)
	sees(ctx, t, 6*time.Second, "who hears, in its place", note+`.includes('loa')`)
	stopped := time.Now()
	press(ctx, t, "button", "Dừng phát")
	sees(ctx, t, 5*time.Second, "off air", "!"+statusHas("Đang phát"))
	<-time.After(settled)
	for n := 1; n <= 3; n++ {
		p := r.heard(t, n)
		begun := p.first(pressed, stopped)
		_, spoken, _ := p.tonal(1000, pressed, stopped)
		if begun.IsZero() || spoken.IsZero() {
			t.Errorf("loudspeaker %d: sound at %v, the microphone at %v", n, begun, spoken)
			continue
		}
		if wait := spoken.Sub(begun); wait < 1950*time.Millisecond || wait > 2200*time.Millisecond {
			t.Errorf("loudspeaker %d: the microphone is heard %v after the chime began, want 2 s", n, wait)
		}
	}
}
