package api

import (
	"net/http"
	"net/http/httptest"
	"os/exec"
	"testing"

	"dongthanh/internal/testkit"
)

// TestURL: an official has a file or a radio rebroadcast by its address; an address inside is refused, and nothing is on
// record of it.
func TestURL(t *testing.T) {
	testkit.Program(t, "ffmpeg")
	b := newBed(t)
	lan := b.as("lan")
	mp3, err := exec.CommandContext(t.Context(), "ffmpeg", "-v", "error", "-f", "lavfi", "-i", "sine=frequency=1000:duration=1", "-f", "mp3", "pipe:1").Output()
	b.must(err)
	pages := http.NewServeMux()
	pages.HandleFunc("/news.mp3", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(mp3) })
	pages.Handle("/inside", http.RedirectHandler("http://169.254.169.254/", http.StatusFound))
	pages.HandleFunc("/page", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) })
	radio := httptest.NewServer(pages)
	defer radio.Close()
	from := func(url string) object {
		return object{"zones": []string{"31/11296"}, "source": object{"kind": "url", "url": url}}
	}
	lan.do("POST", "/sessions", from("http://127.0.0.2/")).refused("an address inside", http.StatusUnprocessableEntity, "url_private")
	lan.do("POST", "/sessions", from(radio.URL+"/inside")).refused("a redirect inside", http.StatusUnprocessableEntity, "url_private")
	lan.do("POST", "/sessions", from(radio.URL+"/page")).refused("a page", http.StatusUnprocessableEntity, "url")
	lan.do("POST", "/sessions", from("")).refused("no address", http.StatusUnprocessableEntity, "url")
	if a := lan.get("/sessions"); len(a.body.([]any)) != 0 {
		t.Errorf("sessions on record: %s", a.raw)
	}
	id := lan.begin(from(radio.URL + "/news.mp3"))
	if a := lan.until(id, "ended"); a.text("end_reason") != "source_end" || a.text("source", "url") != radio.URL+"/news.mp3" {
		t.Errorf("in the end: %s", a.raw)
	}
}
