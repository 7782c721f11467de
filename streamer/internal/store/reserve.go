package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

const (
	reserveName = "reserve"

	// reserveBytes are held back from whoever fills the disk, and freed for the database when it is full: enough for
	// some hundred thousand rows while people clear space (facts/reliability.md §5.4).
	reserveBytes = 64 << 20

	// reserveShare: the reserve is only taken where at least this many times its size is free, or it would itself fill
	// a small disk.
	reserveShare = 4
)

// makeReserve allocates the reserve file where there is room and it is missing.
func (s *Store) makeReserve() (err error) {
	path := filepath.Join(s.dir, reserveName)
	if i, err := os.Stat(path); err == nil && i.Size() == reserveBytes {
		return nil
	}
	var disk syscall.Statfs_t
	if err := syscall.Statfs(s.dir, &disk); err != nil {
		return fmt.Errorf("measure the free space: %w", err)
	}
	if free := disk.Bavail * uint64(disk.Bsize); free < reserveShare*reserveBytes { // #nosec G115 -- a block size is positive
		return fmt.Errorf("only %d MB are free", free>>20)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err = errors.Join(err, f.Close()); err != nil {
			_ = os.Remove(path) // half a reserve would pass for a whole one
		}
	}()
	if err := syscall.Fallocate(int(f.Fd()), 0, 0, reserveBytes); err != nil {
		return fmt.Errorf("allocate %s: %w", path, err)
	}
	return nil
}

// giveUpReserve deletes the reserve file where there still is one. It comes back at the next Open that finds room.
func (s *Store) giveUpReserve() {
	if err := os.Remove(filepath.Join(s.dir, reserveName)); err == nil {
		s.log.Error("disk is full: the reserve was freed for the database, clear space now", "dir", s.dir, "bytes", reserveBytes)
	}
}
