package store

import (
	"context"
	"database/sql"
	"errors"
	"io/fs"
	"strings"
	"testing"

	"github.com/pressly/goose/v3"
)

// What must survive a power cut depends on these: NORMAL would lose the last commits.
func TestPragmas(t *testing.T) {
	s, err := Open(t.Context(), t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, c := range []struct {
		pool   *sql.DB
		pragma string
		want   string
	}{
		{s.writer, "journal_mode", "wal"}, {s.writer, "synchronous", "2"}, {s.writer, "foreign_keys", "1"},
		{s.writer, "busy_timeout", "5000"}, {s.writer, "query_only", "0"}, {s.writer, "trusted_schema", "0"},
		{s.reader, "query_only", "1"}, {s.reader, "busy_timeout", "5000"}, {s.reader, "journal_mode", "wal"},
	} {
		var got string
		if err := c.pool.QueryRow("PRAGMA " + c.pragma).Scan(&got); err != nil || got != c.want {
			t.Errorf("PRAGMA %s = %q, %v, want %q", c.pragma, got, err, c.want)
		}
	}
	if n := s.writer.Stats().MaxOpenConnections; n != 1 {
		t.Errorf("writer has %d connections, want 1", n)
	}
	if _, err := s.reader.Exec(`DELETE FROM zones`); err == nil {
		t.Error("a reader could write")
	}
}

// Every migration can be taken back and applied again.
func TestMigrationsDownAndUp(t *testing.T) {
	s, err := Open(t.Context(), t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	files, err := fs.Sub(migrations, "migrations/sqlite")
	if err != nil {
		t.Fatal(err)
	}
	p, err := goose.NewProvider(goose.DialectSQLite3, s.writer, files)
	if err != nil {
		t.Fatal(err)
	}
	before := schema(t, s.writer)
	if _, err := p.DownTo(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	if left := schema(t, s.writer); len(left) != 1 { // goose's own table
		t.Errorf("after down there are %v, want goose's table only", left)
	}
	if _, err := p.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	if after := schema(t, s.writer); len(after) != len(before) || len(before) < 12 {
		t.Errorf("after down and up there are %v, before %v", after, before)
	}
}

func schema(t *testing.T, db *sql.DB) []string {
	t.Helper()
	names, err := all(context.Background(), db, func(r row) (n string, err error) { return n, r.Scan(&n) },
		`SELECT name FROM sqlite_master WHERE name NOT LIKE 'sqlite_%' ORDER BY name`)
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func TestFold(t *testing.T) {
	for in, want := range map[string]string{
		"Đường Điện Biên":     "duong dien bien",
		"  Xã   Mẫu  Sơn ":    "xa mau son",
		"Bộ":                  "bo", // NFD
		"PHƯỜNG Ô CHỢ DỪA":    "phuong o cho dua",
		"Ⅳ ﬁ ＡＢ":              "iv fi ab",
		"đặc khu Phú Quốc 12": "dac khu phu quoc 12",
		"":                    "",
	} {
		if got := Fold(in); got != want {
			t.Errorf("Fold(%q) = %q, want %q", in, got, want)
		}
		if again := Fold(Fold(in)); again != want {
			t.Errorf("Fold twice of %q = %q, want %q", in, again, want)
		}
	}
}

// A database that turns read-only while it is open: writes fail by name, reads and the process go on. The kernel does
// not remount a disk with files open for writing, so the engine itself is told to refuse.
func TestReadOnlyWhileOpen(t *testing.T) {
	s, err := Open(t.Context(), t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.writer.Exec(`PRAGMA query_only = 1`); err != nil {
		t.Fatal(err)
	}
	if _, err := s.NextFence(t.Context(), "normal"); !errors.Is(err, ErrReadOnly) || !strings.Contains(err.Error(), "draw a fence of class normal") {
		t.Errorf("NextFence: %v, want ErrReadOnly that names the act", err)
	}
	if _, err := s.Zones(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := s.writer.Exec(`PRAGMA query_only = 0`); err != nil {
		t.Fatal(err)
	}
	if n, err := s.NextFence(t.Context(), "normal"); n != 1 || err != nil {
		t.Errorf("NextFence = %d, %v, want 1 once it can write again", n, err)
	}
}

// A second program that holds the write lock for too long is named as such.
func TestBusy(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(t.Context(), dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	other, err := Open(t.Context(), dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if _, err := s.writer.Exec(`PRAGMA busy_timeout = 50`); err != nil {
		t.Fatal(err)
	}
	err = other.write(t.Context(), "hold the lock", func(*sql.Tx) error {
		_, err := s.NextFence(t.Context(), "normal")
		return err
	})
	if !errors.Is(err, ErrBusy) {
		t.Errorf("NextFence: %v, want ErrBusy", err)
	}
}
