package link

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestNextBoot(t *testing.T) {
	dir := t.TempDir()
	for want := uint32(1); want < 4; want++ {
		if got, err := NextBoot(dir); err != nil || got != want {
			t.Fatalf("NextBoot() = %d, %v; want %d", got, err, want)
		}
	}
	for _, tc := range []struct {
		name, text string
		want       uint32 // 0: an error
	}{
		{"the largest that a counter can carry", "16777215", 1},
		{"with a line end", "41\n", 42},
		{"empty, as a crash of another program may leave it", "", 1},
		{"no number", "many", 0},
	} {
		if err := os.WriteFile(filepath.Join(dir, "boot"), []byte(tc.text), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := NextBoot(dir)
		if got != tc.want || (err != nil) != (tc.want == 0) {
			t.Errorf("%s: NextBoot() = %d, %v; want %d", tc.name, got, err, tc.want)
		}
	}
	if _, err := NextBoot(filepath.Join(dir, "nowhere")); err == nil {
		t.Error("NextBoot of a directory that does not exist succeeded")
	}
}

// TestCountBootWithoutADisk: what cannot be read or written stops nobody, and the counts still rise.
func TestCountBootWithoutADisk(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	var text bytes.Buffer
	log := slog.New(slog.NewTextHandler(&text, nil))
	good := t.TempDir()
	if got := CountBoot(good, now, log); got != 1 || text.Len() != 0 {
		t.Errorf("CountBoot() = %d with %q in the log; want 1 and nothing", got, text.String())
	}
	for name, spoil := range map[string]func(dir string) error{
		"cannot be written": func(dir string) error { return os.Mkdir(filepath.Join(dir, "boot"), 0o700) },
		"is garbage":        func(dir string) error { return os.WriteFile(filepath.Join(dir, "boot"), []byte("many"), 0o600) },
		"has no folder":     os.RemoveAll,
	} {
		text.Reset()
		dir := t.TempDir()
		if err := spoil(dir); err != nil {
			t.Fatal(err)
		}
		first, later := CountBoot(dir, now, log), CountBoot(dir, now.Add(time.Hour), log)
		if first < 1<<20 || first > maxBoot || later <= first {
			t.Errorf("a count that %s: %d, and %d an hour later; want large numbers that rise", name, first, later)
		}
		if n := strings.Count(text.String(), "\n"); n != 2 || !strings.Contains(text.String(), "disk") {
			t.Errorf("a count that %s is told in %d lines, want one each: %s", name, n, text.String())
		}
	}
}
