package console_test

import (
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"dongthanh/internal/zone"
)

// pagesOfAll are the pages of who is signed in.
var pagesOfAll = []string{"/live", "/nodes", "/sessions"}

func TestWhoIsNotSignedInIsSentToLogin(t *testing.T) {
	v := newRig(t, false).visitor()
	for path, want := range map[string]string{
		"/": "/login", "/live": "/login", "/nodes": "/login?next=%2Fnodes", "/sessions": "/login?next=%2Fsessions",
	} {
		a := v.get(path)
		if a.status != http.StatusSeeOther || a.header.Get("Location") != want {
			t.Errorf("GET %s = %d to %q, want 303 to %q", path, a.status, a.header.Get("Location"), want)
		}
		if got := a.header.Get("Cache-Control"); got != "no-store" {
			t.Errorf("GET %s: Cache-Control %q, want no-store: a browser must not remember it after the login", path, got)
		}
	}
}

func TestLoginPageNames(t *testing.T) {
	a := newRig(t, false).visitor().get("/login")
	if a.status != http.StatusOK || a.header.Get("Content-Type") != "text/html; charset=utf-8" {
		t.Fatalf("GET /login = %d %q", a.status, a.header.Get("Content-Type"))
	}
	for _, c := range []struct{ tag, name, attribute, want string }{
		{"input", "Tên đăng nhập", "name", "username"},
		{"input", "Mật khẩu", "type", "password"},
		{"button", "Đăng nhập", "type", ""},
	} {
		n := a.named(c.tag, c.name)
		if n == nil {
			t.Errorf("the login page has not exactly one <%s> named %q", c.tag, c.name)
		} else if got := attr(n, c.attribute); got != c.want {
			t.Errorf("%q has %s=%q, want %q", c.name, c.attribute, got, c.want)
		}
	}
	if scripts := a.all("script", nil); len(scripts) != 0 {
		t.Errorf("the login page has %d scripts, want none: it must work without", len(scripts))
	}
}

func TestSignIn(t *testing.T) {
	for _, c := range []struct {
		name, user, password, next string
		status                     int
		to, alert                  string
	}{
		{"right", "canbo", password, "", 303, "/live", ""},
		{"to the page asked for", "canbo", password, "/nodes", 303, "/nodes", ""},
		{"to another site", "canbo", password, "//evil.example", 303, "/live", ""},
		{"to another site, in full", "canbo", password, "https://evil.example/live", 303, "/live", ""},
		{"to what is no page", "canbo", password, "/api/v1/me", 303, "/live", ""},
		{"wrong password", "canbo", "sai", "", 401, "", "không đúng"},
		{"unknown name", hostile, password, "", 401, "", "không đúng"},
		{"nothing", "", "", "", 401, "", "không đúng"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, false)
			v := r.visitor()
			a := v.post("/login", url.Values{"username": {c.user}, "password": {c.password}, "next": {c.next}})
			if a.status != c.status || a.header.Get("Location") != c.to {
				t.Errorf("POST /login = %d to %q, want %d to %q", a.status, a.header.Get("Location"), c.status, c.to)
			}
			if got := a.alert(); !strings.Contains(got, c.alert) || (got == "") != (c.alert == "") {
				t.Errorf("alert %q, want one with %q", got, c.alert)
			}
			if c.status != 401 {
				return
			}
			if got := attr(a.byID("username"), "value"); got != c.user {
				t.Errorf("name typed before is shown as %q, want %q", got, c.user)
			}
			if strings.Contains(a.body, "<script>") {
				t.Error("the name typed before is not escaped")
			}
			if a := v.get("/live"); a.status != http.StatusSeeOther {
				t.Errorf("GET /live after a refused sign-in = %d, want 303", a.status)
			}
		})
	}
}

func TestLoginCookie(t *testing.T) {
	for _, secure := range []bool{false, true} {
		a := newRig(t, secure).visitor().post("/login", url.Values{"username": {"canbo"}, "password": {password}})
		resp := http.Response{Header: a.header}
		cookies := resp.Cookies()
		if len(cookies) != 1 {
			t.Fatalf("secure %v: %d cookies, want 1", secure, len(cookies))
		}
		c := cookies[0]
		name := map[bool]string{true: "__Host-dongthanh", false: "dongthanh"}[secure]
		if c.Name != name || !c.HttpOnly || c.Secure != secure || c.SameSite != http.SameSiteStrictMode || c.Path != "/" {
			t.Errorf("secure %v: cookie %v", secure, c)
		}
	}
}

