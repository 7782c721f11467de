package api

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"dongthanh/internal/identity"
	"dongthanh/internal/signed"
	"dongthanh/streamer/internal/accounts"
	"dongthanh/streamer/internal/ingest"
	"dongthanh/streamer/internal/session"
	"dongthanh/streamer/internal/store"
)

// TestSessionOfAFile follows what the API tells of a file from its start to its end (INTERFACES §4).
func TestSessionOfAFile(t *testing.T) {
	b := newBed(t)
	lan := b.as("lan")
	hears, missing := b.enrol(identity.Client, "Loa 1", "31/11296"), b.enrol(identity.Client, "Loa 2", "31/11296/02")
	b.enrol(identity.Client, "Loa 3", "31/11407")
	body := object{
		"zones": []string{"31/11296/02", "31/11296"}, "delay": "live", "title": "  Bản tin sáng ", "chime": true,
		"source": object{"kind": "file", "audio": lan.upload(2)},
	}
	begun := time.Now()
	a := lan.do("POST", "/sessions", body).ok("start", http.StatusCreated)
	id := a.text("id")
	if a.header.Get("Location") != "/api/v1/sessions/"+id || a.text("state") != "starting" || a.text("title") != "Bản tin sáng" || a.text("created_by") != "lan" {
		t.Errorf("start: %s, Location %s", a.raw, a.header.Get("Location"))
	}
	for key, want := range map[string]any{"priority": "normal", "delay": "live", "started_at": nil, "ended_at": nil, "ended_by": ""} {
		if got, there := a.body.(object)[key]; got != want || !there {
			t.Errorf("start: %s = %v, want %v", key, got, want)
		}
	}
	if z := at(a.body, "zones").([]any); len(z) != 1 || z[0] != "31/11296" {
		t.Errorf("zones = %v, want the one that holds both", z)
	}

	lan.until(id, "live")
	x, err := b.sessions.Get(t.Context(), id)
	b.must(err)
	raw, err := hears.SignReport(signed.Report{Version: 1, Node: hears.Node.ID, Number: 1, Transmission: x.Transmission, Hearing: true})
	b.must(err)
	b.picture.Reports([][]byte{raw})
	live := lan.get("/sessions/" + id)
	l := at(live.body, "listeners").(object)
	if keys := slices.Sorted(maps.Keys(l)); !slices.Equal(keys, []string{"expected", "hearing", "missing", "silent"}) {
		t.Errorf("listeners have %q", keys)
	}
	if m := l["missing"].([]any); l["expected"] != 2.0 || l["hearing"] != 1.0 || len(m) != 1 || m[0] != missing.Node.ID {
		t.Errorf("listeners = %v, want one of two, and %s missing", l, missing.Node.ID)
	}
	if s := l["silent"].([]any); len(s) != 1 || at(s[0], "node") != missing.Node.ID || at(s[0], "since") != nil {
		t.Errorf("silent = %v, want %s, which was never connected", s, missing.Node.ID)
	}
	if rms, ok := at(live.body, "level", "rms_dbfs").(float64); !ok || rms > 0 {
		t.Errorf("level on air = %v", at(live.body, "level"))
	}
	if n := lan.get("/nodes/" + hears.Node.ID); n.text("state") != "playing" || n.text("session") != id {
		t.Errorf("the loudspeaker that hears it: %s", n.raw)
	}
	started, err := time.Parse(time.RFC3339, live.text("started_at"))
	if err != nil || started.Before(begun) || started.After(time.Now()) || !strings.HasSuffix(live.text("started_at"), "Z") {
		t.Errorf("started_at = %q", live.text("started_at"))
	}

	ended := lan.until(id, "ended")
	at1, err := time.Parse(time.RFC3339, ended.text("ended_at"))
	if long := at1.Sub(begun); err != nil || long < 2400*time.Millisecond { // from the request: a busy machine notes the first packet late
		t.Errorf("from the request to the end %v, want 2 s and the delay of 400 ms at least", long)
	}
	if ended.text("ended_by") != "" || ended.text("end_reason") != "source_end" || at(ended.body, "level") != nil {
		t.Errorf("ended: %s", ended.raw)
	}
	if l := at(ended.body, "listeners").(object); l["expected"] != 2.0 || l["hearing"] != 1.0 || len(l["missing"].([]any)) != 0 {
		t.Errorf("listeners of the record = %v, want the most at once", l)
	}
}

