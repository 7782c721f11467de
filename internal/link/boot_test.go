package link

import (
	"os"
	"path/filepath"
	"testing"
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
