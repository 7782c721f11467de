package api

import (
	"testing"

	"dongthanh/internal/identity"
	"dongthanh/streamer/internal/accounts"
)

func TestMoveAndRemoveNodes(t *testing.T) {
	b := newBed(t)
	id := b.enrol(identity.Client, "Loa đình", "31/11296").Node.ID
	b.must(b.picture.Refresh(t.Context()))
	path := "/nodes/" + id
	tho, an, lan := b.as("tho"), b.as("an"), b.as("lan")
	move := func(zone string) object { return object{"zone": zone} }
	for _, c := range []struct {
		what   string
		by     caller
		body   any
		status int
		code   string
	}{
		{"an officer", lan, move("31/11296/02"), 403, "forbidden"},
		{"a technician into another's commune", tho, move("31/11407"), 403, "forbidden"},
		{"a technician up to the province", tho, move("31"), 403, "forbidden"},
		{"one of another commune", b.as("minh"), move("31/11407"), 404, "not_found"},
		{"an unknown zone", an, move("99"), 422, "unknown_zone"},
		{"what is no zone", an, move("31/../x"), 422, "unknown_zone"},
		{"no name", an, object{"name": " "}, 422, "invalid"},
		{"an unknown field", an, object{"kind": "relay"}, 400, "malformed"},
	} {
		c.by.do("PATCH", path, c.body).refused(c.what, c.status, c.code)
	}
	an.do("PATCH", path, object{"name": "Loa chợ", "volume_db": 5}).refused("half of it", 422, "volume")
	if a := an.do("GET", path, nil).ok("all or nothing", 200); a.text("name") != "Loa đình" {
		t.Errorf("half of a change was made: %s", a.raw)
	}
	an.do("PATCH", "/nodes/nobody", move("31")).refused("an unknown node", 404, "not_found")
	b.nobody().do("DELETE", path, nil).refused("nobody", 401, "unauthenticated")
	lan.do("DELETE", path, nil).refused("an officer", 403, "forbidden")

	a := tho.do("PATCH", path, object{"zone": "31/11296/02", "name": "Loa chợ"}).ok("a technician at home", 200)
	if a.text("zone") != "31/11296/02" || a.text("name") != "Loa chợ" || a.text("id") != id {
		t.Errorf("moved: %s", a.raw)
	}
	tho.do("PATCH", path, object{}).refused("nothing", 422, "no_change")
	if a := b.machine(accounts.Technician, "").do("PATCH", path, move("31/11407")).ok("a technician's machine", 200); a.text("zone") != "31/11407" {
		t.Errorf("moved: %s", a.raw)
	}
	tho.do("GET", path, nil).refused("it has left the technician's commune", 404, "not_found")
	an.do("DELETE", path, nil).ok("an administrator", 204)
	an.do("GET", path, nil).refused("removed", 404, "not_found")
	an.do("DELETE", path, nil).refused("removed twice", 404, "not_found")
	if !b.issuer.Revoked(id) {
		t.Error("it is trusted still")
	}
}
