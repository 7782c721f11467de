package backup

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"dongthanh/internal/identity"
	"dongthanh/internal/signed"
	"dongthanh/streamer/internal/issuer"
	"dongthanh/streamer/internal/store"
)

func TestMain(m *testing.M) {
	if len(os.Args) == 4 && os.Args[1] == "fill" { // a child on a disk of its own
		os.Exit(fill(os.Args[2], os.Args[3]))
	}
	goleak.VerifyTestMain(m)
}

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

const passphrase = "hoa phượng đỏ bên sông"

var classes = []string{"normal", "priority", "emergency"}

// place is a store with a node, tokens, a key, an upload and a recording.
type place struct {
	dir          string
	store        *store.Store
	issuer       *issuer.Issuer
	node         string // enrolled
	used, unused store.Hash
}

func newPlace(t testing.TB) *place {
	t.Helper()
	ctx := t.Context()
	p := &place{dir: filepath.Join(t.TempDir(), "streamer")}
	p.store = must(store.Open(ctx, p.dir, nil))(t)
	t.Cleanup(func() { _ = p.store.Close() })
	must2(t)(p.store.UpsertZones(ctx, []store.Zone{{Code: "31", Name: "Hải Phòng"}, {Code: "31/1", Name: "Xã"}}, time.Now()))
	p.issuer = must(openIssuer(ctx, p.dir, p.store))(t)
	p.node = store.NewID()
	for _, h := range []*store.Hash{&p.used, &p.unused} {
		text, _, err := p.issuer.AddToken(ctx, identity.Client, "Loa", "31/1", time.Hour, "cli")
		if err != nil {
			t.Fatal(err)
		}
		*h = must(identity.ParseToken(text))(t).Hash()
	}
	must(p.store.ConsumeToken(ctx, p.used, p.node, time.Now()))(t)
	must(p.store.EnsureZoneKey(ctx, "31/1", time.Now()))(t)
	for range 7 {
		must(p.store.NextFence(ctx, "normal"))(t)
	}
	must(p.store.AddAudio(ctx, store.Audio{ID: strings.Repeat("a", 64), Name: "chuông", Seconds: 1, Bytes: 5, Created: time.Now()}))(t)
	for name, text := range map[string]string{"audio/aa/tone": "sound", "recordings/x.opus": "voice", "keys/https/ca/cert.pem": "other part's", "audio/.half": "no"} {
		path := filepath.Join(p.dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

func must2(t testing.TB) func(_, _ int, err error) {
	return func(_, _ int, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
}

func openIssuer(ctx context.Context, dir string, s *store.Store) (*issuer.Issuer, error) {
	return issuer.Open(ctx, issuer.Options{Dir: filepath.Join(dir, "keys"), Store: s, MaxClass: signed.ClassEmergency, Log: slog.New(slog.DiscardHandler)})
}

func (p *place) options() Options {
	return Options{Dir: p.dir, Store: p.store, Version: "v1", Now: time.Now, work: 10}
}

func TestBackupAndRestore(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*Options)
	}{
		{"plain", func(*Options) {}},
		{"sealed, with sound", func(o *Options) { o.Passphrase, o.Audio, o.Recordings = passphrase, true, true }},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx, p := t.Context(), newPlace(t)
			o := p.options()
			c.change(&o)
			file := filepath.Join(t.TempDir(), "b.tar")
			if err := Write(ctx, o, file); err != nil {
				t.Fatal(err)
			}
			if mode := must(os.Stat(file))(t).Mode().Perm(); mode != 0o600 {
				t.Errorf("mode %o, want 600", mode)
			}
			if err := Write(ctx, o, file); !errors.Is(err, ErrExists) {
				t.Errorf("a second time: %v, want ErrExists", err)
			}
			// What happens between the backup and the loss of the disk.
			for range 40 {
				must(p.store.NextFence(ctx, "normal"))(t)
			}
			after := must(p.store.NextFence(ctx, "emergency"))(t)
			old := must(p.store.ZoneKey(ctx, "31/1"))(t)
			for range 9 {
				k := must(p.store.PrepareZoneKey(ctx, "31/1", time.Now()))(t)
				if err := p.store.ActivateZoneKey(ctx, "31/1", k.Epoch, time.Now()); err != nil {
					t.Fatal(err)
				}
				old = k
			}
			must(p.store.ConsumeToken(ctx, p.unused, "another", time.Now()))(t)

			dir := filepath.Join(t.TempDir(), "deep", "store")
			if err := Restore(ctx, file, dir, o.Passphrase, classes, time.Now()); err != nil {
				t.Fatal(err)
			}
			s := must(store.Open(ctx, dir, nil))(t)
			defer s.Close()
			i := must(openIssuer(ctx, dir, s))(t)
			if i.Root() != p.issuer.Root() || i.Credentials().Node != p.issuer.Credentials().Node {
				t.Error("another root, or another streamer")
			}
			for class, least := range map[string]uint64{"normal": 48, "emergency": after} {
				if got := must(s.NextFence(ctx, class))(t); got <= least {
					t.Errorf("fence %d of class %s was drawn before", got, class)
				}
			}
			if k := must(s.ZoneKey(ctx, "31/1"))(t); k.Epoch <= old.Epoch+1 {
				t.Errorf("epoch %d, handed out before was %d", k.Epoch, old.Epoch)
			}
			if _, err := s.ConsumeToken(ctx, p.unused, "thief", time.Now()); !errors.Is(err, store.ErrRevoked) {
				t.Errorf("a token that was used after the backup: %v, want ErrRevoked", err)
			}
			if at := must(s.Restored(ctx))(t); time.Since(at) > time.Minute {
				t.Errorf("restored at %v", at)
			}
			_, audio := s.Audio(ctx, strings.Repeat("a", 64))
			for name, want := range map[string]bool{"audio/aa/tone": o.Audio, "recordings/x.opus": o.Recordings, "keys/https/ca/cert.pem": true, "audio/.half": false} {
				_, err := os.Stat(filepath.Join(dir, name))
				if (err == nil) != want {
					t.Errorf("%s is there: %v, want %v", name, err == nil, want)
				}
			}
			if (audio == nil) != o.Audio {
				t.Errorf("record of an upload: %v", audio)
			}
			err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
				if err == nil && must(d.Info())(t).Mode().Perm()&0o077 != 0 {
					t.Errorf("%s can be read by others", path)
				}
				return err
			})
			if err != nil {
				t.Error(err)
			}
			left(t, filepath.Dir(file), "b.tar")
			left(t, filepath.Dir(dir), "store")
		})
	}
}

