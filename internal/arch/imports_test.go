package arch

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func itoa(n int) string { return strconv.Itoa(n) }

// layer gives each shared package its height. A package imports lower ones only, never its own
// height: what two neighbours share belongs below both.
var layer = map[string]int{
	"internal/seq":        0,
	"internal/mediaclock": 0,
	"internal/logging":    0,
	"internal/config":     0,

	"internal/zone": 1, // the one name that all formats share

	"internal/wire":    10,
	"internal/packet":  10,
	"internal/seal":    10,
	"internal/signed":  10,
	"internal/program": 10,

	"internal/topology": 20,
	"internal/fanout":   20,
	"internal/udp":      20,
	"internal/repair":   20,
	"internal/clock":    20,

	"internal/identity": 30,
	"internal/health":   30,
	"internal/onair":    31,
	"internal/control":  32,
	"internal/link":     33,
	"internal/cluster":  33,
}

// support are folders that only tests and the demo need: they import what they like, and no part of
// a program imports them.
var support = []string{"internal/arch", "internal/testkit", "internal/demo", "internal/e2e", "tools"}

// programs are the three products; each has rooms of its own.
var programs = []string{"streamer", "relay", "client"}

// room returns which of the kinds a folder belongs to: a program's name, "shared", "codec" or
// "support"; empty if the folder is in no table.
func room(dir string) string {
	for _, p := range programs {
		if within(dir, p) {
			return p
		}
	}
	for _, s := range support {
		if within(dir, s) {
			return "support"
		}
	}
	if _, ok := layer[shared(dir)]; ok {
		return "shared"
	}
	if within(dir, "codec") {
		return "codec"
	}
	return ""
}

// shared returns the package of the table above that dir is part of: internal/fanout for
// internal/fanout/xdp.
func shared(dir string) string {
	parts := strings.Split(dir, "/")
	return strings.Join(parts[:min(2, len(parts))], "/")
}

func TestImportsPointDown(t *testing.T) {
	for _, s := range load(t).sources {
		from := room(s.dir)
		if from == "" {
			t.Errorf("%s: the folder %s is in no layer; put it into a program's internal/, or into the table in internal/arch at the height where all its importers are above it", s.path, s.dir)
			continue
		}
		for _, path := range s.imports() {
			dir, ours := strings.CutPrefix(path, module+"/")
			if !ours {
				continue
			}
			if why := forbidden(s, from, dir); why != "" {
				t.Errorf("%s imports %s: %s", s.path, dir, why)
			}
		}
	}
}

// forbidden returns why source s, of room from, may not import the folder dir; empty if it may.
func forbidden(s source, from, dir string) string {
	to := room(dir)
	switch {
	case to == "support" && from != "support" && !s.test:
		return "that is for tests and the demo; move what a program needs into the package that owns it"
	case to == "support" || from == "support":
		return ""
	case slices.Contains(programs, to) && to != from:
		return "a program's rooms are its own; move what both need to internal/, at the lowest layer that fits"
	case from == "relay" && within(dir, "internal/seal"):
		return "a relay holds no media key (DESIGN §4)"
	case from == "relay" && to == "codec":
		return "a relay copies packets and never decodes"
	case from == "codec":
		return "codec stands on the standard library and libopus alone; pass what it needs as an argument"
	case from == "shared" && to == "codec":
		return "shared packages build without cgo; pass frames or a small interface"
	case from == "shared" && to == "shared" && !s.test:
		a, b := shared(s.dir), shared(dir)
		if a != b && layer[b] >= layer[a] {
			return "imports point to a lower layer; move what both need below both, or let the caller pass it in"
		}
	}
	return ""
}

// only names, for packages with a sole importer, who that is. Tests may drive the real thing from
// outside, but for libopus, whose build needs cgo.
var only = []struct {
	imported string // a path and all below it
	by       string
	tests    bool // tests elsewhere are bound too
	instead  string
}{
	{"github.com/pion/webrtc", "streamer/internal/ingest", false, "let streamer/internal/ingest hand out PCM"},
	{"gopkg.in/hraban/opus.v2", "codec", true, "use package codec"},
	{"modernc.org/sqlite", "streamer/internal/store", false, "add a method to streamer/internal/store"},
	{"github.com/jackc/pgx", "streamer/internal/store", false, "add a method to streamer/internal/store"},
	{"github.com/pressly/goose", "streamer/internal/store", false, "add a migration to streamer/internal/store"},
	{"github.com/redis/go-redis", "streamer/internal", false, "only the streamer talks to Redis; report over the control channel"},
	{"github.com/alicebob/miniredis", "streamer/internal", false, "only the streamer talks to Redis; report over the control channel"},
	{"C", "codec", true, "cgo belongs into codec, or for sound cards into client/internal/alsa; the relay must build without it"},
}

