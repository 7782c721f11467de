package cluster

import (
	"strings"
	"testing"
)

func TestConfigFaults(t *testing.T) {
	for _, c := range []struct{ public, want string }{
		{"", ""},
		{"loa.example.vn", ""},
		{"loa.example.vn:17444", ""},
		{"203.0.113.9", ""},
		{"203.0.113.9:17444", ""},
		{"2001:db8::9", ""},
		{"[2001:db8::9]:17444", ""},
		{"203.0.113.9:0", "not a port"},
		{"203.0.113.9:", "not a port"},
		{"loa.example.vn:99999", "not a port"},
		{"https://loa.example.vn", "slashes"},
		{"https://loa.example.vn:7444", "slashes"},
		{"loa.example.vn/x", "slashes"},
		{"a:b:c", "neither"},
		{"a b", "not the name of a host"},
		{"0.0.0.0", "could reach"},
		{"[::]:7444", "could reach"},
		{"224.0.0.1", "could reach"},
		{"fe80::1%eth0", "could reach"},
	} {
		faults := Config{Control: ":7443", Media: ":7444", Public: c.public}.Validate()
		switch {
		case c.want == "" && len(faults) > 0, c.want != "" && len(faults) != 1:
			t.Errorf("faults of public %q: %v, want one about %q", c.public, faults, c.want)
		case c.want != "" && (faults[0].Path != "public" || !strings.Contains(faults[0].What, c.want)):
			t.Errorf("fault of public %q: %v, want one about %q", c.public, faults[0], c.want)
		}
	}
}
