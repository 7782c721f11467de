package api

import (
	"os"
	"os/exec"
	"testing"
)

// TestReuse broadcasts a recording again: by whoever may see it and upload, and only where there is one.
func TestReuse(t *testing.T) {
	if _, err := exec.LookPath("ffmpeg"); err != nil && os.Getenv("CI") == "" {
		t.Skip("no ffmpeg: a recording is Ogg Opus")
	}
	b := newBed(t)
	lan := b.as("lan")
	id := lan.recorded("Lịch cắt điện", 1, "31/11296")
	path := "/sessions/" + id + "/recording/audio"
	b.nobody().do("POST", path, nil).refused("nobody", 401, "unauthenticated")
	b.as("minh").do("POST", path, nil).refused("an officer of another commune", 404, "not_found")
	b.as("tho").do("POST", path, nil).refused("a technician", 403, "forbidden")
	live := "/sessions/" + lan.begin(object{"zones": []string{"31/11296/02"}, "source": object{"kind": "browser"}})
	lan.do("POST", live+"/recording/audio", nil).refused("one on air", 404, "no_recording")
	lan.do("POST", live+"/stop", nil).ok("stop it", 200)
	a := lan.do("POST", path, nil).ok("an officer", 201)
	if s, _ := at(a.body, "seconds").(float64); s < 1 || s > 1.1 {
		t.Errorf("one second is %v s long: %s", s, a.raw)
	}
	again := lan.begin(object{"zones": []string{"31/11296"}, "source": object{"kind": "file", "audio": a.text("id")}})
	lan.until(again, "live")
}
