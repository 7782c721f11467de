package arch

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"dongthanh/internal/config"
)

// TestSamplesHoldTheDefaults runs the real programs on the real samples: each loads, says nothing
// but the defaults, and says all of them.
func TestSamplesHoldTheDefaults(t *testing.T) {
	for _, name := range programs {
		t.Run(name, func(t *testing.T) {
			sample := "configs/" + name + ".yaml"
			if !exists(name+"/main.go") && !exists(sample) {
				t.Skipf("%s/main.go and %s are not there yet", name, sample)
			}
			bin := filepath.Join(t.TempDir(), name)
			build := exec.Command("go", "build", "-o", bin, "./"+name)
			build.Dir = root
			if out, err := build.CombinedOutput(); err != nil {
				t.Fatalf("go build ./%s: %v\n%s", name, err, out)
			}
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
		})
	}
}

// TestSamplesLoad holds that every other YAML file in configs/ loads too. Its name begins with the
// program that it is for.
func TestSamplesLoad(t *testing.T) {
	for _, f := range load(t).files {
		if !strings.HasPrefix(f.path, "configs/") || filepath.Ext(f.path) != ".yaml" {
			continue
		}
		name, _, _ := strings.Cut(strings.TrimSuffix(filepath.Base(f.path), ".yaml"), "-")
		t.Run(f.path, func(t *testing.T) {
			if !strings.Contains(strings.Join(programs, " "), name) {
				t.Fatalf("%s: begin its name with the program that reads it, streamer-, relay- or client-", f.path)
			}
			if !exists(name + "/main.go") {
				t.Skipf("%s/main.go is not there yet", name)
			}
			cmd := exec.Command("go", "run", "./"+name, "check", "--config", f.path)
			cmd.Dir, cmd.Env = root, cleanEnv()
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%s: %v\n%s", f.path, err, out)
			}
		})
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
