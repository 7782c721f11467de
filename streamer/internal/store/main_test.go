package store_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"testing"
	"time"

	"go.uber.org/goleak"

	"dongthanh/internal/zone"
	"dongthanh/streamer/internal/store"
)

// helperEnv makes the test binary run one of helpers instead of the tests: another process is what a kill, or a disk
// of its own, needs.
const helperEnv = "STORE_TEST_HELPER"

var helpers = map[string]func(dir string) error{
	"fences": drawFences,
	"disk":   fillDisk,
}

func TestMain(m *testing.M) {
	name := os.Getenv(helperEnv)
	if name == "" {
		goleak.VerifyTestMain(m)
		return
	}
	if err := helpers[name](os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// helperCommand runs the helper name with dir in a process of its own.
func helperCommand(t *testing.T, name, dir string) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe, dir)
	cmd.Env = append(os.Environ(), helperEnv+"="+name)
	cmd.Stderr = os.Stderr
	return cmd
}

var day = time.Date(2026, 11, 24, 5, 0, 0, 0, time.UTC)

func open(t testing.TB) *store.Store {
	t.Helper()
	return openDir(t, t.TempDir())
}

func openDir(t testing.TB, dir string) *store.Store {
	t.Helper()
	s, err := store.Open(context.Background(), dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// withZones is a store that knows the demo's zones.
func withZones(t testing.TB) *store.Store {
	t.Helper()
	s := open(t)
	addDemoZones(t, s)
	return s
}

func addDemoZones(t testing.TB, s *store.Store) {
	t.Helper()
	var list []store.Zone
	for code, name := range map[zone.Zone]string{
		"31": "Thành phố Hải Phòng", "31/11296": "Xã Vĩnh Bảo", "31/11296/02": "Thôn Đông", "31/11407": "Phường Đồ Sơn",
	} {
		list = append(list, store.Zone{Code: code, Name: name})
	}
	if _, _, err := s.UpsertZones(t.Context(), list, day); err != nil {
		t.Fatal(err)
	}
}

func hash(n int) store.Hash { return store.HashOf(fmt.Sprint(n)) }

func textLogger(w io.Writer) *slog.Logger { return slog.New(slog.NewTextHandler(w, nil)) }
