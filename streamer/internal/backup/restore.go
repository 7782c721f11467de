package backup

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"filippo.io/age"

	"dongthanh/streamer/internal/issuer"
	"dongthanh/streamer/internal/store"
)

// sealedMark begins an archive that age has sealed.
const sealedMark = "age-encryption.org/v1"

// Restore makes a store in dir, which must be empty or missing, of the backup at file. It unpacks beside dir, checks every
// byte, the database and the keys, makes the database safe to go on with (store.Recover, for the classes of bulletins),
// and only then puts the folder in place: at any moment there is a whole store or none. The errors are this package's,
// store.ErrNewer, or the disk's.
func Restore(ctx context.Context, file, dir, passphrase string, classes []string, now time.Time) error {
	if err := restore(ctx, file, dir, passphrase, classes, now); err != nil {
		return fmt.Errorf("restore %s into %s: %w", file, dir, err)
	}
	return nil
}

func restore(ctx context.Context, file, dir, passphrase string, classes []string, now time.Time) (err error) {
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		dir = real // the link stays, what it leads to is replaced
	}
	if err := empty(dir); err != nil {
		return err
	}
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close() // read only: nothing to lose
	parent := filepath.Dir(filepath.Clean(dir))
	if err := os.MkdirAll(parent, 0o755); err != nil { // #nosec G301 -- as /var/lib; the store itself is 0700
		return err
	}
	temp, err := os.MkdirTemp(parent, "."+filepath.Base(dir)+".restore-*") // mode 0700
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(temp))
		}
	}()
	in, err := unseal(bufio.NewReaderSize(f, 1<<20), passphrase)
	if err != nil {
		return err
	}
	h, err := unpack(ctx, in, temp)
	if err != nil {
		return err
	}
	if err := recovered(ctx, temp, h, classes, now); err != nil {
		return err
	}
	if err := likeOwner(temp, dir); err != nil {
		return err
	}
	// Not os.Rename, which refuses any folder; the kernel refuses one that holds something.
	if err := syscall.Rename(temp, dir); err != nil {
		return fmt.Errorf("put it in place: %w", err)
	}
	return syncDir(parent)
}

// empty refuses a folder that holds anything.
func empty(dir string) error {
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return err
	case len(entries) > 0:
		return fmt.Errorf("%w: it holds %s; a store is never overwritten", ErrNotEmpty, entries[0].Name())
	}
	return nil
}

// unseal returns the archive in clear.
func unseal(in *bufio.Reader, passphrase string) (io.Reader, error) {
	start, _ := in.Peek(len(sealedMark))
	sealed := string(start) == sealedMark
	switch {
	case !sealed && passphrase != "":
		return nil, ErrNotSealed
	case !sealed:
		return in, nil
	case passphrase == "":
		return nil, ErrSealed
	}
	with, err := age.NewScryptIdentity(passphrase)
	if err != nil {
		return nil, err
	}
	out, err := age.Decrypt(in, with)
	var wrong *age.NoIdentityMatchError
	if errors.As(err, &wrong) {
		return nil, ErrPassphrase
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return out, nil
}

// unpack writes the archive's files into dir and checks that all are there and whole.
func unpack(ctx context.Context, in io.Reader, dir string) (head, error) {
	root, err := os.OpenRoot(dir) // no name leads outside
	if err != nil {
		return head{}, err
	}
	defer root.Close()
	archive := tar.NewReader(in)
	var h head
	if err := next(archive, headName, &h); err != nil {
		return head{}, fmt.Errorf("%w: %w", ErrForeign, err)
	}
	switch {
	case h.Program != program:
		return head{}, fmt.Errorf("%w: it says it is %q", ErrForeign, h.Program)
	case h.Format > format:
		return head{}, fmt.Errorf("%w: format %d, this program (of %s) knows %d", ErrNewer, h.Format, h.Version, format)
	}
	got := map[string]entry{}
	for {
		x, err := archive.Next()
		if err != nil {
			return head{}, fmt.Errorf("%w: its list of files is missing: %w", ErrDamaged, orEnd(err))
		}
		if x.Name == listName {
			break
		}
		name, ours := strings.CutPrefix(x.Name, filesUnder)
		if _, twice := got[name]; !ours || twice || x.Typeflag != tar.TypeReg || !filepath.IsLocal(name) || path.Clean(name) != name {
			return head{}, fmt.Errorf("%w: entry %q", ErrForeign, x.Name)
		}
		e, err := extract(ctx, archive, root, name, x.ModTime)
		if err != nil {
			return head{}, err
		}
		got[name] = e
	}
	var list manifest
	if err := decode(archive, &list); err != nil {
		return head{}, fmt.Errorf("%w: its list of files: %w", ErrDamaged, err)
	}
	if err := compare(list, got); err != nil {
		return head{}, err
	}
	return h, atEnd(archive, in)
}

// next reads an entry that must come now.
func next(archive *tar.Reader, name string, into any) error {
	x, err := archive.Next()
	if err != nil {
		return err
	}
	if x.Name != name {
		return fmt.Errorf("it begins with %q, want %s", x.Name, name)
	}
	return decode(archive, into)
}

func decode(in io.Reader, into any) error {
	b, err := io.ReadAll(io.LimitReader(in, maxJSON))
	if err != nil {
		return orEnd(err)
	}
	return json.Unmarshal(b, into)
}

// extract writes one file and returns what it is.
func extract(ctx context.Context, in io.Reader, root *os.Root, name string, at time.Time) (entry, error) {
	if err := ctx.Err(); err != nil {
		return entry{}, err
	}
	if dir := path.Dir(name); dir != "." {
		if err := root.MkdirAll(dir, 0o700); err != nil {
			return entry{}, err
		}
	}
	f, err := root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return entry{}, err
	}
	sum := sha256.New()
	read := &reader{Reader: in}
	n, err := io.Copy(io.MultiWriter(f, sum), read)
	if read.err != nil { // the archive's fault, not the disk's
		err = fmt.Errorf("%w: %s: %w", ErrDamaged, name, orEnd(read.err))
	}
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return entry{}, err
	}
	return entry{name, n, hex.EncodeToString(sum.Sum(nil))}, root.Chtimes(name, at, at)
}

