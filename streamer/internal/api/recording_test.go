package api

import (
	"crypto/sha256"
	"encoding/hex"
	"mime"
	"net/http"
	"strings"
	"testing"
	"time"

	"dongthanh/internal/identity"
	"dongthanh/internal/mediaclock"
	"dongthanh/internal/signed"
	"dongthanh/streamer/internal/session"
	"dongthanh/streamer/internal/store"
)

// recorded plays a tone to a zone, waits for its recording and returns the session's id.
func (c caller) recorded(title string, seconds float64, zones ...string) string {
	c.t.Helper()
	id := c.begin(object{"zones": zones, "title": title, "source": object{"kind": "file", "audio": c.upload(seconds)}})
	c.until(id, "ended")
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(limit); ; {
		if _, ok := at(c.get("/sessions/"+id).body, "recording").(object); ok {
			return id
		}
		select {
		case <-tick.C:
		case <-deadline:
			c.t.Fatalf("no recording: %s\n%s", c.get("/sessions/"+id).raw, &c.log)
		}
	}
}

// TestRecording: the recording of a session, for those who may see the session, whole and in parts, by a safe name.
func TestRecording(t *testing.T) {
	b := newBed(t)
	lan := b.as("lan")
	id := lan.recorded(`Lịch "cắt điện"; ../../x`+"\r\nX-Evil: 1", 1, "31/11296")
	path := "/sessions/" + id + "/recording"
	whole := lan.get(path).ok("GET", http.StatusOK)
	size := len(whole.raw)
	rec := at(lan.get("/sessions/"+id).body, "recording")
	if at(rec, "bytes") != float64(size) || at(rec, "missing_seconds") != 0.0 {
		t.Errorf("recording = %v of %d bytes", rec, size)
	}
	if s, _ := at(rec, "seconds").(float64); s < 1 || s > 1.1 {
		t.Errorf("one second is %v s long", s)
	}
	sum := sha256.Sum256([]byte(whole.raw))
	tag := `"` + hex.EncodeToString(sum[:]) + `"`
	if !strings.HasPrefix(whole.raw, "OggS") || whole.header.Get("Content-Type") != "audio/ogg" || whole.header.Get("ETag") != tag || whole.header.Get("X-Evil") != "" {
		t.Errorf("GET: %v", whole.header)
	}
	for query, want := range map[string]string{"": "inline", "?download=1": "attachment"} {
		how, name, err := mime.ParseMediaType(lan.get(path + query).header.Get("Content-Disposition"))
		if err != nil || how != want || !strings.HasSuffix(name["filename"], ` Lịch cắt điện ; .. .. x X-Evil 1.ogg`) {
			t.Errorf("Content-Disposition%s = %s %q, %v", query, how, name, err)
		}
	}
	if a := lan.do("HEAD", path, nil).ok("HEAD", http.StatusOK); a.raw != "" || a.header.Get("Content-Length") == "" || a.header.Get("Accept-Ranges") != "bytes" {
		t.Errorf("HEAD: %v", a.header)
	}
	for _, c := range []struct {
		ask    string
		status int
		want   string
	}{
		{"bytes=0-3", 206, "OggS"}, {"bytes=100-199", 206, whole.raw[100:200]}, {"bytes=-10", 206, whole.raw[size-10:]},
		{"bytes=0-", 206, whole.raw}, {"bytes=99999999-", 416, ""}, {"bytes=5-3", 416, ""}, {"lines=1-2", 416, ""},
		{"bytes=" + strings.Repeat("0-0,", 2000) + "0-0", 200, whole.raw}, // parts apart: the whole comes instead
	} {
		if a := lan.with("Range: " + c.ask).get(path); a.status != c.status || (c.status != 416 && a.raw != c.want) {
			t.Errorf("Range %.40s: %d, %d bytes, want %d, %d bytes", c.ask, a.status, len(a.raw), c.status, len(c.want))
		}
	}
	lan.with("If-None-Match: "+tag).get(path).ok("the same again", http.StatusNotModified)
	if a := lan.with("Range: bytes=0-3", `If-Range: "other"`).get(path); a.status != http.StatusOK {
		t.Errorf("a part of another file: %d", a.status)
	}
	for _, name := range []string{"ha", "bien", "tho", "tinh", "an"} {
		b.as(name).get(path).ok(name, http.StatusOK)
	}
	b.nobody().get(path).refused("nobody", http.StatusUnauthorized, "unauthenticated")
	b.as("minh").get(path).refused("another commune's officer", http.StatusNotFound, "not_found")
	b.as("minh").get("/sessions/"+id+"/listeners").refused("another commune's officer", http.StatusNotFound, "not_found")
	for _, bad := range []string{"nope", "..%2f..%2fdongthanh.db", "%00", store.NewID(), strings.ToUpper(id), id + ".part"} {
		lan.get("/sessions/"+bad+"/recording").refused(bad, http.StatusNotFound, "not_found")
	}
	silent := lan.begin(on("31/11296"))
	lan.get("/sessions/"+silent+"/recording").refused("on air", http.StatusNotFound, "no_recording")
	lan.do("POST", "/sessions/"+silent+"/stop", nil).ok("stop", http.StatusOK)
	lan.get("/sessions/"+silent+"/recording").refused("it never sounded", http.StatusNotFound, "no_recording")
	b.must(b.store.RemoveRecording(t.Context(), id, time.Now()))
	lan.get(path).refused("removed", http.StatusNotFound, "no_recording")
	if rec := at(lan.get("/sessions/"+id).body, "recording"); rec != nil {
		t.Errorf("a removed recording: %v", rec)
	}
}

