package arch

import (
	"bytes"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The sizes of a file by hand, in lines: beyond the first it is a smell, beyond the second a fault.
const (
	smell = 400
	fault = 600
)

func TestFileSizes(t *testing.T) {
	for _, f := range load(t).files {
		switch filepath.Ext(f.path) {
		case ".go", ".ts", ".tsx", ".css", ".sh", ".sql":
		default:
			continue
		}
		if f.generated() || strings.Contains(f.path, "testdata/") || strings.Contains(f.path, "/dist/") {
			continue
		}
		if n := f.lines(); n > fault {
			t.Errorf("%s has %d lines, at most %d are allowed: split it by what changes together", f.path, n, fault)
		} else if n > smell {
			t.Logf("warning: %s has %d lines, most should have fewer than %d", f.path, n, smell)
		}
	}
}

// privateKey finds a private key in PEM, whatever its kind. A type in a program's source, without
// the dashes, is no key.
var privateKey = regexp.MustCompile(`-----BEGIN [A-Z0-9 ]*PRIVATE KEY( BLOCK)?-----`)

// keyFile finds files that hold private keys by their usual names.
var keyFile = regexp.MustCompile(`(^|/)(id_(rsa|dsa|ecdsa|ed25519)|.*\.(key|p12|pfx|jks|keystore))$|(^|/)key\.pem$`)

func TestNoPrivateKey(t *testing.T) {
	for _, f := range load(t).files {
		if privateKey.Match(f.text) {
			t.Errorf("%s holds a private key: draw it anew where it is needed, and count this one as known to all", f.path)
		}
		if keyFile.MatchString(f.path) {
			t.Errorf("%s is named like a private key: the repository holds none; make it at run time below var/", f.path)
		}
	}
	for _, kind := range []string{"", "RSA ", "EC ", "OPENSSH ", "ENCRYPTED "} {
		if !privateKey.MatchString("x\n-----BEGIN " + kind + "PRIVATE" + " KEY-----\n") {
			t.Errorf("the pattern misses a key of kind %q", kind)
		}
	}
	if !keyFile.MatchString("configs/demo/key.pem") || !keyFile.MatchString("a/b.key") || keyFile.MatchString("internal/seal/key.go") {
		t.Error("the pattern of file names is wrong")
	}
}

// machinePath finds paths of somebody's machine: a clone lies elsewhere.
var machinePath = regexp.MustCompile(`(^|[\s"'` + "`" + `(=:])/(work|root|home/[a-z][a-z0-9_-]*|Users/[A-Za-z]|farm)/`)

func TestNoMachinePaths(t *testing.T) {
	for _, f := range load(t).files {
		if f.binary() || strings.Contains(f.path, "testdata/fuzz/") || f.path == "internal/arch/text_test.go" {
			continue
		}
		for i, line := range bytes.Split(f.text, []byte("\n")) {
			if m := machinePath.Find(line); m != nil {
				t.Errorf("%s:%d: names a path of one machine (%s): use a path from the repository's root, t.TempDir or os.UserCacheDir", f.path, i+1, bytes.TrimSpace(m))
			}
		}
	}
	for text, want := range map[string]bool{
		`see /work` + `/main`: true, `"/home/` + `lan/x"`: true, "GET /home": false, "a/work/b": false, "/var/lib/dongthanh": false,
	} {
		if machinePath.MatchString(text) != want {
			t.Errorf("the pattern finds a machine's path in %q: %v, want %v", text, !want, want)
		}
	}
}

// TestPlayoutIsBlindToSkew holds that a loudspeaker finds out how fast its sample clock runs by
// itself: the setting is the device's, to make a crystal run wrong, and the answer to the test.
func TestPlayoutIsBlindToSkew(t *testing.T) {
	skew := regexp.MustCompile(`(?i)skew_?ppm`)
	for _, f := range load(t).files {
		if strings.HasPrefix(f.path, "client/internal/playout/") && skew.Match(f.text) {
			t.Errorf("%s mentions the device's skew: playout measures the drift of a clock and is told nothing", f.path)
		}
	}
}

// TestVersionsAgree holds the places that name a Go version to go.mod.
func TestVersionsAgree(t *testing.T) {
	want := ""
	versions := map[string]string{}
	for _, f := range load(t).files {
		switch f.path {
		case "go.mod":
			want = find(f.text, `(?m)^go (\S+)$`)
		case "tools/tools.mod":
			versions[f.path] = find(f.text, `(?m)^go (\S+)$`)
		case "tools/with.sh":
			versions[f.path] = find(f.text, `(?m)^want_go=(\S+)`)
		}
	}
	for path, got := range versions {
		if got != want || want == "" {
			t.Errorf("%s names Go %s, go.mod %s: change both", path, got, want)
		}
	}
	if len(versions) != 2 {
		t.Errorf("found the version in %v, want it in tools/tools.mod and tools/with.sh", versions)
	}
}

// find returns the first group of pattern in text, or "".
func find(text []byte, pattern string) string {
	if m := regexp.MustCompile(pattern).FindSubmatch(text); m != nil {
		return string(m[1])
	}
	return ""
}
