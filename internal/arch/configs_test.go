package arch

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"dongthanh/internal/config"
)

// TestSamples runs the real programs on the real samples. Each program is built once, without symbols: linking is what
// takes the time here.
func TestSamples(t *testing.T) {
	others := map[string][]string{} // by program, the YAML files of configs/ that its name begins
	for _, f := range load(t).files {
		if !strings.HasPrefix(f.path, "configs/") || filepath.Ext(f.path) != ".yaml" {
			continue
		}
		name, _, _ := strings.Cut(strings.TrimSuffix(filepath.Base(f.path), ".yaml"), "-")
		if !slices.Contains(programs, name) {
			t.Errorf("%s: begin its name with the program that reads it, streamer-, relay- or client-", f.path)
		}
		others[name] = append(others[name], f.path)
	}
	for _, name := range programs {
		t.Run(name, func(t *testing.T) {
			bin := filepath.Join(t.TempDir(), name)
			build := exec.Command("go", "build", "-ldflags=-s -w", "-o", bin, "./"+name)
			build.Dir = root
			if out, err := build.CombinedOutput(); err != nil {
				t.Fatalf("go build ./%s: %v\n%s", name, err, out)
			}
			for _, sample := range others[name] {
				t.Run(sample, func(t *testing.T) { check(t, bin, "--config", sample) })
			}
			t.Run("defaults", func(t *testing.T) { holdsTheDefaults(t, bin, "configs/"+name+".yaml") })
		})
	}
}

// holdsTheDefaults holds that a sample says nothing but the defaults of the program bin, and says all of them.
func holdsTheDefaults(t *testing.T, bin, sample string) {
	defaults := values(check(t, bin, "--defaults"))
	got := values(check(t, bin, "--print", "--config", sample))
	text, err := os.ReadFile(filepath.Join(root, sample))
	if err != nil {
		t.Fatal(err)
	}
	paths, err := config.Written(string(text))
	if err != nil {
		t.Fatal(err)
	}
	written := map[string]bool{}
	for _, p := range paths {
		written[p] = true
	}
	for path, value := range got {
		if value != defaults[path] {
			t.Errorf("%s says %s: %s, the default is %s: a sample shows what holds without it", sample, path, value, or(defaults[path], "(none)"))
		}
		if !written[path] {
			t.Errorf("%s lacks %s: add it with its default (%s) and a comment", sample, path, value)
		}
	}
	for path := range defaults {
		if _, ok := got[path]; !ok {
			t.Errorf("%s removes %s, which has a default: list it", sample, path)
		}
	}
}

// check returns what bin check prints, run from the root without our variables.
func check(t *testing.T, bin string, args ...string) string {
	t.Helper()
	cmd := exec.Command(bin, append([]string{"check"}, args...)...)
	cmd.Dir, cmd.Env = root, cleanEnv()
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s check %s: %v\n%s", filepath.Base(bin), strings.Join(args, " "), err, out)
	}
	return string(out)
}

// cleanEnv returns the environment without overrides of the configuration.
func cleanEnv() []string {
	var env []string
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "DONGTHANH_") {
			env = append(env, e)
		}
	}
	return env
}

// values returns "path: value" lines as a map.
func values(text string) map[string]string {
	all := map[string]string{}
	for line := range strings.Lines(text) {
		path, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		all[path] = value
	}
	return all
}

// or returns a, or b if a is empty.
func or(a, b string) string {
	if a == "" {
		return b
	}
	return a
}
