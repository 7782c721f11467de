package store_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"dongthanh/internal/testkit"
	"dongthanh/streamer/internal/store"
)

// fillDisk runs in a mount namespace of its own: on a real file system that is really full, then read-only.
func fillDisk(dir string) error {
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=330m"); err != nil {
		return fmt.Errorf("mount: %w", err)
	}
	ctx := context.Background()
	var log bytes.Buffer
	s, err := store.Open(ctx, filepath.Join(dir, "s"), textLogger(&log))
	if err != nil {
		return err
	}
	if err := s.SetSetting(ctx, "before", "1"); err != nil {
		return err
	}
	fence, err := s.NextFence(ctx, "emergency")
	if err != nil {
		return err
	}
	// Somebody else fills the disk to the last byte.
	if err := fill(filepath.Join(dir, "log")); err != nil {
		return err
	}
	// The reserve lets the database go on.
	big := strings.Repeat("x", 1<<20)
	written := 0
	for ; written < 10; written++ {
		if err := s.SetSetting(ctx, fmt.Sprint("big", written), big); err != nil {
			return err
		}
	}
	if !strings.Contains(log.String(), "reserve was freed") {
		return fmt.Errorf("wrote %d MB on a full disk; log: %s", written, log.String())
	}
	// And when that is used up too, errors say so, and nothing is half done.
	if err := fill(filepath.Join(dir, "log2")); err != nil {
		return err
	}
	for ; written < 20; written++ { // what the write-ahead log already takes up can be written again
		if err = s.SetSetting(ctx, fmt.Sprint("big", written), big); err != nil {
			break
		}
	}
	if !errors.Is(err, store.ErrFull) || !strings.Contains(err.Error(), "store setting") {
		return fmt.Errorf("SetSetting on a full disk: %w, want ErrFull that names the act", err)
	}
	if v, err := s.Setting(ctx, "before"); v != "1" || err != nil {
		return fmt.Errorf("Setting = %q, %w on a full disk", v, err)
	}
	if _, err := s.Setting(ctx, fmt.Sprint("big", written)); !errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("the failed setting: %w, want ErrNotFound", err)
	}
	// The same store works again when there is room.
	if err := os.Remove(filepath.Join(dir, "log")); err != nil {
		return err
	}
	next, err := s.NextFence(ctx, "emergency")
	if err != nil || next <= fence {
		return fmt.Errorf("NextFence after the disk was full = %d, %w, want more than %d", next, err, fence)
	}
	if err := s.Close(); err != nil {
		return err
	}

	// A disk that was remounted read-only after an error, as ext4 does.
	if err := syscall.Mount("", dir, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		return fmt.Errorf("remount: %w", err)
	}
	if s, err := store.Open(ctx, filepath.Join(dir, "s"), nil); err == nil {
		_ = s.Close()
		return errors.New("Open on a read-only disk succeeded")
	} else if !strings.Contains(err.Error(), "open store") || !errors.Is(err, syscall.EROFS) {
		return fmt.Errorf("Open on a read-only disk: %w, want one that names the act and the cause", err)
	}
	return nil
}

// fill makes path as large as the disk allows, to the last page.
func fill(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	end := int64(0)
	for size := int64(64 << 20); size > 0; {
		if err := syscall.Fallocate(int(f.Fd()), 0, end, size); errors.Is(err, syscall.ENOSPC) {
			size /= 2
		} else if err != nil {
			return errors.Join(err, f.Close())
		} else {
			end += size
		}
	}
	return f.Close()
}

func TestFullAndReadOnlyDisk(t *testing.T) {
	cmd := helperCommand(t, "disk", t.TempDir())
	testkit.RunApart(t, cmd)
}
