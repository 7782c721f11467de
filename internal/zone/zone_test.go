package zone

import (
	"slices"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	for _, c := range []struct {
		in string
		ok bool
	}{
		{"", true}, {"31", true}, {"31/11296/02", true}, {"VN-HP/a_b", true},
		{"/", false}, {"31/", false}, {"/31", false}, {"31//02", false}, {"31/..", false}, {"31/a b", false},
		{"31/é", false}, {strings.Repeat("1", 17), false}, {"1/2/3/4/5/6/7/8", true}, {"1/2/3/4/5/6/7/8/9", false},
		{strings.Repeat("123456789012345/", 4) + "1", false},
	} {
		_, err := Parse(c.in)
		if (err == nil) != c.ok {
			t.Errorf("Parse(%q) = %v, want ok %v", c.in, err, c.ok)
		}
	}
}

func TestContains(t *testing.T) {
	for _, c := range []struct {
		z, w Zone
		want bool
	}{
		{"", "31", true}, {"31", "31", true}, {"31", "31/11296", true}, {"31/11296", "31", false},
		{"31", "311", false}, {"31/11", "31/11296", false}, {"31", "", false},
	} {
		if got := c.z.Contains(c.w); got != c.want {
			t.Errorf("%q.Contains(%q) = %v, want %v", c.z, c.w, got, c.want)
		}
	}
}

func TestCommonAndChain(t *testing.T) {
	for _, c := range []struct {
		zones []Zone
		want  Zone
	}{
		{nil, ""}, {[]Zone{"31/11296"}, "31/11296"}, {[]Zone{"31/11296/01", "31/11296/02"}, "31/11296"},
		{[]Zone{"31/11296/01", "31/11407"}, "31"}, {[]Zone{"31", "01"}, ""},
	} {
		if got := Common(c.zones); got != c.want {
			t.Errorf("Common(%q) = %q, want %q", c.zones, got, c.want)
		}
	}
	if got, want := Zone("31/11296/02").Chain(), []Zone{"", "31", "31/11296", "31/11296/02"}; !slices.Equal(got, want) {
		t.Errorf("Chain = %q, want %q", got, want)
	}
	for i, z := range Zone("31/11296/02").Chain() {
		if z.Level() != i {
			t.Errorf("%q.Level() = %d, want %d", z, z.Level(), i)
		}
	}
}
