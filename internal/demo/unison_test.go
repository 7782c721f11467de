package main

import (
	"bytes"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// testUnison gives two loudspeakers the clocks of cheap crystals, 100 ppm fast and slow, and measures from the sound of
// all six how far they lie apart, 20 s after they have joined and at the end of a minute.
func testUnison(t *testing.T, r *rig, m caller) {
	for name, skew := range map[string]string{"client-3": "100", "client-6": "-100"} {
		path := filepath.Join(r.dir, name, "config.yaml")
		text, err := os.ReadFile(path)
		must(t, "read configuration", err)
		must(t, "write configuration", os.WriteFile(path, []byte(strings.Replace(string(text), "  kind: file\n", "  kind: file\n  skew_ppm: "+skew+"\n", 1)), 0o600))
		must(t, "end "+name, syscall.Kill(r.processes(t)[name].Pid, syscall.SIGTERM))
		eventually(t, 10*time.Second, name+" has ended", func() bool { return syscall.Kill(r.processes(t)[name].Pid, 0) != nil })
		r.again(t, name)
	}
	wav, err := os.ReadFile(filepath.Join("..", "..", "configs", "demo", "announcement.wav"))
	must(t, "read announcement", err)
	a := m.do(t, http.MethodPost, "/audio", bytes.NewReader(wav))
	if a.status != http.StatusCreated {
		t.Fatalf("upload: %s", a.body)
	}
	<-time.After(20 * time.Second)
	worst := time.Duration(0)
	for range 2 {
		began := time.Now()
		id := m.speak(t, a.field("id"), nil, "31")
		eventually(t, 30*time.Second, "it ends", func() bool { return m.session(t, id).State == "ended" })
		<-time.After(settled)
		first := r.heard(t, 1)
		first.pcm, first.start = first.between(began, time.Now()), began
		for n := 2; n <= 6; n++ {
			offset, err := r.heard(t, n).offset(first)
			if err != nil {
				t.Fatalf("loudspeaker %d: %v", n, err)
			}
			t.Logf("loudspeaker %d sounds %v after loudspeaker 1", n, offset)
			worst = max(worst, time.Duration(math.Abs(float64(offset))))
		}
	}
	if worst > 2*time.Millisecond { // on one quiet machine it is a tenth of this
		t.Errorf("loudspeakers lie up to %v apart", worst)
	}
}
