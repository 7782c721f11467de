// Package backup writes the streamer's store into one file while the streamer runs, and makes a store of such a file on
// another machine: "a lost disk must not mean a ladder at every pole". Nodes trust a root, not a machine, so whoever has
// the file has the network: it is written for its owner only, and sealed where a passphrase is given. The streamer's
// command line calls it; it decides nothing about what runs.
//
// The file is a tar archive: backup.json first (what it is), the store's files under store/, and manifest.json last
// (size and SHA-256 of each), whose presence says that the archive is whole. A passphrase seals all of it by age
// (age-encryption.org/v1, scrypt).
package backup

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const (
	program    = "dongthanh streamer"
	format     = 1
	headName   = "backup.json"
	listName   = "manifest.json"
	filesUnder = "store/"

	audioDir      = "audio" // of packages library …
	recordingsDir = "recordings"
	keysDir       = "keys"

	maxJSON = 64 << 20 // of manifest.json: a million files
)

// What can be wrong with an archive; test with errors.Is.
var (
	ErrForeign    = errors.New("not a backup of a streamer")
	ErrNewer      = errors.New("made by a later version")
	ErrDamaged    = errors.New("the backup is damaged")
	ErrPassphrase = errors.New("wrong passphrase")
	ErrSealed     = errors.New("the backup is sealed: --passphrase-file is needed")
	ErrNotSealed  = errors.New("the backup is not sealed, and a passphrase was given")
	ErrNotEmpty   = errors.New("the store's folder is not empty")
	ErrExists     = errors.New("file exists")
)

// head is backup.json.
type head struct {
	Program    string    `json:"program"`
	Format     int       `json:"format"`
	Version    string    `json:"version"` // of the software
	Created    time.Time `json:"created"`
	Audio      bool      `json:"audio"` // uploads are in it
	Recordings bool      `json:"recordings"`
}

// manifest is manifest.json.
type manifest struct {
	Files []entry `json:"files"`
}

type entry struct {
	Name   string `json:"name"` // below store/
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

// ReadPassphrase reads the first line of a file that only its owner should read.
func ReadPassphrase(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("read passphrase: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, 4096))
	if err != nil {
		return "", fmt.Errorf("read passphrase: %w", err)
	}
	line, _, _ := strings.Cut(string(b), "\n")
	if line = strings.TrimRight(line, "\r"); len(line) < 12 {
		return "", fmt.Errorf("read passphrase: the first line of %s has fewer than 12 characters", path)
	}
	return line, nil
}

// aside makes a file beside path that only its owner can read. put gives it its name, for good, and refuses to replace
// another; drop removes it, and does nothing after put.
func aside(path string) (f *os.File, put func() error, drop func() error, err error) {
	dir := filepath.Dir(path)
	f, err = os.CreateTemp(dir, "."+filepath.Base(path)+"-*") // mode 0600
	if err != nil {
		return nil, nil, nil, err
	}
	done := false
	put = func() error {
		if err := errors.Join(f.Sync(), f.Close()); err != nil {
			return err
		}
		if _, err := os.Lstat(path); err == nil {
			return fmt.Errorf("%s: %w", path, ErrExists)
		}
		if err := os.Rename(f.Name(), path); err != nil {
			return err
		}
		done = true
		return syncDir(dir)
	}
	drop = func() error {
		if done {
			return nil
		}
		_ = f.Close() // a second time is no fault
		return os.Remove(f.Name())
	}
	return f, put, drop, nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
