package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"dongthanh/codec"
	"dongthanh/internal/cluster"
	"dongthanh/internal/control"
	"dongthanh/internal/identity"
	"dongthanh/internal/mediaclock"
	"dongthanh/internal/signed"
	"dongthanh/internal/testkit"
	"dongthanh/internal/zone"
	"dongthanh/streamer/internal/accounts"
	"dongthanh/streamer/internal/ingest"
	"dongthanh/streamer/internal/issuer"
	"dongthanh/streamer/internal/library"
	"dongthanh/streamer/internal/nodes"
	"dongthanh/streamer/internal/radio"
	"dongthanh/streamer/internal/recording"
	"dongthanh/streamer/internal/session"
	"dongthanh/streamer/internal/speech"
	"dongthanh/streamer/internal/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	password = "bốn con trâu đỏ"
	// limit is how long a test waits for something that comes soon.
	limit = 20 * time.Second
)

// bed is the API over everything real: database, issuer, accounts, library, fan-out, picture, sessions, microphones.
type bed struct {
	t        *testing.T
	store    *store.Store
	issuer   *issuer.Issuer
	accounts *accounts.Accounts
	picture  *nodes.Picture
	sessions *session.Manager
	mics     *ingest.Microphones
	lines    *ingest.Lines
	recorder *recording.Recorder
	server   *httptest.Server
	ahead    atomic.Int64 // by how much the accounts' clock is ahead
	log      testkit.Journal
}

// newBed has the communes 31/11296 and 31/11407 of province 31, and these people: lan and minh are officers of the first
// and of the second commune, tinh of the province; ha audits, bien edits, duyet approves and tho tends the nodes of the
// first, an administers the country.
func newBed(t *testing.T) *bed {
	t.Helper()
	t.Parallel()
	b := &bed{t: t}
	ctx, cancel := context.WithCancel(context.Background())
	dir := t.TempDir()
	log := slog.New(slog.NewTextHandler(&b.log, nil))
	reg := prometheus.NewRegistry()
	var err error
	b.store, err = store.Open(ctx, dir, nil)
	b.must(err)
	_, _, err = b.store.UpsertZones(ctx, []store.Zone{
		{Code: "31", Name: "Hải Phòng"}, {Code: "31/11296", Name: "Xã Vĩnh Bảo"}, {Code: "31/11296/02", Name: "Thôn Đông"},
		{Code: "31/11407", Name: "Xã Tiên Lãng"}, {Code: "33", Name: "Hưng Yên"},
	}, time.Now())
	b.must(err)
	b.issuer, err = issuer.Open(ctx, issuer.Options{Dir: filepath.Join(dir, "keys"), Store: b.store, MaxClass: signed.ClassEmergency, Log: log})
	b.must(err)
	b.accounts, err = accounts.New(accounts.Options{
		Records: b.store, Cost: accounts.Cost{MemoryKiB: 64, Passes: 1, Lanes: 1},
		Now: func() time.Time { return time.Now().Add(time.Duration(b.ahead.Load())) },
	})
	b.must(err)
	for name, p := range map[string]accounts.Person{
		"lan": {Role: accounts.Officer, Zone: "31/11296"}, "minh": {Role: accounts.Officer, Zone: "31/11407"},
		"tinh": {Role: accounts.Officer, Zone: "31"}, "ha": {Role: accounts.Auditor, Zone: "31/11296"},
		"bien": {Role: accounts.Editor, Zone: "31/11296"}, "duyet": {Role: accounts.Approver, Zone: "31/11296"},
		"tho": {Role: accounts.Technician, Zone: "31/11296"}, "an": {Role: accounts.Admin},
	} {
		p.Name, p.Password = name, password
		_, err := b.accounts.AddUser(ctx, p)
		b.must(err)
	}
	lib, err := library.Open(dir, b.store, log)
	b.must(err)
	var hub *cluster.Hub
	b.picture, err = nodes.New(ctx, nodes.Options{
		Enrolled: b.store.Nodes, SetVolume: b.store.SetVolume, NoteSeen: b.store.NoteSeen, Enroller: b.issuer, Log: log,
		Deliver: func(k control.Keys) bool { return hub.Deliver(k) }, Certify: func(c control.Certificate) bool { return hub.Certify(c) }, Order: func(o control.Order) bool { return hub.Order(o) },
		Now: func() mediaclock.Instant { return mediaclock.At(time.Now()) },
	})
	b.must(err)
	now := func() mediaclock.Instant { return mediaclock.At(time.Now()) }
	hub, err = cluster.New(cluster.Options{
		Config: cluster.Config{Control: "127.0.0.1:0", Media: "127.0.0.1:0"}, Credentials: b.issuer.Credentials(),
		Path:  func() []string { return []string{"streamer"} },
		Clock: func() (mediaclock.Instant, uint32, bool) { return now(), 0, true }, Up: b.picture, Log: log, Registerer: reg,
	})
	b.must(err)
	b.must(hub.Bind(ctx))
	b.lines, err = ingest.NewLines(ingest.LineConfig{}, log, reg)
	b.must(err)
	b.recorder, err = recording.Open(ctx, recording.Options{
		Dir: dir, Config: recording.DefaultConfig(), Records: b.store, Log: log, Metrics: reg,
	})
	b.must(err)
	cfg := session.DefaultConfig()
	cfg.MicrophoneWait = time.Minute
	b.sessions, err = session.NewManager(ctx, session.Options{
		Config: cfg, Records: b.store, Issuer: b.issuer, Sink: hub, Audience: b.picture, Library: lib, Lines: b.lines, Speaker: speech.New(log), Radio: radio.New(radio.Config{Allow: []string{"127.0.0.1/32"}}, log), Now: now, Log: log,
		Recorder: b.recorder,
	})
	b.must(err)
	b.mics, err = ingest.NewMicrophones(ingest.Config{Listen: "127.0.0.1:0"}, log, reg)
	b.must(err)
	b.server = httptest.NewServer(New(b.options(lib, log)))
	var running sync.WaitGroup
	running.Go(func() { _ = hub.Run(ctx) })
	running.Go(func() { _ = b.picture.Run(ctx) })
	t.Cleanup(func() {
		b.server.CloseClientConnections() // event streams end
		b.server.Close()
		b.sessions.Close()
		cancel()
		running.Wait()
		if err := errors.Join(b.recorder.Close(), b.mics.Close(), b.lines.Close(), lib.Close(), b.store.Close()); err != nil {
			t.Error(err)
		}
	})
	return b
}

