package api

import (
	"testing"

	"dongthanh/internal/identity"
	"dongthanh/streamer/internal/accounts"
)

func TestEnrolmentTokens(t *testing.T) {
	b := newBed(t)
	tho, an, lan := b.as("tho"), b.as("an"), b.as("lan")
	ask := func(kind, name, zone string) object { return object{"kind": kind, "name": name, "zone": zone} }
	for _, c := range []struct {
		what   string
		by     caller
		body   any
		status int
		code   string
	}{
		{"nobody", b.nobody(), ask("client", "Loa", "31"), 401, "unauthenticated"},
		{"an officer", lan, ask("client", "Loa", "31/11296"), 403, "forbidden"},
		{"a technician for another commune", tho, ask("client", "Loa", "31/11407"), 403, "forbidden"},
		{"a technician for the province", tho, ask("client", "Loa", "31"), 403, "forbidden"},
		{"a machine", b.machine(accounts.Technician, ""), ask("client", "Loa", "31"), 403, "forbidden"},
		{"a token for the API", an, ask("api", "x", "31"), 422, "kind"},
		{"a streamer", an, ask("streamer", "x", "31"), 422, "kind"},
		{"no name", an, ask("relay", " ", "31"), 422, "invalid"},
		{"what is no zone", an, ask("relay", "Trạm", "31/../x"), 422, "unknown_zone"},
		{"an unknown zone", an, ask("relay", "Trạm", "99"), 422, "unknown_zone"},
		{"a lifetime", an, object{"kind": "relay", "name": "Trạm", "zone": "31", "ttl": 9}, 400, "malformed"},
	} {
		c.by.do("POST", "/tokens", c.body).refused(c.what, c.status, c.code)
	}
	a := tho.do("POST", "/tokens", ask("client", " Loa chợ ", "31/11296/02")).ok("a technician at home", 201)
	token, err := identity.ParseToken(a.text("token"))
	if err != nil {
		t.Fatalf("what was told is no token: %v", err)
	}
	kept, err := b.store.Token(t.Context(), token.Hash())
	b.must(err)
	if kept.ID != a.text("id") || kept.Name != "Loa chợ" || kept.Zone != "31/11296/02" || kept.Kind != "client" || kept.CreatedBy == "" {
		t.Errorf("kept is %+v", kept)
	}
	if left := kept.Expires.Sub(kept.Created); left != tokenLife {
		t.Errorf("it lasts %v, want %v", left, tokenLife)
	}
}