// reader remembers why reading failed.
type reader struct {
	io.Reader
	err error
}

func (r *reader) Read(b []byte) (int, error) {
	n, err := r.Reader.Read(b)
	if err != nil && !errors.Is(err, io.EOF) {
		r.err = err
	}
	return n, err
}

// orEnd names an end that came too early.
func orEnd(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("it ends too early")
	}
	return err
}

// compare holds what was unpacked to the list.
func compare(list manifest, got map[string]entry) error {
	for _, want := range list.Files {
		e, ok := got[want.Name]
		switch {
		case !ok:
			return fmt.Errorf("%w: %s is missing", ErrDamaged, want.Name)
		case e != want:
			return fmt.Errorf("%w: %s is not what was backed up", ErrDamaged, want.Name)
		}
	}
	if len(got) != len(list.Files) {
		return fmt.Errorf("%w: %d files, %d in its list", ErrDamaged, len(got), len(list.Files))
	}
	return nil
}

// atEnd reads on to the end, where what seals an archive is checked, and refuses anything there.
func atEnd(archive *tar.Reader, in io.Reader) error {
	if _, err := archive.Next(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: something follows its list of files", ErrDamaged)
	}
	var block [4096]byte
	for {
		n, err := in.Read(block[:])
		if len(bytes.Trim(block[:n], "\x00")) > 0 {
			return fmt.Errorf("%w: something follows its end", ErrDamaged)
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%w: %w", ErrDamaged, err)
		}
	}
}

// recovered checks the keys and the database in dir and makes the latter safe to go on with.
func recovered(ctx context.Context, dir string, h head, classes []string, now time.Time) (err error) {
	if err := issuer.Check(filepath.Join(dir, keysDir)); err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if _, err := os.Stat(filepath.Join(dir, store.Database)); err != nil {
		return fmt.Errorf("%w: it holds no database", ErrDamaged)
	}
	s, err := store.Open(ctx, dir, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if err := s.Verify(ctx); err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return s.Recover(ctx, now, classes, store.Kept{Audio: h.Audio, Recordings: h.Recordings})
}

// likeOwner gives what root has restored to whoever owns the empty folder that it replaces: the service's user.
func likeOwner(temp, dir string) error {
	i, err := os.Stat(dir)
	if err != nil || os.Geteuid() != 0 {
		return nil // there is none, or only root may give things away
	}
	owner, ok := i.Sys().(*syscall.Stat_t)
	if !ok {
		return nil
	}
	return filepath.WalkDir(temp, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, int(owner.Uid), int(owner.Gid))
	})
}