func TestStop(t *testing.T) {
	b := newBed(t)
	lan, duyet := b.as("lan"), b.as("duyet")
	id := lan.begin(object{"zones": []string{"31/11296"}, "source": object{"kind": "file", "audio": lan.upload(30)}})
	lan.until(id, "live")
	for n, c := range []caller{duyet, lan} { // the second finds it stopped
		a := c.do("POST", "/sessions/"+id+"/stop", nil).ok("stop", http.StatusOK)
		if a.text("state") != "ended" || a.text("ended_by") != "duyet" || a.text("end_reason") != "stop" || a.text("ended_at") == "" {
			t.Errorf("stop %d: %s", n+1, a.raw)
		}
	}
	machine := b.machine(accounts.Officer, "31/11296")
	id = machine.begin(on("31/11296"))
	machine.do("POST", "/sessions/"+id+"/stop", nil).ok("stop", http.StatusOK)
	if a := lan.until(id, "ended"); a.text("created_by") != "máy officer" || a.text("ended_by") != "máy officer" {
		t.Errorf("a machine's session: %s", a.raw)
	}
}

func TestIdempotencyKey(t *testing.T) {
	b := newBed(t)
	lan := b.as("lan")
	keyed := func(c caller, key string) caller {
		return c.nobody(append(slices.Clone(c.headers), "Idempotency-Key: "+key)...)
	}
	id := keyed(lan, "k").begin(on("31/11296"))
	if again := keyed(lan, "k").begin(on("31/11296")); again != id {
		t.Errorf("the same request made %s and %s", id, again)
	}
	keyed(lan, "k").do("POST", "/sessions", on("31/11296/02")).refused("another request with the key", http.StatusConflict, "conflict")
	lan.do("POST", "/sessions", on("31/11296")).refused("the request without the key", http.StatusConflict, "busy")
	for range 2 {
		keyed(lan, "k2").do("POST", "/sessions", on("31/11296")).refused("another key", http.StatusConflict, "busy")
	}
	if other := keyed(b.as("minh"), "k").begin(on("31/11407")); other == id {
		t.Error("a key holds for two people")
	}
	keyed(lan, strings.Repeat("k", 256)).do("POST", "/sessions", on("31/11296")).refused("a long key", http.StatusBadRequest, "idempotency_key")
}

func TestNodeJSON(t *testing.T) {
	b := newBed(t)
	c := b.enrol(identity.Client, "Loa đình làng", "31/11296/02")
	lan := b.as("lan")
	a := lan.get("/nodes/"+c.Node.ID).ok("node", http.StatusOK)
	for key, want := range map[string]any{
		"id": c.Node.ID, "name": "Loa đình làng", "kind": "client", "zone": "31/11296/02", "state": "offline", "upstream": "", "version": "", "health": nil, "since": nil,
		"volume_db": 0.0, "applied_volume_db": nil,
	} {
		if got, there := a.body.(object)[key]; got != want || !there {
			t.Errorf("%s = %v, want %v", key, got, want)
		}
	}
	raw, err := c.SignReport(signed.Report{Version: 1, Node: c.Node.ID, Number: 1, Transmission: [16]byte{1}, Played: 50, Concealed: 2, RTTMicros: 2500, LossPermille: 15, ClockMicros: -300, ArrivalMS: 80})
	b.must(err)
	b.picture.Reports([][]byte{raw})
	a = lan.get("/nodes/" + c.Node.ID)
	for key, want := range map[string]float64{
		"frames_played": 50, "frames_concealed": 2, "rtt_seconds": 0.0025, "loss_ratio": 0.015, "clock_error_seconds": -0.0003, "arrival_seconds": 0.08,
	} {
		if got, _ := at(a.body, "health", key).(float64); got < want-1e-9 || got > want+1e-9 {
			t.Errorf("health.%s = %v, want %v", key, got, want)
		}
	}
}

