package api

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"dongthanh/internal/identity"
	"dongthanh/internal/signed"
	"dongthanh/internal/zone"
	"dongthanh/streamer/internal/accounts"
	"dongthanh/streamer/internal/session"
	"dongthanh/streamer/internal/store"
)

// TestStartRights: who may be heard where, with what.
func TestStartRights(t *testing.T) {
	b := newBed(t)
	emergency := func(zones ...string) object {
		body := on(zones...)
		body["priority"] = "emergency"
		return body
	}
	callers := map[string]caller{
		"the machine of an officer": b.machine(accounts.Officer, "31/11296"), "the machine of an auditor": b.machine(accounts.Auditor, "31/11296"),
	}
	for _, name := range []string{"lan", "tinh", "ha", "bien", "duyet", "tho", "an"} {
		callers[name] = b.as(name)
	}
	for _, c := range []struct {
		who    string
		body   object
		status int
		code   string
	}{
		{"lan", on("31/11296"), 201, ""},
		{"lan", on("31/11296/02"), 201, ""},
		{"lan", on("31/11407"), 403, "forbidden"},
		{"lan", on("31"), 403, "forbidden"},
		{"lan", on("31/11296", "31/11407"), 403, "forbidden"},
		{"tinh", on("31/11296", "31/11407"), 201, ""},
		{"tinh", on("33"), 403, "forbidden"},
		{"ha", on("31/11296"), 403, "forbidden"},
		{"bien", on("31/11296"), 403, "forbidden"},
		{"duyet", on("31/11296"), 403, "forbidden"},
		{"tho", on("31/11296"), 403, "forbidden"},
		{"an", on("31/11296"), 403, "forbidden"}, // whoever makes officers cannot speak
		{"the machine of an officer", on("31/11296"), 201, ""},
		{"the machine of an officer", on("31/11407"), 403, "forbidden"},
		{"the machine of an officer", emergency("31/11296"), 403, "emergency_needs_person"},
		{"the machine of an auditor", on("31/11296"), 403, "forbidden"},
		{"lan", emergency("31/11296"), 201, ""},
		{"ha", emergency("31/11296"), 403, "forbidden"},
	} {
		what := fmt.Sprintf("%s: %v", c.who, c.body)
		a := callers[c.who].do("POST", "/sessions", c.body)
		if c.status != http.StatusCreated {
			a.refused(what, c.status, c.code)
			continue
		}
		id := a.ok(what, c.status).text("id")
		b.must(b.sessions.Stop(t.Context(), id, "test"))
	}
	if list := b.sessions.OnAir(); len(list) != 0 {
		t.Errorf("%d sessions are on air that nobody was allowed", len(list))
	}
}

// TestMissingNames: of the loudspeakers that do not hear a session, each sees those of the own zone; how many there are
// everybody sees.
func TestMissingNames(t *testing.T) {
	b := newBed(t)
	tinh, lan := b.as("tinh"), b.as("lan")
	ours, theirs := b.enrol(identity.Client, "Loa 1", "31/11296").Node.ID, b.enrol(identity.Client, "Loa 2", "31/11407").Node.ID
	id := tinh.begin(on("31"))
	for who, c := range map[string]struct {
		caller
		want []string
	}{"the province": {tinh, []string{ours, theirs}}, "a commune": {lan, []string{ours}}} {
		check := func(how string, session any) {
			t.Helper()
			var got []string
			for _, x := range at(session, "listeners", "missing").([]any) {
				got = append(got, x.(string))
			}
			slices.Sort(got)
			slices.Sort(c.want)
			if !slices.Equal(got, c.want) || at(session, "listeners", "expected") != 2.0 {
				t.Errorf("%s sees by %s %v, want %q of 2 expected", who, how, at(session, "listeners"), c.want)
			}
		}
		check("id", c.get("/sessions/"+id).body)
		check("list", c.get("/sessions").body.([]any)[0])
		s := c.listen(b.server.URL + "/api/v1/events")
		check("event", s.wait("sessions", "sessions", only("id", id)).([]any)[0])
	}
}

