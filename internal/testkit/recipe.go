package testkit

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Recipe is the command that follows the mark <!-- name --> in docs/sources.md, to be run by a shell as a reader would,
// with variables ("NAME=value") beside the test's own. It belongs to the caller. Where program is missing the test is
// skipped, or with CI=true fails.
func Recipe(t testing.TB, name, program string, variables ...string) *exec.Cmd {
	t.Helper()
	Program(t, program)
	_, rest, ok := strings.Cut(read(t, "docs/sources.md"), "<!-- "+name+" -->\n```sh\n")
	command, _, closed := strings.Cut(rest, "\n```")
	if !ok || !closed {
		t.Fatalf("docs/sources.md has no command %s", name)
	}
	cmd := exec.CommandContext(t.Context(), "sh", "-c", "exec "+command)
	cmd.Env = append(os.Environ(), variables...)
	return cmd
}

// Program returns the path of a program that a test needs. Where it is missing the test is skipped, or with CI=true fails.
func Program(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("%s is missing", name)
		}
		t.Skipf("%s is missing", name)
	}
	return path
}

// Speech is a text spoken by one of espeak-ng's voices, as a WAV file.
func Speech(t testing.TB, voice, text string) []byte {
	t.Helper()
	file, err := exec.Command(Program(t, "espeak-ng"), "-v", voice, "--stdout", text).Output()
	if err != nil {
		t.Fatalf("espeak-ng: %v", err)
	}
	return file
}

// read returns a file of the repository.
func read(t testing.TB, path string) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			break
		}
		if dir == filepath.Dir(dir) {
			t.Fatal("no go.mod above the test")
		}
		dir = filepath.Dir(dir)
	}
	b, err := os.ReadFile(filepath.Join(dir, path))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
