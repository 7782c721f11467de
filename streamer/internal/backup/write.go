package backup

import (
	"archive/tar"
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"filippo.io/age"

	"dongthanh/streamer/internal/issuer"
	"dongthanh/streamer/internal/store"
)

// Options say what goes into a backup.
type Options struct {
	Dir        string // the store's folder
	Store      *store.Store
	Audio      bool   // uploads too
	Recordings bool   // recordings of sessions too
	Passphrase string // empty: not sealed
	Version    string // of the software
	Now        func() time.Time

	work int // scrypt's, as a power of two; 0: age's own. Tests are in a hurry
}

// Write makes the backup at path, which must not exist: whole, or not at all. The streamer may be running. ErrExists;
// others are the disk's.
func Write(ctx context.Context, o Options, path string) error {
	if err := write(ctx, o, path); err != nil {
		return fmt.Errorf("back up %s to %s: %w", o.Dir, path, err)
	}
	return nil
}

func write(ctx context.Context, o Options, path string) (err error) {
	if _, err := os.Lstat(path); err == nil {
		return ErrExists
	}
	f, put, drop, err := aside(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, drop()) }()
	buffered := bufio.NewWriterSize(f, 1<<20)
	var out io.Writer = buffered
	sealed := io.Closer(io.NopCloser(nil))
	if o.Passphrase != "" {
		to, err := age.NewScryptRecipient(o.Passphrase)
		if err != nil {
			return err
		}
		if o.work > 0 {
			to.SetWorkFactor(o.work)
		}
		w, err := age.Encrypt(buffered, to)
		if err != nil {
			return err
		}
		out, sealed = w, w
	}
	a := &archive{tar: tar.NewWriter(out)}
	if err := a.fill(ctx, o); err != nil {
		return err
	}
	for _, end := range []func() error{a.tar.Close, sealed.Close, buffered.Flush, put} {
		if err := end(); err != nil {
			return err
		}
	}
	return nil
}

// archive is a tar file that is being written.
type archive struct {
	tar  *tar.Writer
	list manifest
}

func (a *archive) fill(ctx context.Context, o Options) error {
	now := o.Now().UTC()
	if err := a.json(headName, head{program, format, o.Version, now, o.Audio, o.Recordings}, now); err != nil {
		return err
	}
	if err := a.database(ctx, o); err != nil {
		return err
	}
	unlock, err := issuer.Lock(filepath.Join(o.Dir, keysDir)) // or a renewal could be caught half way
	if err != nil {
		return err
	}
	err = a.folder(ctx, o.Dir, keysDir)
	if err = errors.Join(err, unlock()); err != nil {
		return err
	}
	entries, err := os.ReadDir(o.Dir)
	if err != nil {
		return err
	}
	for _, e := range entries { // whatever else parts keep there
		name := e.Name()
		if store.Volatile(name) || name == keysDir || name == audioDir && !o.Audio || name == recordingsDir && !o.Recordings {
			continue
		}
		if err := a.folder(ctx, o.Dir, name); err != nil {
			return err
		}
	}
	return a.json(listName, a.list, now)
}

// database puts a copy of the database in, as it is at one moment.
func (a *archive) database(ctx context.Context, o Options) (err error) {
	dir, err := os.MkdirTemp(o.Dir, ".backup-*") // mode 0700; beside the database, where its secrets lie anyway
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	path := filepath.Join(dir, store.Database)
	if err := o.Store.Snapshot(ctx, path); err != nil {
		return err
	}
	return a.file(path, store.Database)
}

// folder puts every regular file at or beneath root/name in; hidden ones are unfinished or locks.
func (a *archive) folder(ctx context.Context, root, name string) error {
	return filepath.WalkDir(filepath.Join(root, name), func(path string, d fs.DirEntry, err error) error {
		gone := errors.Is(err, fs.ErrNotExist) // a recording may be removed meanwhile
		switch {
		case gone:
			return nil
		case err != nil, ctx.Err() != nil:
			return errors.Join(err, ctx.Err())
		case strings.HasPrefix(d.Name(), "."):
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		case !d.Type().IsRegular():
			return nil
		}
		short, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		if err := a.file(path, filepath.ToSlash(short)); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	})
}

// file puts one file in, as long as it is now: one that is being written grows on.
func (a *archive) file(path, name string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close() // read only: nothing to lose
	i, err := f.Stat()
	if err != nil {
		return err
	}
	if err := a.tar.WriteHeader(&tar.Header{Name: filesUnder + name, Mode: 0o600, Size: i.Size(), ModTime: i.ModTime(), Format: tar.FormatPAX}); err != nil {
		return err
	}
	sum := sha256.New()
	if _, err := io.CopyN(io.MultiWriter(a.tar, sum), f, i.Size()); err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	a.list.Files = append(a.list.Files, entry{name, i.Size(), hex.EncodeToString(sum.Sum(nil))})
	return nil
}

func (a *archive) json(name string, v any, now time.Time) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if err := a.tar.WriteHeader(&tar.Header{Name: name, Mode: 0o600, Size: int64(len(b)), ModTime: now, Format: tar.FormatPAX}); err != nil {
		return err
	}
	_, err = a.tar.Write(b)
	return err
}