// TestStartRefused: requests that make no session, and what the official is told.
func TestStartRefused(t *testing.T) {
	b := newBed(t)
	tinh := b.as("tinh")
	with := func(key string, value any) object {
		body := on("31/11296")
		body[key] = value
		return body
	}
	var many []string
	for i := range signed.MaxZones + 1 {
		code := fmt.Sprintf("31/%d", i)
		_, _, err := b.store.UpsertZones(t.Context(), []store.Zone{{Code: zone.Zone(code), Name: "Xã"}}, time.Now())
		b.must(err)
		many = append(many, code)
	}
	for _, c := range []struct {
		name   string
		body   any
		status int
		code   string
		detail string // a part
	}{
		{"no zone", on(), 422, "zones", "từ 1 đến 32"},
		{"33 zones", on(many...), 422, "zones", "từ 1 đến 32"},
		{"an unknown zone", on("31/99999"), 422, "unknown_zone", `"31/99999"`},
		{"the whole country", on(""), 422, "unknown_zone", `""`},
		{"a zone that is no code", on("31/../33"), 422, "unknown_zone", "31/../33"},
		{"an unknown priority", with("priority", "urgent"), 422, "priority", "normal, priority hoặc emergency"},
		{"an unknown delay", with("delay", "soon"), 422, "delay", "auto"},
		{"a title of 201 characters", with("title", strings.Repeat("ế", 201)), 422, "title", "200"},
		{"no source", object{"zones": []string{"31/11296"}}, 422, "source", "Nguồn âm thanh"},
		{"a source of a later version", with("source", object{"kind": "thư"}), 422, "source", "Nguồn âm thanh"},
		{"a line-in from what is no address", with("source", object{"kind": "rtp", "from": "máy trộn"}), 422, "from", "192.168.1.0/24"},
		{"a line-in from a group", with("source", object{"kind": "rtp", "from": "239.1.1.1"}), 422, "from", "địa chỉ IP"},
		{"a line-in from everywhere", with("source", object{"kind": "rtp", "from": "0.0.0.0/0"}), 422, "plain_rtp", "srtp"},
		{"a line-in from everywhere in IPv6", with("source", object{"kind": "rtp", "from": "::/0"}), 422, "plain_rtp", "/32"},
		{"a line-in that only seems to be from here", with("source", object{"kind": "rtp", "from": "127.0.0.1/1"}), 422, "plain_rtp", "/8"},
		{"nothing to read aloud", with("source", object{"kind": "tts", "text": " "}), 422, "text", "cần đọc"},
		{"a text of an hour", with("source", object{"kind": "tts", "text": strings.Repeat("xin chào ", 1200)}), 422, "text", "10000"},
		{"no audio", with("source", object{"kind": "file"}), 422, "no_audio", "Không tìm thấy tệp"},
		{"unknown audio", with("source", object{"kind": "file", "audio": strings.Repeat("a", 64)}), 422, "no_audio", "Không tìm thấy tệp"},
		{"a path as audio", with("source", object{"kind": "file", "audio": "../dongthanh.db"}), 422, "no_audio", "Không tìm thấy tệp"},
		{"an unknown field", with("zone", "31"), 400, "malformed", "zone"},
		{"no JSON", strings.NewReader("zones=31"), 400, "malformed", "JSON"},
		{"more than 64 kB", with("title", strings.Repeat("x", 70<<10)), 413, "too_large", "64 kB"},
	} {
		a := tinh.do("POST", "/sessions", c.body)
		a.refused(c.name, c.status, c.code)
		if !strings.Contains(a.text("detail"), c.detail) {
			t.Errorf("%s: %q, want it to hold %q", c.name, a.text("detail"), c.detail)
		}
	}
	if a := tinh.get("/sessions"); len(a.body.([]any)) != 0 {
		t.Errorf("sessions on record: %s", a.raw)
	}
	r := on("31")
	r["title"] = "Bão số 5"
	tinh.begin(r)
	a := tinh.do("POST", "/sessions", on("31/11296"))
	a.refused("a zone on air", http.StatusConflict, "busy")
	if !strings.Contains(a.text("detail"), "“Bão số 5”") {
		t.Errorf("busy: %q does not name the session", a.text("detail"))
	}
}

