package arch

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestBundlesAreCurrent generates the pages' scripts anew, in a copy of the tree, and holds the
// committed ones to them: they are committed so that go build needs nothing but Go.
func TestBundlesAreCurrent(t *testing.T) {
	tree := load(t)
	var generates bool
	for _, s := range tree.sources {
		generates = generates || within(s.dir, "streamer") && bytes.Contains(s.text, []byte("\n//go:generate "))
	}
	if !generates {
		if exists("streamer/internal/console") {
			t.Error("streamer/internal/console has no //go:generate line: make web cannot rebuild its scripts")
			return
		}
		t.Skip("nothing below streamer is generated yet")
	}
	dir := t.TempDir()
	for _, f := range tree.files {
		if !within(f.path, "streamer") && !within(f.path, "tools") && f.path != "go.mod" && f.path != "go.sum" {
			continue
		}
		path := filepath.Join(dir, f.path)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, f.text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("go", "generate", "./streamer/...")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go generate ./streamer/...: %v\n%s", err, out)
	}
	committed := map[string]bool{}
	for _, f := range tree.files {
		if !within(f.path, "streamer") {
			continue
		}
		committed[f.path] = true
		if got, err := os.ReadFile(filepath.Join(dir, f.path)); err != nil {
			t.Errorf("%s is gone after go generate: remove it, or the line that should make it", f.path)
		} else if !bytes.Equal(got, f.text) {
			t.Errorf("%s is not what its sources make: run make web and commit the result", f.path)
		}
	}
	err := filepath.WalkDir(filepath.Join(dir, "streamer"), func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err == nil && !committed[filepath.ToSlash(rel)] {
			t.Errorf("%s is made by go generate but not committed: run make web and add it", rel)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