func TestThrottle(t *testing.T) {
	v := newRig(t, false).visitor()
	for i := range 12 {
		a := v.post("/login", url.Values{"username": {"canbo"}, "password": {"sai"}})
		if a.status == http.StatusTooManyRequests {
			if !regexp.MustCompile(`sau \d+ giây`).MatchString(a.alert()) || a.header.Get("Retry-After") == "" {
				t.Errorf("throttled with alert %q and Retry-After %q", a.alert(), a.header.Get("Retry-After"))
			}
			return
		}
		if a.status != http.StatusUnauthorized {
			t.Fatalf("attempt %d = %d, want 401", i+1, a.status)
		}
	}
	t.Error("12 wrong passwords were not throttled")
}

func TestSignOut(t *testing.T) {
	v := newRig(t, false).signedIn("canbo")
	if a := v.get("/login"); a.status != http.StatusSeeOther || a.header.Get("Location") != "/live" {
		t.Errorf("GET /login when signed in = %d to %q, want 303 to /live", a.status, a.header.Get("Location"))
	}
	u, err := url.Parse(v.server.URL)
	if err != nil {
		t.Fatal(err)
	}
	before := v.client.Jar.Cookies(u)
	if a := v.post("/logout", nil); a.status != http.StatusSeeOther || a.header.Get("Location") != "/login" {
		t.Errorf("POST /logout = %d to %q, want 303 to /login", a.status, a.header.Get("Location"))
	}
	v.client.Jar.SetCookies(u, before) // a copy of the cookie is worth nothing either
	if a := v.get("/live"); a.status != http.StatusSeeOther {
		t.Errorf("GET /live with the cookie of an ended login = %d, want 303", a.status)
	}
	if a := v.get("/logout"); a.status != http.StatusNotFound {
		t.Errorf("GET /logout = %d, want 404: a picture on another site must not sign people out", a.status)
	}
}

func TestSignInEndsTheLoginBefore(t *testing.T) {
	v := newRig(t, false).signedIn("canbo")
	u, err := url.Parse(v.server.URL)
	if err != nil {
		t.Fatal(err)
	}
	before := v.client.Jar.Cookies(u)
	v.post("/login", url.Values{"username": {"canbo"}, "password": {password}})
	v.client.Jar.SetCookies(u, before)
	if a := v.get("/live"); a.status != http.StatusSeeOther {
		t.Errorf("GET /live with the cookie before = %d, want 303", a.status)
	}
}

func TestLivePage(t *testing.T) {
	a := newRig(t, false).signedIn("canbo").get("/live")
	if a.status != http.StatusOK || a.header.Get("Cache-Control") != "no-store" {
		t.Fatalf("GET /live = %d, Cache-Control %q", a.status, a.header.Get("Cache-Control"))
	}
	for code, name := range map[string]string{
		"31": "Thành phố Hải Phòng", "31/11296": "Xã Tiên Lãng", "31/11296/01": "Thôn Đông", "31/11407": "Xã Vĩnh Bảo", "31/11407/01": hostile,
	} {
		n := a.named("input", name)
		if n == nil || attr(n, "type") != "checkbox" || attr(n, "value") != code {
			t.Errorf("no one check box named %q with value %q", name, code)
			continue
		}
		for up := n.Parent; up != nil; up = up.Parent {
			if _, hidden := attribute(up, "hidden"); hidden {
				t.Errorf("the box of %q lies in something hidden", name)
			}
		}
	}
	for _, name := range []string{"Phát trực tiếp", "Dừng phát", "Thử micrô"} {
		if a.named("button", name) == nil {
			t.Errorf("not exactly one button named %q", name)
		}
	}
	var status []*html.Node
	for n := range a.doc.Descendants() {
		if attr(n, "role") == "status" {
			status = append(status, n)
		}
	}
	if len(status) != 1 || text(status[0]) != "Chưa phát" {
		t.Errorf("%d elements with role status, the first reads %q; want one that reads Chưa phát", len(status), text(status[0]))
	}
	if n := a.byID("own"); n == nil || attr(n, "aria-labelledby") != "own-title" || text(a.byID("own-title")) != "Buổi phát của bạn" {
		t.Error("no region for the official's own broadcasts")
	} else if _, hidden := attribute(n, "hidden"); !hidden {
		t.Error("the region for the official's own broadcasts shows although there is none")
	}
	if n := a.byID("air-device"); n == nil || n.Data != "select" || a.name(n) != "Chọn micrô" {
		t.Error("no choice of another microphone on air")
	}
	if n := a.named("input", "Khử tiếng ồn"); n == nil {
		t.Error("no check box for noise suppression")
	} else if _, on := attribute(n, "checked"); on {
		t.Error("noise suppression is on without being asked for")
	}
}