func TestSoleImporters(t *testing.T) {
	for _, s := range load(t).sources {
		for _, path := range s.imports() {
			for _, rule := range only {
				if path == "C" && within(s.dir, "client/internal/alsa") {
					continue
				}
				if within(path, rule.imported) && !within(s.dir, rule.by) && (rule.tests || !s.test) && room(s.dir) != "support" {
					t.Errorf("%s imports %s, which only %s may: %s", s.path, path, rule.by, rule.instead)
				}
			}
		}
	}
}

// never is what the relay must not reach by any way, and why.
var never = map[string]string{
	module + "/internal/seal":       "it would put media keys within a relay's reach",
	module + "/codec":               "it needs cgo",
	"gopkg.in/hraban/opus.v2":       "it needs cgo",
	"runtime/cgo":                   "the relay is a static binary",
	"github.com/pion/webrtc/v4":     "only the streamer takes microphones",
	"github.com/pion/srtp/v3":       "a relay opens no packet",
	"github.com/redis/go-redis/v9":  "only the streamer talks to Redis",
	"modernc.org/sqlite":            "only the streamer has a database",
	"github.com/chromedp/chromedp":  "it is for tests",
	module + "/internal/testkit":    "it is for tests",
	"github.com/alicebob/miniredis": "only the streamer talks to Redis",
}

func TestRelayStandsAlone(t *testing.T) {
	if !exists("relay/main.go") {
		t.Skip("relay/main.go is not there yet")
	}
	cmd := exec.Command("go", "list", "-deps", "./relay/...")
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list -deps ./relay/...: %v", err)
	}
	for _, path := range strings.Fields(string(out)) {
		if why, ok := never[path]; ok {
			t.Errorf("the relay reaches %s: %s; go mod why -m, or go list -deps, shows the way", path, why)
		}
	}
	build := exec.Command("go", "build", "-ldflags=-s -w", "-o", filepath.Join(t.TempDir(), "relay"), "./relay")
	build.Dir = root
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Errorf("CGO_ENABLED=0 go build ./relay: %v\n%s", err, out)
	}
}

// exists reports whether a path from the root is there.
func exists(path string) bool {
	_, err := os.Stat(filepath.Join(root, path))
	return err == nil
}

// TestRulesBite holds the rules above to cases that they must refuse, lest a slip in a table lets
// everything pass.
func TestRulesBite(t *testing.T) {
	tests := []struct {
		dir, imports string
		test         bool
		refused      bool
	}{
		{"internal/wire", "internal/zone", false, false},
		{"internal/wire", "internal/seal", false, true},
		{"internal/wire", "internal/fanout", false, true},
		{"internal/seq", "internal/logging", false, true},
		{"internal/cluster", "internal/control", false, false},
		{"internal/cluster", "internal/link", false, true},
		{"internal/fanout/xdp", "internal/fanout", false, false},
		{"internal/control", "internal/testkit", false, true},
		{"internal/control", "internal/testkit", true, false},
		{"internal/control", "codec", false, true},
		{"relay/internal/node", "internal/seal", false, true},
		{"relay/internal/node", "codec", false, true},
		{"relay/internal/node", "streamer/internal/store", false, true},
		{"client/internal/playout", "internal/seal", false, false},
		{"client", "client/internal/playout", false, false},
		{"codec", "internal/seq", false, true},
		{"tools/swarm", "internal/link", false, false},
	}
	for _, tc := range tests {
		s := source{dir: tc.dir, test: tc.test}
		if why := forbidden(s, room(tc.dir), tc.imports); (why != "") != tc.refused {
			t.Errorf("%s importing %s (test: %v): refused %q, want refused %v", tc.dir, tc.imports, tc.test, why, tc.refused)
		}
	}
	if room("internal/util") != "" || room("util") != "" {
		t.Error("a folder in no table has a room")
	}
}
