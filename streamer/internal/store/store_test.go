package store_test

import (
	"database/sql"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"dongthanh/streamer/internal/store"
)

const file = "dongthanh.db"

func TestFilesAreForTheirOwnerOnly(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	s := openDir(t, dir)
	if err := s.SetSetting(t.Context(), "x", "y"); err != nil { // brings the log into being
		t.Fatal(err)
	}
	seen := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		i, err := d.Info()
		if err != nil {
			return err
		}
		seen++
		if i.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v, want nothing for others", path, i.Mode())
		}
		return nil
	})
	if err != nil || seen < 4 {
		t.Fatalf("walked %d entries: %v, want the folder, database, -wal and -shm at least", seen, err)
	}
}

func TestModesAreTightened(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, file), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	openDir(t, dir)
	for path, want := range map[string]fs.FileMode{dir: 0o700, filepath.Join(dir, file): 0o600} {
		i, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := i.Mode().Perm(); got != want {
			t.Errorf("mode of %s = %v, want %v", path, got, want)
		}
	}
}

func TestFolderWithOddName(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a b?c#d%e&f=ğ Đồng")
	s := openDir(t, dir)
	if err := s.SetSetting(t.Context(), "x", "y"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, file)); err != nil {
		t.Error(err)
	}
}

func TestSettingsSurviveAReopen(t *testing.T) {
	dir := t.TempDir()
	s, err := store.Open(t.Context(), dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Setting(t.Context(), "id"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("Setting of nothing: %v, want ErrNotFound", err)
	}
	for _, v := range []string{"một", "hai"} {
		if err := s.SetSetting(t.Context(), "id", v); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Check(t.Context()); err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.SetSetting(t.Context(), "id", "ba"); err == nil {
		t.Error("SetSetting after Close succeeded")
	}
	s = openDir(t, dir)
	if v, err := s.Setting(t.Context(), "id"); v != "hai" || err != nil {
		t.Errorf("Setting = %q, %v, want hai", v, err)
	}
}

// A server and command lines may meet an empty folder at the same moment.
func TestOpenAtTheSameTime(t *testing.T) {
	dir := t.TempDir()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			s, err := store.Open(t.Context(), dir, nil)
			if err != nil {
				t.Error(err)
				return
			}
			for range 5 {
				if _, err := s.NextFence(t.Context(), "normal"); err != nil {
					t.Error(err)
				}
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	s := openDir(t, dir)
	if n, err := s.NextFence(t.Context(), "normal"); n != 21 || err != nil {
		t.Errorf("NextFence = %d, %v, want 21", n, err)
	}
}

func TestRefusesWhatItCannotRead(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, file), []byte(strings.Repeat("not a database ", 100)), 0o600); err != nil {
		t.Fatal(err)
	}
	if s, err := store.Open(t.Context(), dir, nil); err == nil {
		s.Close()
		t.Error("Open of a file that is no database succeeded")
	}

	dir = t.TempDir()
	s, err := store.Open(t.Context(), dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	db, err := sql.Open("sqlite", filepath.Join(dir, file))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec(`INSERT INTO goose_db_version (version_id, is_applied) VALUES (99999, 1)`); err != nil {
		t.Fatal(err)
	}
	db.Close()
	if s, err := store.Open(t.Context(), dir, nil); !errors.Is(err, store.ErrNewer) {
		if err == nil {
			s.Close()
		}
		t.Errorf("Open of a newer schema: %v, want ErrNewer", err)
	}

	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if s, err := store.Open(t.Context(), path, nil); err == nil {
		s.Close()
		t.Error("Open in a file succeeded")
	}
}