// TestOtherCommunes: what lies outside one's zone is not there, whatever is asked.
func TestOtherCommunes(t *testing.T) {
	b := newBed(t)
	lan, minh, ha := b.as("lan"), b.as("minh"), b.as("ha")
	id := lan.begin(on("31/11296"))
	node := b.enrol(identity.Client, "Loa đình làng", "31/11296/02").Node.ID
	b.enrol(identity.Relay, "Trạm xã", "31/11407")

	nothing := minh.get("/sessions/01930000-0000-7000-8000-000000000000")
	nothing.refused("a session that never was", http.StatusNotFound, "not_found")
	for _, route := range []string{"GET /sessions/" + id, "POST /sessions/" + id + "/stop", "GET /sessions/" + id + "/microphone"} {
		method, path, _ := strings.Cut(route, " ")
		if a := minh.do(method, path, nil); a.status != http.StatusNotFound || a.raw != nothing.raw {
			t.Errorf("%s of another commune: %d %s, want the same as for one that never was", route, a.status, a.raw)
		}
	}
	minh.get("/nodes/"+node).refused("a node of another commune", http.StatusNotFound, "not_found")
	minh.get("/nodes/nope").refused("a node that never was", http.StatusNotFound, "not_found")
	if a, none := minh.get("/nodes/"+node), minh.get("/nodes/nope"); a.raw != none.raw {
		t.Errorf("a node of another commune: %s, one that never was: %s", a.raw, none.raw)
	}
	for path, c := range map[string]struct{ lan, minh int }{"/sessions": {1, 0}, "/nodes": {1, 1}, "/zones": {1, 1}} {
		if got := len(lan.get(path).body.([]any)); got != c.lan {
			t.Errorf("%s shows %d to lan, want %d", path, got, c.lan)
		}
		if got := len(minh.get(path).body.([]any)); got != c.minh {
			t.Errorf("%s shows %d to minh, want %d", path, got, c.minh)
		}
	}
	if a := lan.get("/zones"); a.raw != `[{"code":"31/11296","name":"Xã Vĩnh Bảo","children":[{"code":"31/11296/02","name":"Thôn Đông","children":[]}]}]`+"\n" {
		t.Errorf("lan's zones: %s", a.raw)
	}

	ha.get("/sessions/"+id).ok("an auditor looks", http.StatusOK)
	ha.do("POST", "/sessions/"+id+"/stop", nil).refused("an auditor stops", http.StatusForbidden, "forbidden")
	ha.get("/sessions/"+id+"/microphone").refused("an auditor speaks", http.StatusForbidden, "forbidden")
	for _, who := range []string{"bien", "tho"} {
		b.as(who).do("POST", "/sessions/"+id+"/stop", nil).refused(who+" stops", http.StatusForbidden, "forbidden")
	}
	if a := lan.get("/sessions/" + id); a.text("state") != "starting" {
		t.Errorf("it is %s, want still starting", a.raw)
	}
	b.as("duyet").do("POST", "/sessions/"+id+"/stop", nil).ok("an approver stops", http.StatusOK)
}

