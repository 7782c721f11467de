package console_test

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	"golang.org/x/net/html"

	"dongthanh/internal/zone"
	"dongthanh/streamer/internal/accounts"
	"dongthanh/streamer/internal/console"
	"dongthanh/streamer/internal/recording"
	"dongthanh/streamer/internal/store"
	"dongthanh/streamer/internal/webcert"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	password = "bốn con trâu đỏ"
	// hostile is a name that would run a script wherever it is not escaped.
	hostile = `Xã "><script>alert(1)</script>' onclick=x & {{.}}`
)

// rig is a console over a real store, with one official of each kind.
type rig struct {
	t      *testing.T
	store  *store.Store
	certs  *webcert.Keeper
	wrong  recording.Trouble
	heard  map[string][]store.Listener // by session on air
	server *httptest.Server
	plain  *httptest.Server // what plain http from other machines gets
}

// Heard tells of a session on air.
func (r *rig) Heard(session string) []store.Listener { return r.heard[session] }

// Trouble is that of the recordings.
func (r *rig) Trouble() recording.Trouble { return r.wrong }

func newRig(t *testing.T, secure bool) *rig {
	t.Helper()
	ctx := context.Background()
	st, err := store.Open(ctx, t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	people, err := accounts.New(accounts.Options{Records: st, Now: time.Now, Cost: accounts.Cost{MemoryKiB: 64, Passes: 1, Lanes: 1}})
	if err != nil {
		t.Fatal(err)
	}
	zones := []store.Zone{
		{Code: "31", Name: "Thành phố Hải Phòng"},
		{Code: "31/11296", Name: "Xã Tiên Lãng"}, {Code: "31/11296/01", Name: "Thôn Đông"},
		{Code: "31/11407", Name: "Xã Vĩnh Bảo"}, {Code: "31/11407/01", Name: hostile},
	}
	if _, _, err := st.UpsertZones(ctx, zones, time.Now()); err != nil {
		t.Fatal(err)
	}
	for name, p := range map[string]accounts.Person{
		"canbo": {Role: accounts.Officer, Zone: "31"}, "xa": {Role: accounts.Officer, Zone: "31/11407"},
		"quantri": {Role: accounts.Admin}, "kythuat": {Role: accounts.Technician, Zone: "31"},
	} {
		p.Name, p.Password = name, password
		if _, err := people.AddUser(ctx, p); err != nil {
			t.Fatal(err)
		}
	}
	r := &rig{t: t, store: st}
	r.certs, err = webcert.Open(webcert.Options{Dir: t.TempDir(), Now: time.Now, Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	handler := console.New(console.Options{Accounts: people, Store: st, Recorder: r, Nodes: r, Trust: r.certs, Version: "v1.2.3", Log: slog.New(slog.DiscardHandler)})
	if secure {
		r.server = httptest.NewTLSServer(handler)
	} else {
		r.server = httptest.NewServer(handler)
	}
	r.plain = httptest.NewServer(handler.Plain())
	t.Cleanup(func() {
		r.plain.Close()
		r.server.Close()
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// visitor is a browser: it keeps cookies and follows no redirect, so that a test sees it.
type visitor struct {
	*rig
	client *http.Client
}

func (r *rig) visitor() *visitor {
	jar, err := cookiejar.New(nil)
	if err != nil {
		r.t.Fatal(err)
	}
	client := *r.server.Client()
	client.Jar = jar
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &visitor{rig: r, client: &client}
}

// signedIn is a visitor who has signed in.
func (r *rig) signedIn(name string) *visitor {
	r.t.Helper()
	v := r.visitor()
	if a := v.post("/login", url.Values{"username": {name}, "password": {password}}); a.status != http.StatusSeeOther {
		r.t.Fatalf("sign in as %s = %d, want 303", name, a.status)
	}
	return v
}

// answer is a response, read and parsed.
type answer struct {
	t      *testing.T
	status int
	header http.Header
	body   string
	doc    *html.Node
}

func (v *visitor) get(path string) answer {
	v.t.Helper()
	resp, err := v.client.Get(v.server.URL + path)
	return v.read(resp, err)
}

func (v *visitor) post(path string, form url.Values) answer {
	v.t.Helper()
	resp, err := v.client.PostForm(v.server.URL+path, form)
	return v.read(resp, err)
}

func (v *visitor) read(resp *http.Response, err error) answer {
	v.t.Helper()
	if err != nil {
		v.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		v.t.Fatal(err)
	}
	doc, err := html.Parse(strings.NewReader(string(b)))
	if err != nil {
		v.t.Fatal(err)
	}
	return answer{v.t, resp.StatusCode, resp.Header, string(b), doc}
}

// all returns the elements with a tag for which keep is true; keep may be nil.
func (a answer) all(tag string, keep func(*html.Node) bool) (found []*html.Node) {
	for n := range a.doc.Descendants() {
		if n.Type == html.ElementNode && n.Data == tag && (keep == nil || keep(n)) {
			found = append(found, n)
		}
	}
	return found
}

// byID returns the element with an id, nil if there is none.
func (a answer) byID(id string) *html.Node {
	for n := range a.doc.Descendants() {
		if attr(n, "id") == id {
			return n
		}
	}
	return nil
}

func attr(n *html.Node, key string) string {
	v, _ := attribute(n, key)
	return v
}

func attribute(n *html.Node, key string) (string, bool) {
	if n != nil {
		for _, a := range n.Attr {
			if a.Key == key {
				return a.Val, true
			}
		}
	}
	return "", false
}

// text is what an element says.
func text(n *html.Node) string {
	if n == nil {
		return ""
	}
	var b strings.Builder
	for d := range n.Descendants() {
		if d.Type == html.TextNode {
			b.WriteString(d.Data)
		}
	}
	return strings.TrimSpace(b.String())
}

// name is the accessible name of a field: its aria-label, or the text of the label that names or holds it.
func (a answer) name(field *html.Node) string {
	if l := attr(field, "aria-label"); l != "" {
		return l
	}
	for n := field.Parent; n != nil; n = n.Parent {
		if n.Data == "label" {
			return text(n)
		}
	}
	for _, l := range a.all("label", nil) {
		if id := attr(field, "id"); id != "" && attr(l, "for") == id {
			return text(l)
		}
	}
	return text(field)
}

// named returns the one element with a tag and an accessible name, nil if there is none or more than one.
func (a answer) named(tag, name string) *html.Node {
	found := a.all(tag, func(n *html.Node) bool { return a.name(n) == name })
	if len(found) != 1 {
		return nil
	}
	return found[0]
}

// alert is the text of the element that tells what went wrong.
func (a answer) alert() string {
	for n := range a.doc.Descendants() {
		if attr(n, "role") == "alert" && attr(n, "id") == "refused" {
			return text(n)
		}
	}
	return ""
}

// add stores a session that is over.
func (r *rig) add(title, reason string, heard int, zones ...zone.Zone) string {
	r.t.Helper()
	ctx := context.Background()
	u, err := r.store.UserByName(ctx, "canbo")
	if err != nil {
		r.t.Fatal(err)
	}
	began := time.Date(2026, 11, 24, 23, 30, 0, 0, time.UTC)
	x, _, err := r.store.CreateSession(ctx, store.Session{
		ID: store.NewID(), Title: title, Zones: zones, Class: "normal", Kind: "live", SourceKind: "browser", Delay: "auto",
		CreatedBy: u.ID, Created: began,
	}, nil)
	if err == nil {
		err = r.store.SetLive(ctx, x.ID, began.Add(time.Second))
	}
	if err == nil {
		err = r.store.RecordListeners(ctx, x.ID, 6, heard)
	}
	if err == nil {
		err = r.store.EndSession(ctx, x.ID, store.SessionEnded, began.Add(66*time.Second), u.ID, reason)
	}
	if err != nil {
		r.t.Fatal(err)
	}
	return x.ID
}