var testServers = ingest.Config{ICEServers: []ingest.ICEServer{
	{URL: "stun:stun.example.vn"}, {URL: "turn:turn.example.vn?transport=udp", Username: "u", Credential: `a"b`},
}}

func (b *bed) options(lib *library.Library, log *slog.Logger) Options {
	return Options{Accounts: b.accounts, Sessions: b.sessions, Nodes: b.picture, Registry: registry{b}, Store: b.store, Library: lib, Recordings: b.recorder, Microphones: b.mics, ICEServers: testServers.Links(), Log: log}
}

// registry changes nodes as the streamer does.
type registry struct{ *bed }

func (r registry) Move(ctx context.Context, id string, z zone.Zone, name string) (store.Node, error) {
	n, err := r.issuer.Move(ctx, id, z, name)
	return n, errors.Join(err, r.picture.Refresh(ctx))
}

func (r registry) Remove(ctx context.Context, id string) error {
	return errors.Join(r.issuer.Revoke(ctx, id), r.picture.Refresh(ctx))
}

func (r registry) AddToken(ctx context.Context, kind identity.Kind, name string, z zone.Zone, ttl time.Duration, by string) (text, id string, err error) {
	return r.issuer.AddToken(ctx, kind, name, z, ttl, by)
}

func (b *bed) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

// caller sends requests as somebody.
type caller struct {
	*bed
	headers []string // "Name: value"
}

// nobody has not signed in.
func (b *bed) nobody(headers ...string) caller { return caller{b, headers} }

// as signs a person in.
func (b *bed) as(name string) caller {
	b.t.Helper()
	a := b.nobody().do("POST", "/login", object{"username": name, "password": password})
	if a.status != http.StatusOK || len(a.cookies) != 1 {
		b.t.Fatalf("%s signs in: %d %s", name, a.status, a.raw)
	}
	return b.nobody("Cookie: " + a.cookies[0].Name + "=" + a.cookies[0].Value)
}

// machine is a machine with a new API token.
func (b *bed) machine(role accounts.Role, z zone.Zone) caller {
	b.t.Helper()
	secret, _, err := b.accounts.AddMachine(b.t.Context(), accounts.Machine{Name: "máy " + string(role), Role: role, Zone: z, By: "cli"})
	b.must(err)
	return b.nobody("Authorization: Bearer " + secret)
}

// answer is what the API answered.
type answer struct {
	t       *testing.T
	status  int
	header  http.Header
	cookies []*http.Cookie
	raw     string
	body    any // of JSON
}

// do sends body, as JSON unless it is a reader.
func (c caller) do(method, path string, body any) answer {
	c.t.Helper()
	var in io.Reader
	switch body := body.(type) {
	case nil:
	case io.Reader:
		in = body
	default:
		raw, err := json.Marshal(body)
		c.must(err)
		in = bytes.NewReader(raw)
	}
	r, err := http.NewRequestWithContext(c.t.Context(), method, c.server.URL+"/api/v1"+path, in)
	c.must(err)
	for _, h := range c.headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Set(name, value)
	}
	response, err := c.server.Client().Do(r)
	c.must(err)
	defer response.Body.Close()
	raw, err := io.ReadAll(response.Body)
	c.must(err)
	a := answer{t: c.t, status: response.StatusCode, header: response.Header, cookies: response.Cookies(), raw: string(raw)}
	if len(raw) > 0 && strings.Contains(response.Header.Get("Content-Type"), "json") {
		if err := json.Unmarshal(raw, &a.body); err != nil {
			c.t.Fatalf("%s %s answers no JSON: %s", method, path, raw)
		}
	}
	return a
}