// TestWhoMaySpeakIntoASession: a microphone is heard in all zones of its session, so its owner needs the right in all.
func TestWhoMaySpeakIntoASession(t *testing.T) {
	b := newBed(t)
	both := b.as("tinh").begin(on("31/11296", "31/11407"))
	b.as("lan").get("/sessions/"+both).ok("lan sees it", http.StatusOK)
	b.as("lan").get("/sessions/"+both+"/microphone").refused("lan speaks in both communes", http.StatusForbidden, "forbidden")
	emergency := on("33")
	emergency["zones"], emergency["priority"] = []string{"31/11296"}, "emergency"
	id := b.as("lan").begin(emergency)
	b.machine(accounts.Officer, "31/11296").get("/sessions/"+id+"/microphone").refused("a machine speaks in an emergency", http.StatusForbidden, "forbidden")
}

// TestPages: a page of one's own sessions is full, however many of others' lie between.
func TestPages(t *testing.T) {
	b := newBed(t)
	var want []string
	at := time.Now().Add(-time.Hour)
	record := func(zones ...zone.Zone) string {
		x, _, err := b.store.CreateSession(t.Context(), store.Session{
			ID: store.NewID(), Zones: zones, Class: "normal", Kind: "live", SourceKind: "file", Delay: "auto", CreatedBy: "cli", Created: at,
		}, nil)
		b.must(err)
		return x.ID
	}
	for range 3 {
		want = append([]string{record("31/11296")}, want...)
	}
	for range sessionsAPage + 5 {
		record("31/11407")
	}
	want = append([]string{record("31/11296/02")}, want...)
	lan := b.as("lan")
	ids := func(a answer) (got []string) {
		for _, x := range a.ok("list", http.StatusOK).body.([]any) {
			got = append(got, x.(object)["id"].(string))
		}
		return got
	}
	if got := ids(lan.get("/sessions")); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("lan's sessions %v, want %v", got, want)
	}
	var paged []string
	for before, n := "", 0; n < 5; n++ {
		page := ids(lan.get("/sessions?limit=2&before=" + before))
		if len(page) == 0 {
			break
		}
		paged, before = append(paged, page...), page[len(page)-1]
	}
	if fmt.Sprint(paged) != fmt.Sprint(want) {
		t.Errorf("in pages of two: %v, want %v", paged, want)
	}
	for _, q := range []string{"0", "51", "-1", "x", "1.5"} {
		lan.get("/sessions?limit="+q).refused("limit "+q, http.StatusBadRequest, "limit")
	}
}

func TestZones(t *testing.T) {
	b := newBed(t)
	for _, c := range []struct {
		who    string
		body   any
		status int
		code   string
	}{
		{"lan", object{"code": "31/11296/03", "name": " Thôn  Nam "}, 201, ""},
		{"lan", object{"code": "31/11296/03", "name": "Thôn Nam mới"}, 201, ""},
		{"lan", object{"code": "31/11296", "name": "Xã của tôi"}, 403, "forbidden"},
		{"lan", object{"code": "31/11407/03", "name": "Thôn"}, 403, "forbidden"},
		{"an", object{"code": "35", "name": "Thái Nguyên"}, 201, ""},
		{"an", object{"code": "77/1", "name": "Xã"}, 422, "unknown_zone"},
		{"ha", object{"code": "31/11296/04", "name": "Thôn"}, 403, "forbidden"},
		{"lan", object{"code": "", "name": "Cả nước"}, 422, "code"},
		{"lan", object{"code": "31/11296/a b", "name": "Thôn"}, 422, "code"},
		{"lan", object{"code": "31/11296/05", "name": ""}, 422, "invalid"},
		{"lan", object{"code": "31/11296/05", "name": strings.Repeat("x", 200)}, 422, "invalid"},
		{"lan", object{"code": "31/11296/05", "name": "Thôn\u202etrái"}, 422, "invalid"},
		{"lan", object{"name": "Thôn", "parent": "31"}, 400, "malformed"},
	} {
		what := fmt.Sprintf("%s: %v", c.who, c.body)
		a := b.as(c.who).do("POST", "/zones", c.body)
		if c.status != http.StatusCreated {
			a.refused(what, c.status, c.code)
			continue
		}
		a.ok(what, c.status)
		if kept, err := b.store.Zone(t.Context(), zone.Zone(a.text("code"))); err != nil || kept.Name != a.text("name") {
			t.Errorf("%s: answered %s, stored %q, %v", what, a.raw, kept.Name, err)
		}
	}
}

