package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestSoakSystem speaks to six loudspeakers again and again for as long as SOAK says (make soak TIME=10m): no frame is
// lost, nobody leaves, and no program's memory grows.
func TestSoakSystem(t *testing.T) {
	length, err := time.ParseDuration(os.Getenv("SOAK"))
	if err != nil {
		t.Skip("make soak runs this")
	}
	r := startRig(t)
	m := r.machine()
	audio := m.upload(t, 440, 20)
	speak := func() {
		id := m.speak(t, audio, nil, "31")
		eventually(t, 10*time.Second, "six hear it", func() bool { return m.session(t, id).Listeners.Hearing == 6 })
		eventually(t, 40*time.Second, "it ends", func() bool { return m.session(t, id).State == "ended" })
	}
	end := time.Now().Add(length)
	speak() // what is made once is made now
	first, sessions := r.usage(t), 1
	for time.Now().Before(end) {
		speak()
		sessions++
	}
	frames := r.frames(t)
	for name, u := range r.usage(t) {
		grown := (u.rss - first[name].rss) / (1 << 20)
		t.Logf("%s: %.1f MB, %+.1f MB since the first session", name, u.rss/(1<<20), grown)
		if limit := 0.25*first[name].rss/(1<<20) + 8; sessions > 3 && grown > limit {
			t.Errorf("%s has grown by %.1f MB, at most %.1f", name, grown, limit)
		}
	}
	for name, f := range frames {
		t.Logf("%s: %.0f frames played, %.0f repaired, %.0f concealed, %.0f late in %d sessions", name, f.played, f.repaired, f.concealed, f.late, sessions)
		if f.concealed+f.late > 0 {
			t.Errorf("%s lost %.0f frames; what it warned of:\n%s", name, f.concealed+f.late, r.warnings(t, name))
		}
	}
}

// warnings are the lines of a part's log above the level info.
func (r *rig) warnings(t testing.TB, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(r.dir, name, "log"))
	must(t, "read log", err)
	var list []string
	for line := range strings.Lines(string(text)) {
		if !strings.Contains(line, `"level":"INFO"`) {
			list = append(list, line)
		}
	}
	return strings.Join(list, "")
}