// left holds a folder to what may be in it.
func left(t *testing.T, dir string, want ...string) {
	t.Helper()
	var got []string
	for _, e := range must(os.ReadDir(dir))(t) {
		got = append(got, e.Name())
	}
	if strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("%s holds %q, want %q", dir, got, want)
	}
}

// TestRestoreTwice: of one backup, an hour apart: nothing that the first one used is used again.
func TestRestoreTwice(t *testing.T) {
	ctx, p := t.Context(), newPlace(t)
	file := filepath.Join(t.TempDir(), "b.tar")
	if err := Write(ctx, p.options(), file); err != nil {
		t.Fatal(err)
	}
	var fence uint64
	var epoch uint32
	for n := range 2 {
		dir := filepath.Join(t.TempDir(), "store")
		if err := Restore(ctx, file, dir, "", classes, time.Now().Add(time.Duration(n)*time.Hour)); err != nil {
			t.Fatal(err)
		}
		s := must(store.Open(ctx, dir, nil))(t)
		f, k := must(s.NextFence(ctx, "normal"))(t), must(s.ZoneKey(ctx, "31/1"))(t)
		if f <= fence || k.Epoch <= epoch {
			t.Errorf("restored again: fence %d after %d, epoch %d after %d", f, fence, k.Epoch, epoch)
		}
		fence, epoch = f+1000, k.Epoch // as many were drawn
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestRestoreRefuses(t *testing.T) {
	ctx, p := t.Context(), newPlace(t)
	dir := t.TempDir()
	plain, sealed := filepath.Join(dir, "plain"), filepath.Join(dir, "sealed")
	o := p.options()
	if err := Write(ctx, o, plain); err != nil {
		t.Fatal(err)
	}
	o.Passphrase = passphrase
	if err := Write(ctx, o, sealed); err != nil {
		t.Fatal(err)
	}
	whole, whole2 := must(os.ReadFile(plain))(t), must(os.ReadFile(sealed))(t)
	flip := func(b []byte, at int) []byte {
		b = bytes.Clone(b)
		b[at] ^= 0x40
		return b
	}
	for _, c := range []struct {
		name string
		file []byte
		pass string
		want error
	}{
		{"empty", nil, "", ErrForeign},
		{"text", []byte("<html>no backup</html>"), "", ErrForeign},
		{"another archive", rewrite(t, whole, func(x *tar.Header, b []byte) []byte { x.Name = "etc/" + x.Name; return b }), "", ErrForeign},
		{"another program's", rewrite(t, whole, func(x *tar.Header, b []byte) []byte { return bytes.Replace(b, []byte(program), []byte("other"), 1) }), "", ErrForeign},
		{"a later version's", rewrite(t, whole, func(x *tar.Header, b []byte) []byte {
			return bytes.Replace(b, []byte(`"format":1`), []byte(`"format":2`), 1)
		}), "", ErrNewer},
		{"cut in the middle", whole[:len(whole)/2], "", ErrDamaged},
		{"cut before the list", whole[:len(whole)-4096], "", ErrDamaged},
		{"a byte of the database", flip(whole, 20<<10), "", ErrDamaged},
		{"something behind it", append(bytes.Clone(whole), "more"...), "", ErrDamaged},
		{"a name that leads outside", rewrite(t, whole, func(x *tar.Header, b []byte) []byte {
			x.Name = strings.Replace(x.Name, "store/dongthanh.db", "store/../../evil", 1)
			return b
		}), "", ErrForeign},
		{"a link", rewrite(t, whole, func(x *tar.Header, b []byte) []byte {
			if x.Name == "store/dongthanh.db" {
				x.Typeflag, x.Linkname, x.Size = tar.TypeSymlink, "/etc/passwd", 0
				return nil
			}
			return b
		}), "", ErrForeign},
		{"no keys", rewrite(t, whole, func(x *tar.Header, b []byte) []byte {
			if strings.HasPrefix(x.Name, "store/keys/root") {
				return skip
			}
			return b
		}), "", ErrDamaged},
		{"a passphrase for nothing", whole, passphrase, ErrNotSealed},
		{"sealed, no passphrase", whole2, "", ErrSealed},
		{"sealed, a wrong one", whole2, "hoa phượng vàng", ErrPassphrase},
		{"sealed, cut", whole2[:len(whole2)-100], passphrase, ErrDamaged},
		{"sealed, altered", flip(whole2, len(whole2)/2), passphrase, ErrDamaged},
		{"sealed, something behind it", append(bytes.Clone(whole2), 0), passphrase, ErrDamaged},
	} {
		t.Run(c.name, func(t *testing.T) {
			to := t.TempDir()
			file := filepath.Join(t.TempDir(), "x")
			if err := os.WriteFile(file, c.file, 0o600); err != nil {
				t.Fatal(err)
			}
			err := Restore(ctx, file, filepath.Join(to, "store"), c.pass, classes, time.Now())
			if !errors.Is(err, c.want) {
				t.Errorf("Restore() = %v, want %v", err, c.want)
			}
			left(t, to)
		})
	}
	t.Run("a folder that holds something", func(t *testing.T) {
		to := t.TempDir()
		if err := os.WriteFile(filepath.Join(to, "mine"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := Restore(ctx, plain, to, "", classes, time.Now()); !errors.Is(err, ErrNotEmpty) {
			t.Errorf("Restore() = %v, want ErrNotEmpty", err)
		}
		left(t, to, "mine")
	})
	t.Run("an empty folder, by a link", func(t *testing.T) {
		to := t.TempDir()
		if err := errors.Join(os.Mkdir(filepath.Join(to, "real"), 0o700), os.Symlink("real", filepath.Join(to, "link"))); err != nil {
			t.Fatal(err)
		}
		if err := Restore(ctx, plain, filepath.Join(to, "link"), "", classes, time.Now()); err != nil {
			t.Fatal(err)
		}
		left(t, to, "link", "real")
	})
}

// skip tells rewrite to leave an entry out.
var skip = []byte("\x00skip")

// rewrite makes another archive of one, without touching its list.
func rewrite(t testing.TB, whole []byte, change func(*tar.Header, []byte) []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	in, w := tar.NewReader(bytes.NewReader(whole)), tar.NewWriter(&out)
	for {
		x, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		b := must(io.ReadAll(in))(t)
		if b = change(x, b); string(b) == string(skip) {
			continue
		}
		x.Size = int64(len(b))
		if err := w.WriteHeader(x); err != nil {
			t.Fatal(err)
		}
		must(w.Write(b))(t)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// TestFullDisk backs up onto a disk of 64 kB: the error says so, and nothing is left on it.
func TestFullDisk(t *testing.T) {
	p := newPlace(t)
	disk := t.TempDir()
	cmd := exec.Command("unshare", "--mount", "--propagation", "private", "sh", "-ec",
		`mount -t tmpfs -o size=64k tmpfs "$2" && exec "$0" fill "$1" "$2"`, os.Args[0], p.dir, disk)
	out, err := cmd.CombinedOutput()
	if strings.Contains(string(out), "unshare:") || strings.Contains(string(out), "mount:") {
		t.Skipf("no disk of one's own here: %s", out)
	}
	if err != nil || !strings.Contains(string(out), "no space left on device") || !strings.Contains(string(out), "left: 0") {
		t.Errorf("it says %q, %v", out, err)
	}
}

func fill(dir, disk string) int {
	ctx := context.Background()
	s, err := store.Open(ctx, dir, nil)
	if err != nil {
		println(err.Error())
		return 1
	}
	defer s.Close()
	err = Write(ctx, Options{Dir: dir, Store: s, Now: time.Now}, filepath.Join(disk, "b.tar"))
	if err == nil {
		println("it was written")
		return 1
	}
	entries, _ := os.ReadDir(disk)
	println(err.Error(), "left:", len(entries))
	return 0
}

func TestPassphraseFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "p")
	for text, want := range map[string]string{passphrase + "\r\nmore": passphrase, passphrase: passphrase, "short\n": "", "": ""} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := ReadPassphrase(path); got != want || (err == nil) != (want != "") {
			t.Errorf("ReadPassphrase(%q) = %q, %v", text, got, err)
		}
	}
}