func TestUpload(t *testing.T) {
	b := newBed(t)
	bien := b.as("bien")
	a := bien.do("POST", "/audio?name=sang.wav", b.tone(1)).ok("upload", http.StatusCreated)
	if s, l := at(a.body, "seconds"), at(a.body, "lufs"); s != 1.0 || l.(float64) > -10 || l.(float64) < -16 || len(a.text("id")) != 64 {
		t.Errorf("answer %s", a.raw)
	}
	if again := bien.do("POST", "/audio", b.tone(1)).ok("again, without a name", http.StatusCreated); again.text("id") != a.text("id") {
		t.Errorf("the same content has two ids: %s, %s", a.text("id"), again.text("id"))
	}
	whole, err := io.ReadAll(b.tone(1))
	b.must(err)
	for _, c := range []struct {
		name   string
		body   []byte
		detail string
	}{
		{"no WAV", []byte("ID3 một bài hát"), "không phải tệp WAV"},
		{"nothing", []byte{}, "không phải tệp WAV"},
		{"half of it", whole[:len(whole)/2], "bị cắt cụt ở 00:00"},
		{"no sound", whole[:44], "cắt cụt"},
	} {
		a := bien.do("POST", "/audio", bytes.NewReader(c.body))
		a.refused(c.name, http.StatusUnsupportedMediaType, "audio")
		if !strings.Contains(a.text("detail"), c.detail) {
			t.Errorf("%s: %q, want it to hold %q", c.name, a.text("detail"), c.detail)
		}
	}
	for _, who := range []string{"ha", "tho", "an"} {
		b.as(who).do("POST", "/audio", b.tone(0.1)).refused(who, http.StatusForbidden, "forbidden")
	}
}

// TestWhoSeesAndStops: a session concerns who lies in its zones, and those above and beneath; it is ended by who began
// it, or by who may stop it in every zone that hears it.
func TestWhoSeesAndStops(t *testing.T) {
	officer := func(z zone.Zone) accounts.Principal {
		return accounts.Principal{ID: "officer of " + string(z), Role: accounts.Officer, Zone: z}
	}
	of := func(by string, zones ...zone.Zone) session.Session {
		return session.Session{Session: store.Session{CreatedBy: by, Zones: zones}}
	}
	for _, c := range []struct {
		name      string
		who       accounts.Principal
		session   session.Session
		see, stop bool
	}{
		{"own commune", officer("31/11296"), of("x", "31/11296"), true, true},
		{"a hamlet of it", officer("31/11296"), of("x", "31/11296/02"), true, true},
		{"the whole province, seen from a commune", officer("31/11296"), of("x", "31"), true, false},
		{"two communes, one of them ours", officer("31/11296"), of("x", "31/11296", "31/11407"), true, false},
		{"another commune", officer("31/11296"), of("x", "31/11407"), false, false},
		{"what one began oneself", officer("31/11296"), of("officer of 31/11296", "31"), true, true},
		{"the province sees and stops all of it", officer("31"), of("x", "31/11296", "31/11407"), true, true},
		{"an auditor only looks", accounts.Principal{ID: "a", Role: accounts.Auditor, Zone: "31"}, of("x", "31"), true, false},
		{"nobody", accounts.Principal{}, of("", "31"), false, false},
	} {
		if got := MaySee(c.who, c.session.Zones); got != c.see {
			t.Errorf("%s: sees = %v, want %v", c.name, got, c.see)
		}
		if got := mayStop(c.who, c.session); got != c.stop {
			t.Errorf("%s: stops = %v, want %v", c.name, got, c.stop)
		}
	}
}