// TestLivePageOffersEverySource: the microphone is chosen, and what the others need is there under its name.
func TestLivePageOffersEverySource(t *testing.T) {
	v := newRig(t, false).signedIn("canbo")
	for language, names := range map[string][3]string{
		"vi": {"Micrô", "Đọc văn bản", "Tệp âm thanh"}, "en": {"Microphone", "Read a text aloud", "Sound file"},
	} {
		v.post("/language", url.Values{"to": {language}})
		a := v.get("/live")
		for i, kind := range []string{"browser", "tts", "file"} {
			n := a.named("input", names[i])
			if n == nil || attr(n, "type") != "radio" || attr(n, "name") != "source" || attr(n, "value") != kind {
				t.Errorf("%s: no one choice named %q of the source %s", language, names[i], kind)
			}
			if _, on := attribute(n, "checked"); on != (kind == "browser") {
				t.Errorf("%s: the source %s is chosen: %t", language, kind, on)
			}
			for _, box := range a.all("div", func(n *html.Node) bool { return attr(n, "data-source") == kind }) {
				if _, hidden := attribute(box, "hidden"); hidden != (kind != "browser") {
					t.Errorf("%s: the fields of %s are hidden: %t", language, kind, hidden)
				}
			}
		}
		if n := a.byID("text"); n == nil || a.name(n) == "" || attr(n, "maxlength") != "10000" {
			t.Errorf("%s: no box for the text, named and bounded as the server bounds it", language)
		}
		if n := a.byID("file"); a.name(n) == "" || attr(n, "data-most") != "209715200" {
			t.Errorf("%s: no choice of a file, named and bounded as the server bounds it", language)
		}
	}
}

func TestLivePageOfEachRole(t *testing.T) {
	r := newRig(t, false)
	for _, c := range []struct {
		user   string
		speaks bool
		stops  string
		boxes  []string
	}{
		{"canbo", true, "true", []string{"31", "31/11296", "31/11296/01", "31/11407", "31/11407/01"}},
		{"xa", true, "true", []string{"31/11407", "31/11407/01"}},
		{"quantri", false, "true", []string{"31", "31/11296", "31/11296/01", "31/11407", "31/11407/01"}},
		{"kythuat", false, "false", []string{"31", "31/11296", "31/11296/01", "31/11407", "31/11407/01"}},
	} {
		a := r.signedIn(c.user).get("/live")
		if got := a.named("button", "Phát trực tiếp") != nil; got != c.speaks {
			t.Errorf("%s: button to go live = %v, want %v", c.user, got, c.speaks)
		}
		if got := attr(a.byID("stage"), "data-may-stop"); got != c.stops {
			t.Errorf("%s: may stop = %q, want %q", c.user, got, c.stops)
		}
		var boxes []string
		for _, n := range a.all("input", func(n *html.Node) bool { return attr(n, "name") == "zone" }) {
			boxes = append(boxes, attr(n, "value"))
		}
		if !slices.Equal(boxes, c.boxes) {
			t.Errorf("%s: zones %q, want %q", c.user, boxes, c.boxes)
		}
	}
}

