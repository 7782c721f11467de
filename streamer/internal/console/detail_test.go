package console_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"dongthanh/streamer/internal/recording"
	"dongthanh/streamer/internal/store"
)

// rows are the texts of a table's cells, joined, by the table's heading.
func (a answer) rows(heading string) (rows []string) {
	for _, table := range a.all("section", func(n *html.Node) bool { return text(a.byID(attr(n, "aria-labelledby"))) == heading }) {
		for n := range table.Descendants() {
			if n.Data != "tr" || n.Parent.Data != "tbody" {
				continue
			}
			var cells []string
			for c := range n.ChildNodes() {
				if c.Type == html.ElementNode {
					cells = append(cells, text(c))
				}
			}
			rows = append(rows, strings.Join(cells, " | "))
		}
	}
	return rows
}

func TestDetailPage(t *testing.T) {
	r := newRig(t, false)
	id := r.add(hostile, "stop", 2, "31")
	at := time.Date(2026, 11, 24, 23, 30, 2, 0, time.UTC)
	err := r.store.AddListeners(t.Context(), id, []store.Listener{
		{Node: "a", Name: "Loa đình", Zone: "31/11296", State: "online", Seen: at, From: at, To: at.Add(time.Minute), Played: 2990, Repaired: 10},
		{Node: "b", Name: hostile, Zone: "31/11296/01", State: "online", Seen: at, From: at, To: at.Add(time.Minute), Played: 29990, Concealed: 4, Late: 6},
		{Node: "c", Name: "Loa chợ", Zone: "31/11407", State: "offline", Seen: at.Add(-time.Hour)},
		{Node: "d", Name: "Loa trường", Zone: "31/11407/01", State: "playing"},
	})
	if err == nil {
		err = r.store.AddRecording(t.Context(), store.Recording{Session: id, Seconds: 65.4, Missing: 3.21, Bytes: 520_000, SHA256: [32]byte{1}, Recorded: at})
	}
	if err != nil {
		t.Fatal(err)
	}
	v := r.signedIn("canbo")
	if n := v.get("/sessions").all("a", func(n *html.Node) bool { return attr(n, "href") == "/sessions/"+id }); len(n) != 1 {
		t.Error("the log does not lead to the broadcast's page")
	}
	a := v.get("/sessions/" + id)
	if a.status != http.StatusOK || text(a.all("h1", nil)[0]) != hostile {
		t.Fatalf("GET = %d %s", a.status, a.body)
	}
	player := a.all("audio", nil)
	if len(player) != 1 || attr(player[0], "src") != "/api/v1/sessions/"+id+"/recording" || attr(player[0], "preload") != "none" {
		t.Errorf("player: %v", player)
	}
	if link := a.named("a", "Tải bản ghi âm về máy"); link == nil || attr(link, "href") != "/api/v1/sessions/"+id+"/recording?download=1" {
		t.Error("no download")
	}
	for _, want := range []string{"Dài 01:05, 507 kB", "Bản ghi thiếu 3,2 giây", "2/6", "Người phát dừng", "Micrô", "06:30:01 25/11/2026"} {
		if !strings.Contains(a.body, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	for heading, want := range map[string]string{
		"Loa đã nghe": "Loa đình | Xã Tiên Lãng | 06:30:02 | 06:31:02 | 100 %\n" + hostile + " | Thôn Đông | 06:30:02 | 06:31:02 | 99,9 %",
		"Loa không nghe": "Loa chợ | Xã Vĩnh Bảo | mất kết nối | 05:30 25/11/2026\n" +
			"Loa trường | " + hostile + " | đang phát buổi khác | chưa thấy lần nào",
	} {
		if got := strings.Join(a.rows(heading), "\n"); got != want {
			t.Errorf("%s\n%s\nwant\n%s", heading, got, want)
		}
	}
	// An official of the second commune may see a broadcast to the province, and loudspeakers of the commune alone.
	if a := r.signedIn("xa").get("/sessions/" + id); a.status != http.StatusOK || len(a.rows("Loa đã nghe")) != 0 || len(a.rows("Loa không nghe")) != 2 {
		t.Errorf("the commune's official: %d, %q, %q", a.status, a.rows("Loa đã nghe"), a.rows("Loa không nghe"))
	}
	other := r.add("", "source_lost", 2, "31/11296")
	if a := r.signedIn("xa").get("/sessions/" + other); a.status != http.StatusNotFound {
		t.Errorf("a broadcast of another commune = %d, want 404", a.status)
	}
	if a := v.get("/sessions/" + other); !strings.Contains(a.body, "không có bản ghi âm") || !strings.Contains(a.body, "Không có số liệu từng loa") || len(a.all("audio", nil)) > 0 {
		t.Errorf("a broadcast without a recording: %s", a.body)
	}
	if err := r.store.RemoveRecording(t.Context(), id, at); err != nil {
		t.Fatal(err)
	}
	if a := v.get("/sessions/" + id); !strings.Contains(a.body, "đã được xoá ngày 25/11/2026") || len(a.all("audio", nil)) > 0 {
		t.Error("a removed recording is not told")
	}
	for _, bad := range []string{"nope", "..%2f..%2fx", store.NewID(), "%00", strings.ToUpper(id)} {
		if a := v.get("/sessions/" + bad); a.status != http.StatusNotFound {
			t.Errorf("GET /sessions/%s = %d, want 404", bad, a.status)
		}
	}
	if a := r.visitor().get("/sessions/" + id); a.status != http.StatusSeeOther || a.header.Get("Location") != "/login?next="+url.QueryEscape("/sessions/"+id) {
		t.Errorf("nobody: %d %s", a.status, a.header.Get("Location"))
	}
	if a := v.post("/language", url.Values{"to": {"en"}, "next": {"/sessions/" + id}}); a.header.Get("Location") != "/sessions/"+id {
		t.Errorf("a change of language leads to %s", a.header.Get("Location"))
	}
	if a := v.get("/sessions/" + id); !strings.Contains(a.body, "Loudspeakers that did not hear") {
		t.Error("the page is not in English")
	}
}

// TestNotice: whoever is signed in is told on every page that nothing is recorded, and for what reason.
func TestNotice(t *testing.T) {
	r := newRig(t, false)
	v := r.signedIn("canbo")
	for trouble, want := range map[recording.Trouble]string{
		recording.TroubleDisk: "Ổ đĩa của máy chủ gần đầy", recording.TroubleFault: "không ghi âm được", recording.TroubleNone: "",
	} {
		r.wrong = trouble
		for _, path := range []string{"/live", "/sessions", "/nodes"} {
			a := v.get(path)
			told := strings.Contains(a.body, "gần đầy") || strings.Contains(a.body, "không ghi âm được")
			if told != (want != "") || !strings.Contains(a.body, want) {
				t.Errorf("%s with trouble %q: told %v", path, trouble, told)
			}
		}
	}
	r.wrong = recording.TroubleDisk
	if a := r.visitor().get("/login"); strings.Contains(a.body, "gần đầy") {
		t.Error("whoever is not signed in is told of the disk")
	}
}
