package library_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"dongthanh/internal/testkit"
	"dongthanh/streamer/internal/library"
	"dongthanh/streamer/internal/store"
)

// fillDisk runs in a mount namespace of its own, where dir/audio is a disk of 1 MB.
func fillDisk(dir string) error {
	ctx := context.Background()
	s, err := store.Open(ctx, dir, nil)
	if err != nil {
		return err
	}
	defer s.Close()
	audio := filepath.Join(dir, "audio")
	if err := os.Mkdir(audio, 0o700); err != nil {
		return err
	}
	if err := syscall.Mount("tmpfs", audio, "tmpfs", 0, "size=1m"); err != nil {
		return fmt.Errorf("mount: %w", err)
	}
	l, err := library.Open(dir, s, nil)
	if err != nil {
		return err
	}
	defer l.Close()
	small, big := wav{seconds: 1}.bytes(), wav{seconds: 12}.bytes()
	for range 2 { // what was refused leaves room for what fits
		var refusal *library.Refusal
		if _, err := l.Add(ctx, bytes.NewReader(big), "big", "lan"); !errors.Is(err, store.ErrFull) || errors.As(err, &refusal) {
			return fmt.Errorf("Add on a full disk: %w, want store.ErrFull", err)
		}
		if list, err := files(filepath.Join(audio, "tmp")); len(list) != 0 || err != nil {
			return fmt.Errorf("left behind: %v, %w", list, err)
		}
		if _, err := l.Add(ctx, bytes.NewReader(small), "small", "lan"); err != nil {
			return err
		}
	}
	if err := syscall.Mount("", audio, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		return fmt.Errorf("remount: %w", err)
	}
	if _, err := l.Add(ctx, bytes.NewReader(wav{seconds: 2}.bytes()), "x", "lan"); !errors.Is(err, syscall.EROFS) {
		return fmt.Errorf("Add on a read-only disk: %w, want EROFS", err)
	}
	id := fmt.Sprintf("%x", sum(small))
	sound, err := l.Open(ctx, id)
	if err != nil {
		return fmt.Errorf("a read-only disk must still play: %w", err)
	}
	return sound.Close()
}

func TestFullAndReadOnlyDisk(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe)
	cmd.Env = append(os.Environ(), helperEnv+"="+t.TempDir())
	cmd.Stderr = os.Stderr
	testkit.RunApart(t, cmd)
}