// TestPagesKeepToThePolicy holds pages to web's Content-Security-Policy, which allows no script and no style within a
// page: a browser would leave them out without a word to the official.
func TestPagesKeepToThePolicy(t *testing.T) {
	r := newRig(t, false)
	r.add(hostile, "stop", 3, "31/11407/01")
	v := r.signedIn("canbo")
	pages := map[string]answer{"/login": r.visitor().get("/login"), "/none": v.get("/none")}
	for _, path := range pagesOfAll {
		pages[path] = v.get(path)
	}
	for path, a := range pages {
		for n := range a.doc.Descendants() {
			if n.Type != html.ElementNode {
				continue
			}
			kind, typed := attribute(n, "type")
			if n.Data == "script" && attr(n, "src") == "" && (!typed || kind != "application/json") {
				t.Errorf("%s has a script within the page: %q", path, text(n))
			}
			if n.Data == "style" {
				t.Errorf("%s has a style within the page", path)
			}
			for _, at := range n.Attr {
				if at.Key == "style" || strings.HasPrefix(at.Key, "on") {
					t.Errorf("%s: <%s> has the attribute %s", path, n.Data, at.Key)
				}
				if (at.Key == "src" || at.Key == "href") && !strings.HasPrefix(at.Val, "/") && !strings.HasPrefix(at.Val, "#") {
					t.Errorf("%s: <%s> leads to %q, want a path of this server", path, n.Data, at.Val)
				}
			}
		}
	}
}

// TestPagesAreWhole holds every page, in both languages, to what assistive programs need.
func TestPagesAreWhole(t *testing.T) {
	r := newRig(t, false)
	r.add("Họp thôn", "source_lost", 3, "31/11296")
	v := r.signedIn("canbo")
	key := regexp.MustCompile(`\b(common|login|fault|live|zone|mic|air|end|trouble|problem|node|nodes|sessions)\.[a-z_]+\b`)
	for _, language := range []string{"vi", "en"} {
		v.post("/language", url.Values{"to": {language}})
		for _, path := range append(pagesOfAll, "/none") {
			a := v.get(path)
			if got := attr(a.all("html", nil)[0], "lang"); got != language {
				t.Errorf("%s: lang %q, want %q", path, got, language)
			}
			if n := len(a.all("h1", nil)); n != 1 {
				t.Errorf("%s: %d headings of the first level, want 1", path, n)
			}
			if n := len(a.all("main", nil)); n != 1 {
				t.Errorf("%s: %d <main>, want 1", path, n)
			}
			for _, tag := range []string{"input", "select", "button", "a"} {
				for _, n := range a.all(tag, func(n *html.Node) bool { return attr(n, "type") != "hidden" }) {
					if a.name(n) == "" {
						t.Errorf("%s (%s): <%s id=%q> has no name", path, language, tag, attr(n, "id"))
					}
				}
			}
			ids := map[string]bool{}
			for n := range a.doc.Descendants() {
				if id := attr(n, "id"); id != "" && ids[id] {
					t.Errorf("%s: two elements with id %q", path, id)
				} else {
					ids[id] = true
				}
				if n.Type == html.TextNode && n.Parent.Data != "script" && key.MatchString(n.Data) {
					t.Errorf("%s (%s): a key instead of a text: %q", path, language, strings.TrimSpace(n.Data))
				}
			}
		}
	}
}

func TestLanguageIsRemembered(t *testing.T) {
	r := newRig(t, false)
	v := r.visitor()
	if a := v.post("/language", url.Values{"to": {"en"}, "next": {"/nodes"}}); a.header.Get("Location") != "/nodes" {
		t.Errorf("POST /language leads to %q, want /nodes", a.header.Get("Location"))
	}
	if a := v.get("/login"); a.named("button", "Sign in") == nil {
		t.Error("no button named Sign in")
	}
	if a := v.post("/login", url.Values{"username": {"canbo"}, "password": {"sai"}}); !strings.Contains(a.alert(), "Wrong user name") {
		t.Errorf("alert %q, want it in English", a.alert())
	}
	v.post("/language", url.Values{"to": {"xx"}, "next": {"https://evil.example"}})
	if a := v.get("/login"); a.named("button", "Đăng nhập") == nil {
		t.Error("an unknown language does not fall back on Vietnamese")
	}
	resp := http.Response{Header: v.get("/login").header}
	if len(resp.Cookies()) != 0 {
		t.Error("merely looking at a page sets a cookie")
	}
}