func TestFileName(t *testing.T) {
	at := time.Date(2026, 11, 24, 23, 30, 0, 0, time.UTC)
	for title, want := range map[string]string{
		"":                             "2026-11-25 06h30.ogg",
		"Thông báo":                    "2026-11-25 06h30 Thông báo.ogg",
		"../../etc/passwd":             "2026-11-25 06h30 etc passwd.ogg",
		"a\x00b\r\nc\t d":              "2026-11-25 06h30 a b c d.ogg",
		"CON.":                         "2026-11-25 06h30 CON.ogg",
		strings.Repeat("ẩ", 200):       "2026-11-25 06h30 " + strings.Repeat("ẩ", 80) + ".ogg",
		"\u202egnp.exe":                "2026-11-25 06h30 gnp.exe.ogg",
		strings.Repeat(`\/:*?"<>|`, 9): "2026-11-25 06h30.ogg",
	} {
		if got := fileName(session.Session{Session: store.Session{Title: title, Started: at}}); got != want {
			t.Errorf("fileName(%q) = %q, want %q", title, got, want)
		}
	}
}

// TestHeard: who heard a session and who did not is told while it is on air and after, of one's own zone only.
func TestHeard(t *testing.T) {
	b := newBed(t)
	tinh := b.as("tinh")
	hears, silent := b.enrol(identity.Client, "Loa đình", "31/11296/02"), b.enrol(identity.Client, "Loa chợ", "31/11407")
	id := tinh.begin(object{"zones": []string{"31"}, "source": object{"kind": "file", "audio": tinh.upload(30)}})
	tinh.until(id, "live")
	x, err := b.sessions.Get(t.Context(), id)
	b.must(err)
	raw, err := hears.SignReport(signed.Report{
		Version: 1, Node: hears.Node.ID, Number: 1, Transmission: x.Transmission, Hearing: true, At: mediaclock.At(time.Now()),
		Played: 500, Repaired: 3, Concealed: 2, Late: 1,
	})
	b.must(err)
	b.picture.Reports([][]byte{raw})
	check := func(when string) {
		t.Helper()
		list, _ := tinh.get("/sessions/"+id+"/listeners").ok(when, http.StatusOK).body.([]any)
		if len(list) != 2 || at(list[0], "id") != hears.Node.ID || at(list[1], "id") != silent.Node.ID {
			t.Fatalf("%s: %v", when, list)
		}
		for key, want := range map[string]any{
			"name": "Loa đình", "zone": "31/11296/02", "heard": true, "played": 500.0, "repaired": 3.0, "concealed": 2.0, "late": 1.0,
		} {
			if got := at(list[0], key); got != want {
				t.Errorf("%s: %s = %v, want %v", when, key, got, want)
			}
		}
		if at(list[0], "from") == nil || at(list[1], "heard") != false || at(list[1], "from") != nil || at(list[1], "state") != "offline" {
			t.Errorf("%s: %v", when, list)
		}
		own, _ := b.as("lan").get("/sessions/"+id+"/listeners").ok("lan", http.StatusOK).body.([]any)
		if len(own) != 1 || at(own[0], "id") != hears.Node.ID {
			t.Errorf("%s: an officer of the first commune is told of %v", when, own)
		}
	}
	check("on air")
	tinh.do("POST", "/sessions/"+id+"/stop", nil).ok("stop", http.StatusOK)
	check("after the stop")
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(limit); ; {
		if list, err := b.store.Listeners(t.Context(), id); err == nil && len(list) == 2 {
			break
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("who heard is not recorded")
		}
	}
	check("on record")
}