// TestTranslate: each error of the packages below has its answer, wrapped or not; what nobody foresaw tells nothing.
func TestTranslate(t *testing.T) {
	for _, c := range []struct {
		err    error
		status int
		code   string
	}{
		{&session.BusyError{Session: store.Session{Title: "Bão"}}, 409, "busy"},
		{errors.Join(&session.BusyError{}, errors.New("disk")), 409, "busy"},
		{&accounts.Throttled{RetryAfter: 3 * time.Second}, 429, "too_many_attempts"},
		{accounts.ErrCredentials, 401, "credentials"},
		{accounts.ErrSignedOut, 401, "unauthenticated"},
		{accounts.ErrToken, 401, "unauthenticated"},
		{accounts.ErrBusy, 503, "overloaded"},
		{accounts.ErrPasswordShort, 422, "invalid"},
		{accounts.ErrNameTaken, 422, "invalid"},
		{accounts.ErrRole, 422, "invalid"},
		{&http.MaxBytesError{Limit: 64 << 10}, 413, "too_large"},
		{&http.MaxBytesError{Limit: 200 << 20}, 413, "too_large"},
		{ingest.ErrBadOffer, 400, "bad_offer"},
		{ingest.ErrTooMany, 503, "too_many_microphones"},
		{ingest.ErrClosed, 503, "closing"},
		{session.ErrZones, 422, "zones"}, {session.ErrSource, 422, "source"}, {session.ErrDelay, 422, "delay"},
		{session.ErrAudio, 422, "no_audio"}, {session.ErrOver, 409, "over"}, {session.ErrAttached, 409, "attached"}, {session.ErrClosing, 503, "closing"},
		{store.ErrNotFound, 404, "not_found"}, {store.ErrUnknownZone, 422, "unknown_zone"}, {store.ErrConflict, 409, "conflict"},
		{store.ErrInvalid, 422, "invalid"}, {store.ErrFull, 507, "disk_full"},
		{errSignIn, 401, "unauthenticated"},
		{errors.New("dial tcp 10.0.0.1: secret"), 500, "internal"},
	} {
		for _, err := range []error{c.err, fmt.Errorf("do it: %w", c.err)} {
			p := translate(err)
			if p.Status != c.status || p.Code != c.code {
				t.Errorf("translate(%v) = %d %s, want %d %s", err, p.Status, p.Code, c.status, c.code)
			}
			if p.Detail == "" || strings.Contains(p.Detail, "secret") || strings.Contains(p.Detail, "%!") {
				t.Errorf("translate(%v): detail %q", err, p.Detail)
			}
		}
	}
	if got := translate(&http.MaxBytesError{Limit: 200 << 20}).Detail; !strings.Contains(got, "200 MB") {
		t.Errorf("limit of an upload: %q", got)
	}
}

// TestOurOwnFault: a database that fails is a 500 that tells the caller nothing and the log everything.
func TestOurOwnFault(t *testing.T) {
	b := newBed(t)
	lan := b.as("lan")
	b.must(b.store.Close())
	a := lan.get("/zones")
	a.refused("a closed database", http.StatusInternalServerError, "internal")
	if strings.Contains(a.raw, "sql") || !strings.Contains(b.log.String(), "path=/api/v1/zones") || !strings.Contains(b.log.String(), "database is closed") {
		t.Errorf("answer %s, log %s", a.raw, b.log.String())
	}
}