func TestSessionsPage(t *testing.T) {
	r := newRig(t, false)
	r.add(hostile, "stop", 3, "31/11407/01")
	r.add("", "source_lost", 2, "31/11296")
	r.add("Bão", "what_nobody_knows", 0, "31/11296/01", "31/11407")
	a := r.signedIn("canbo").get("/sessions")
	var rows []string
	for _, n := range a.all("tr", func(n *html.Node) bool { return n.Parent.Data == "tbody" }) {
		var cells []string
		for c := range n.ChildNodes() {
			if c.Type == html.ElementNode {
				cells = append(cells, strings.Join(strings.Fields(text(c)), " "))
			}
		}
		rows = append(rows, strings.Join(cells, " | "))
	}
	want := []string{ // 23:30:01 in London is the next morning here
		"06:30 25/11/2026 | Bão | Thôn Đông, Xã Vĩnh Bảo | canbo | 01:05 | 0/6 | Buổi phát đã kết thúc.",
		"06:30 25/11/2026 | Không có tiêu đề | Xã Tiên Lãng | canbo | 01:05 | 2/6 | Buổi phát kết thúc vì mất tín hiệu micrô.",
		"06:30 25/11/2026 | " + hostile + " | " + hostile + " | canbo | 01:05 | 3/6 | Người phát dừng",
	}
	if !slices.Equal(rows, want) {
		t.Errorf("rows\n%s\nwant\n%s", strings.Join(rows, "\n"), strings.Join(want, "\n"))
	}
	r.add("Toàn thành phố", "stop", 6, "31")
	if a := r.signedIn("xa").get("/sessions"); !strings.Contains(a.body, "Toàn thành phố") {
		t.Error("an official of a commune is not shown what sounded there from above")
	}
	if a := r.signedIn("xa").get("/sessions"); strings.Contains(a.body, "Tiên Lãng") {
		t.Error("an official of one commune is shown the sessions of another")
	}
}

func TestSessionsPaging(t *testing.T) {
	r := newRig(t, false)
	for i := range 130 {
		z := zone.Zone("31/11296")
		if i%2 == 0 {
			z = "31/11407"
		}
		r.add("", "stop", 1, z)
	}
	v, path, seen := r.signedIn("xa"), "/sessions", 0
	for page := 1; path != ""; page++ {
		if page > 5 {
			t.Fatal("the pages do not end")
		}
		a := v.get(path)
		seen += len(a.all("tr", func(n *html.Node) bool { return n.Parent.Data == "tbody" }))
		path = ""
		for _, n := range a.all("a", func(n *html.Node) bool { return text(n) == "Các buổi cũ hơn" }) {
			path = attr(n, "href")
		}
	}
	if seen != 65 {
		t.Errorf("%d sessions on all pages, want 65", seen)
	}
}

func TestAssets(t *testing.T) {
	v := newRig(t, false).signedIn("canbo")
	a := v.get("/live")
	script := attr(a.all("script", func(n *html.Node) bool { return attr(n, "src") != "" })[0], "src")
	style := attr(a.all("link", func(n *html.Node) bool { return attr(n, "rel") == "stylesheet" })[0], "href")
	icon := attr(a.all("link", func(n *html.Node) bool { return attr(n, "rel") == "icon" })[0], "href")
	for path, kind := range map[string]string{script: "text/javascript; charset=utf-8", style: "text/css; charset=utf-8", icon: "image/svg+xml"} {
		a := v.get(path)
		if a.status != http.StatusOK || a.header.Get("Content-Type") != kind || !strings.Contains(a.header.Get("Cache-Control"), "immutable") {
			t.Errorf("GET %s = %d %q %q", path, a.status, a.header.Get("Content-Type"), a.header.Get("Cache-Control"))
		}
	}
	if a := v.get("/assets/000000000000/live.js"); a.status != http.StatusOK || a.header.Get("Cache-Control") != "no-cache" {
		t.Errorf("an older page's script = %d %q, want 200 no-cache", a.status, a.header.Get("Cache-Control"))
	}
	for _, path := range []string{"/assets/", "/assets/none.js", "/assets/a/b/live.js", strings.TrimSuffix(script, "live.js")} {
		if a := v.get(path); a.status != http.StatusNotFound {
			t.Errorf("GET %s = %d, want 404", path, a.status)
		}
	}
}

func TestUnknownPage(t *testing.T) {
	if a := newRig(t, false).signedIn("canbo").get("/none"); a.status != http.StatusNotFound || a.named("a", "Nhật ký phát") == nil {
		t.Errorf("an unknown page = %d, and it has not the pages to choose from that it speaks of", a.status)
	}
	a := newRig(t, false).visitor().get("/<script>alert(1)</script>")
	if a.status != http.StatusNotFound || text(a.all("h1", nil)[0]) != "Không có trang này" || strings.Contains(a.body, "alert(1)") {
		t.Errorf("an unknown page = %d %q", a.status, text(a.all("h1", nil)[0]))
	}
}
