package console_test

import (
	"net/url"
	"testing"
)

// TestPanelIsForTechnicians: whoever may not set loudspeakers has no panel, and whoever may finds all in it by name.
func TestPanelIsForTechnicians(t *testing.T) {
	r := newRig(t, false)
	for who, manages := range map[string]bool{"canbo": false, "xa": false, "quantri": true, "kythuat": true} {
		if got := r.signedIn(who).get("/nodes").byID("speaker") != nil; got != manages {
			t.Errorf("%s has a panel: %t, want %t", who, got, manages)
		}
	}
	v := r.signedIn("kythuat")
	for language, names := range map[string][]string{
		"vi": {"Giảm âm lượng", "Tăng âm lượng", "Phát tiếng thử", "Lưu", "Đóng", "Tên", "Địa bàn", "Tôi hiểu và muốn gỡ thiết bị này"},
		"en": {"Quieter", "Louder", "Sound a test tone", "Save", "Close", "Name", "Place", "I understand and want to remove it"},
	} {
		v.post("/language", url.Values{"to": {language}})
		a := v.get("/nodes")
		for _, name := range names[:5] {
			if a.named("button", name) == nil {
				t.Errorf("%s: no button %q", language, name)
			}
		}
		for id, name := range map[string]string{"edit-name": names[5], "edit-zone": names[6], "remove-box": names[7]} {
			if got := a.name(a.byID(id)); got != name {
				t.Errorf("%s: %s is named %q, want %q", language, id, got, name)
			}
		}
		if _, off := attribute(a.byID("remove-go"), "disabled"); !off {
			t.Errorf("%s: the button to remove can be pressed before it is confirmed", language)
		}
		if s := a.byID("volume"); attr(s, "type") != "range" || a.name(s) == "" || attr(s, "min") != "-60" || attr(s, "max") != "0" {
			t.Errorf("%s: the volume is no slider from -60 to 0 with a name", language)
		}
	}
}

// TestAddingIsForTechnicians: only whoever may make tokens is shown the form for them.
func TestAddingIsForTechnicians(t *testing.T) {
	r := newRig(t, false)
	for who, manages := range map[string]bool{"canbo": false, "xa": false, "quantri": true, "kythuat": true} {
		a := r.signedIn(who).get("/nodes")
		if got := a.named("button", "Tạo mã đăng ký") != nil; got != manages {
			t.Errorf("%s is shown the form: %t, want %t", who, got, manages)
		}
		if manages && (a.name(a.byID("add-name")) != "Tên" || a.name(a.byID("add-zone")) != "Địa bàn") {
			t.Errorf("%s: the form's fields have no names", who)
		}
	}
}
