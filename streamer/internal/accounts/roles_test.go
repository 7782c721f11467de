package accounts_test

import (
	"testing"

	"dongthanh/internal/zone"
	"dongthanh/streamer/internal/accounts"
)

// rights is the table of the package comment's promise, written down a second time on purpose.
var rights = map[accounts.Role]map[accounts.Action]bool{
	accounts.Admin:      {accounts.View: true, accounts.Stop: true, accounts.ManageNodes: true, accounts.ManageZones: true, accounts.ManageUsers: true, accounts.Audit: true},
	accounts.Officer:    {accounts.View: true, accounts.Stop: true, accounts.SpeakNormal: true, accounts.SpeakPriority: true, accounts.SpeakEmergency: true, accounts.Upload: true, accounts.ManageZones: true},
	accounts.Editor:     {accounts.View: true, accounts.Upload: true},
	accounts.Approver:   {accounts.View: true, accounts.Stop: true, accounts.Upload: true, accounts.Approve: true},
	accounts.Technician: {accounts.View: true, accounts.ManageNodes: true},
	accounts.Auditor:    {accounts.View: true, accounts.Audit: true},
	"":                  {},
	"root":              {},
}

func TestCan(t *testing.T) {
	actions := map[accounts.Action]string{
		accounts.View: "view", accounts.SpeakNormal: "speak normal", accounts.SpeakPriority: "speak priority",
		accounts.SpeakEmergency: "speak emergency", accounts.Stop: "stop", accounts.Upload: "upload", accounts.Approve: "approve",
		accounts.ManageNodes: "manage nodes", accounts.ManageZones: "manage zones", accounts.ManageUsers: "manage users", accounts.Audit: "audit",
		0: "nothing",
	}
	places := []struct {
		own, target zone.Zone
		inside      bool
	}{
		{"31/11296", "31/11296", true}, {"31/11296", "31/11296/02", true}, {"31/11296", "31", false}, {"31/11296", "", false},
		{"31/11296", "31/11407", false}, {"31/11296", "31/112960", false}, {"", "31", true}, {"", "", true}, {"31", "31/11407/01", true},
	}
	for role, granted := range rights {
		if role.Valid() != (len(granted) > 0) {
			t.Errorf("%q.Valid() = %v", role, role.Valid())
		}
		for action, name := range actions {
			for _, machine := range []bool{false, true} {
				for _, place := range places {
					p := accounts.Principal{ID: "x", Role: role, Zone: place.own, Machine: machine}
					want := granted[action] && place.inside
					if machine && (action == accounts.SpeakEmergency || action == accounts.ManageUsers) {
						want = false
					}
					if got := p.Can(action, place.target); got != want {
						t.Errorf("%q (machine %v) of %q: Can(%s, %q) = %v, want %v", role, machine, place.own, name, place.target, got, want)
					}
				}
			}
		}
	}
	officer := accounts.Principal{Role: accounts.Officer, Zone: "31"}
	if officer.Can(accounts.View|accounts.ManageUsers, "31") || !officer.Can(accounts.View|accounts.Upload, "31") {
		t.Error("Can of two actions at once wants both")
	}
	if (accounts.Principal{}).Can(accounts.View, "") {
		t.Error("nobody may view")
	}
	if n := len(accounts.Roles()); n != 6 {
		t.Errorf("%d roles, want 6", n)
	}
	for _, r := range accounts.Roles() {
		p := accounts.Principal{Role: r}
		if p.Can(accounts.ManageUsers, "31") && (p.Can(accounts.SpeakNormal, "31") || p.Can(accounts.SpeakEmergency, "31")) {
			t.Errorf("%s both grants roles and speaks", r)
		}
	}
}
