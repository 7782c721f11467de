package api

import (
	"net/http"
	"testing"
	"time"

	"dongthanh/internal/control"
	"dongthanh/internal/identity"
	"dongthanh/streamer/internal/accounts"
)

// TestWhoSetsLoudspeakers: technicians and administrators of the zone, and their machines.
func TestWhoSetsLoudspeakers(t *testing.T) {
	b := newBed(t)
	c := b.enrol(identity.Client, "Loa đình làng", "31/11296/02")
	far := b.enrol(identity.Client, "Loa xã bên", "31/11407")
	callers := map[string]caller{
		"the machine of a technician": b.machine(accounts.Technician, "31/11296"), "the machine of an officer": b.machine(accounts.Officer, "31/11296"),
	}
	for _, name := range []string{"lan", "minh", "tinh", "ha", "bien", "duyet", "tho", "an"} {
		callers[name] = b.as(name)
	}
	for _, x := range []struct {
		who    string
		node   *identity.Credentials
		status int
		code   string
	}{
		{"tho", c, 200, ""},
		{"an", c, 200, ""},
		{"an", far, 200, ""},
		{"the machine of a technician", c, 200, ""},
		{"tho", far, 404, "not_found"}, // not theirs to see
		{"lan", c, 403, "forbidden"},
		{"tinh", c, 403, "forbidden"},
		{"ha", c, 403, "forbidden"},
		{"bien", c, 403, "forbidden"},
		{"duyet", c, 403, "forbidden"},
		{"minh", c, 404, "not_found"},
		{"the machine of an officer", c, 403, "forbidden"},
	} {
		path := "/nodes/" + x.node.Node.ID
		a := callers[x.who].do("PATCH", path, object{"volume_db": -6})
		tone := callers[x.who].do("POST", path+"/tone", object{"seconds": 2})
		if x.status == http.StatusOK {
			a.ok(x.who, http.StatusOK)
			tone.refused(x.who+", tone", http.StatusConflict, "offline") // nobody is connected
			continue
		}
		a.refused(x.who, x.status, x.code)
		tone.refused(x.who+", tone", x.status, x.code)
	}
}

// TestSetLoudspeaker: what is wished stands at once and on record; what is in force is what the loudspeaker says.
func TestSetLoudspeaker(t *testing.T) {
	b := newBed(t)
	c := b.enrol(identity.Client, "Loa đình làng", "31/11296/02")
	relay := b.enrol(identity.Relay, "Trạm", "31/11296")
	tho, path := b.as("tho"), "/nodes/"+c.Node.ID
	a := tho.do("PATCH", path, object{"volume_db": -6.25}).ok("turn down", http.StatusOK)
	if at(a.body, "volume_db") != -6.25 || at(a.body, "applied_volume_db") != nil {
		t.Errorf("the answer is %s", a.raw)
	}
	if n, err := b.store.Node(t.Context(), c.Node.ID); err != nil || n.Volume != -625 {
		t.Errorf("on record is %d, %v", n.Volume, err)
	}
	for name, x := range map[string]struct {
		method, path string
		body         any
		status       int
		code         string
	}{
		"too loud":            {"PATCH", path, object{"volume_db": 0.5}, 422, "volume"},
		"too quiet":           {"PATCH", path, object{"volume_db": -60.5}, 422, "volume"},
		"not a number":        {"PATCH", path, object{"volume_db": "NaN"}, 400, "malformed"},
		"nothing":             {"PATCH", path, object{}, 422, "no_change"},
		"null":                {"PATCH", path, object{"volume_db": nil}, 422, "no_change"},
		"unknown":             {"PATCH", path, object{"loudness": 1}, 400, "malformed"},
		"a relay":             {"PATCH", "/nodes/" + relay.Node.ID, object{"volume_db": -6}, 409, "not_loudspeaker"},
		"nobody":              {"PATCH", "/nodes/nope", object{"volume_db": -6}, 404, "not_found"},
		"tone of a relay":     {"POST", "/nodes/" + relay.Node.ID + "/tone", object{}, 409, "not_loudspeaker"},
		"tone of nobody":      {"POST", "/nodes/nope/tone", object{}, 404, "not_found"},
		"tone without length": {"POST", path + "/tone", object{"seconds": 0}, 422, "seconds"},
		"tone for an hour":    {"POST", path + "/tone", object{"seconds": 3600}, 422, "seconds"},
		"tone unknown":        {"POST", path + "/tone", object{"hz": 440}, 400, "malformed"},
	} {
		tho.do(x.method, x.path, x.body).refused(name, x.status, x.code)
	}
	b.picture.Changes(control.Changes{Members: []control.Member{{Node: c.Node.ID, Via: "r", Kind: "client", Zone: "31/11296/02", Since: time.Now().UnixMilli()}}})
	b.as("lan").begin(on("31/11296"))
	tho.do("POST", path+"/tone", object{}).refused("a tone while a session is on air", http.StatusConflict, "on_air")
	if at(tho.get("/nodes/"+relay.Node.ID).body, "volume_db") != nil {
		t.Error("a relay has a volume")
	}
}