func (c caller) get(path string) answer {
	c.t.Helper()
	return c.do("GET", path, nil)
}

// text is a field of the answer's object, "" where it is not there.
func (a answer) text(keys ...string) string { s, _ := at(a.body, keys...).(string); return s }

// refused checks that the answer is a problem document with that status and code, for an official to read.
func (a answer) refused(what string, status int, code string) {
	a.t.Helper()
	detail := a.text("detail")
	if a.status != status || a.text("code") != code {
		a.t.Errorf("%s: %d %s, want %d with code %s", what, a.status, a.raw, status, code)
		return
	}
	if a.header.Get("Content-Type") != "application/problem+json; charset=utf-8" || at(a.body, "status") != float64(status) || a.text("title") != http.StatusText(status) {
		a.t.Errorf("%s: no problem document: %s %s", what, a.header.Get("Content-Type"), a.raw)
	}
	if !strings.HasSuffix(detail, ".") && code != "malformed" || detail == "" || strings.ToLower(detail) == strings.ToUpper(detail) {
		a.t.Errorf("%s: detail %q is no sentence", what, detail)
	}
}

// ok checks the status of an answer and returns it.
func (a answer) ok(what string, status int) answer {
	a.t.Helper()
	if a.status != status {
		a.t.Fatalf("%s: %d %s, want %d", what, a.status, a.raw, status)
	}
	return a
}

// on is the body of POST /sessions for a browser in zones.
func on(zones ...string) object {
	return object{"zones": zones, "source": object{"kind": "browser"}}
}

// begin goes on air and returns the session's id.
func (c caller) begin(body object) string {
	c.t.Helper()
	return c.do("POST", "/sessions", body).ok("start", http.StatusCreated).text("id")
}

// tone is sample i of a tone of 0.3 of full scale.
func tone(i int) float32 { return float32(0.3 * math.Sin(2*math.Pi*997*float64(i)/codec.SampleRate)) }

// tone is a WAV file of so many seconds.
func (b *bed) tone(seconds float64) *bytes.Reader {
	b.t.Helper()
	f, err := os.CreateTemp(b.t.TempDir(), "*.wav")
	b.must(err)
	defer f.Close()
	w, err := codec.NewWAVWriter(f)
	b.must(err)
	pcm := make([]int16, int(seconds*codec.SampleRate))
	for i := range pcm {
		pcm[i] = int16(32767 * tone(i))
	}
	b.must(w.Write(pcm))
	b.must(w.Flush())
	raw, err := os.ReadFile(f.Name())
	b.must(err)
	return bytes.NewReader(raw)
}

// upload brings a tone into the library.
func (c caller) upload(seconds float64) string {
	c.t.Helper()
	return c.do("POST", "/audio?name=b%E1%BA%A3n+tin.wav", c.tone(seconds)).ok("upload", http.StatusCreated).text("id")
}

// until waits for the state of a session and returns the API's answer about it then.
func (c caller) until(id, state string) answer {
	c.t.Helper()
	changed, end := c.sessions.Watch()
	defer end()
	for deadline := time.After(limit); ; {
		a := c.get("/sessions/"+id).ok("session", http.StatusOK)
		if a.text("state") == state {
			return a
		}
		select {
		case <-changed:
		case <-deadline:
			c.t.Fatalf("session is %s, want %s", a.raw, state)
		}
	}
}

// enrol brings a node into the picture.
func (b *bed) enrol(kind identity.Kind, name string, z zone.Zone) *identity.Credentials {
	b.t.Helper()
	text, _, err := b.issuer.AddToken(b.t.Context(), kind, name, z, time.Hour, "cli")
	b.must(err)
	keys, err := identity.NewKeys()
	b.must(err)
	csr, err := keys.Request()
	b.must(err)
	response, err := b.picture.Enrol(b.t.Context(), control.EnrolRequest{Token: text, Kind: string(kind), CSR: csr})
	b.must(err)
	token, err := identity.ParseToken(text)
	b.must(err)
	c, err := token.Accept(keys, response.Chain, response.Roots, time.Now())
	b.must(err)
	for deadline := time.After(limit); ; {
		changed := b.picture.Changed()
		if _, ok := b.picture.Get(c.Node.ID); ok {
			return c
		}
		select {
		case <-changed:
		case <-deadline:
			b.t.Fatalf("%s is not in the picture", name)
		}
	}
}
