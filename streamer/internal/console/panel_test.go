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
		"vi": {"Giảm âm lượng", "Tăng âm lượng", "Phát tiếng thử", "Đóng"},
		"en": {"Quieter", "Louder", "Sound a test tone", "Close"},
	} {
		v.post("/language", url.Values{"to": {language}})
		a := v.get("/nodes")
		for _, name := range names {
			if a.named("button", name) == nil {
				t.Errorf("%s: no button %q", language, name)
			}
		}
		if s := a.byID("volume"); attr(s, "type") != "range" || a.name(s) == "" || attr(s, "min") != "-60" || attr(s, "max") != "0" {
			t.Errorf("%s: the volume is no slider from -60 to 0 with a name", language)
		}
	}
}
