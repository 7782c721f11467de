package identity

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func (n network) enlist(t testing.TB, node Node) *Credentials {
	t.Helper()
	return must(n.issuer.Enlist(node, day, year))(t)
}

func TestSaveLoad(t *testing.T) {
	n := newNetwork(t, "31", 2)
	c := n.enlist(t, speaker)
	dir := filepath.Join(t.TempDir(), "a", "b")
	if err := c.Save(dir); err != nil {
		t.Fatal(err)
	}
	got := must(Load(dir))(t)
	if got.Node != speaker || !got.Key.Equal(c.Key) || !got.HPKE.Equal(c.HPKE) || got.Roots.Hash() != n.roots.Hash() || len(got.Chain) != 3 {
		t.Errorf("Load() = %+v, want what was saved", got)
	}
	entries := must(os.ReadDir(dir))(t)
	if len(entries) != 4 {
		t.Errorf("Save left %d files, want 4: %v", len(entries), entries)
	}
	for _, e := range entries {
		if mode := must(e.Info())(t).Mode(); mode != 0o600 {
			t.Errorf("%s has mode %s, want -rw-------", e.Name(), mode)
		}
	}
	if mode := must(os.Stat(dir))(t).Mode(); mode != fs.ModeDir|0o700 {
		t.Errorf("the folder has mode %s, want drwx------", mode)
	}
	// Another node in the same place.
	next := n.enlist(t, mailman)
	if err := next.Save(dir); err != nil {
		t.Fatal(err)
	}
	if got := must(Load(dir))(t); got.Node != mailman {
		t.Errorf("Load() = %+v, want %+v", got.Node, mailman)
	}
}

func TestLoadRefuses(t *testing.T) {
	n, other := newNetwork(t, "31", 2), newNetwork(t, "31", 2)
	c, d := n.enlist(t, speaker), other.enlist(t, speaker)
	stranger := t.TempDir()
	if err := d.Save(stranger); err != nil {
		t.Fatal(err)
	}
	copyFrom := func(t *testing.T, dir, name string) {
		data := must(os.ReadFile(filepath.Join(stranger, name)))(t)
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write := func(t *testing.T, dir, name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, x := range []struct {
		name   string
		change func(t *testing.T, dir string)
		want   string
		is     error
	}{
		{"no folder", func(t *testing.T, dir string) {
			if err := os.RemoveAll(dir); err != nil {
				t.Fatal(err)
			}
		}, "enrol command", ErrNotEnrolled},
		{"no chain", func(t *testing.T, dir string) {
			if err := os.Remove(filepath.Join(dir, chainFile)); err != nil {
				t.Fatal(err)
			}
		}, "enrol command", ErrNotEnrolled},
		{"another's key", func(t *testing.T, dir string) { copyFrom(t, dir, keyFile) }, "its key is not this node's", nil},
		{"another's sealing key", func(t *testing.T, dir string) { copyFrom(t, dir, sealingFile) }, "sealing key is not this node's", nil},
		{"another's roots", func(t *testing.T, dir string) { copyFrom(t, dir, rootsFile) }, "pinned root", ErrUnknownRoot},
		{"another's chain", func(t *testing.T, dir string) { copyFrom(t, dir, chainFile) }, "pinned root", ErrUnknownRoot},
		{"keys swapped", func(t *testing.T, dir string) {
			data := must(os.ReadFile(filepath.Join(dir, sealingFile)))(t)
			write(t, dir, keyFile, string(data))
		}, "no Ed25519 key", nil},
		{"garbage key", func(t *testing.T, dir string) { write(t, dir, keyFile, "x") }, "no private key", nil},
		{"garbage chain", func(t *testing.T, dir string) { write(t, dir, chainFile, "x") }, "no certificate", nil},
		{"empty roots", func(t *testing.T, dir string) { write(t, dir, rootsFile, "") }, "no certificate", nil},
		{"large", func(t *testing.T, dir string) { write(t, dir, chainFile, strings.Repeat("x", maxFile+1)) }, "larger than", nil},
		{"key open to others", func(t *testing.T, dir string) {
			if err := os.Chmod(filepath.Join(dir, keyFile), 0o640); err != nil {
				t.Fatal(err)
			}
		}, "chmod 600", nil},
	} {
		t.Run(x.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := c.Save(dir); err != nil {
				t.Fatal(err)
			}
			x.change(t, dir)
			_, err := Load(dir)
			if err == nil || !strings.Contains(err.Error(), x.want) || (x.is != nil && !errors.Is(err, x.is)) {
				t.Errorf("Load() = %v, want %q", err, x.want)
			}
		})
	}
}

// TestSaveCutShort plays a power cut after each step of a second Save: Load finds the first whole or the second whole.
func TestSaveCutShort(t *testing.T) {
	n := newNetwork(t, "31", 2)
	first, second := n.enlist(t, speaker), n.enlist(t, mailman)
	files := []string{keyFile, sealingFile, rootsFile, chainFile}
	whole := t.TempDir()
	if err := second.Save(whole); err != nil {
		t.Fatal(err)
	}
	// The steps of save: each file prepared, then each put in place.
	for step := range 2*len(files) + 1 {
		dir := t.TempDir()
		if err := first.Save(dir); err != nil {
			t.Fatal(err)
		}
		for i, name := range files {
			if i < step {
				if err := WriteFile(dir, name+pending, must(os.ReadFile(filepath.Join(whole, name)))(t)); err != nil {
					t.Fatal(err)
				}
			}
			if len(files)+i < step {
				if err := os.Rename(filepath.Join(dir, name+pending), filepath.Join(dir, name)); err != nil {
					t.Fatal(err)
				}
			}
		}
		want := speaker
		if step >= len(files) {
			want = mailman
		}
		for range 2 { // and again after what Load itself put right
			if got := must(Load(dir))(t); got.Node != want {
				t.Errorf("cut after step %d: Load() = %q, want %q", step, got.Node.ID, want.ID)
			}
		}
		// Whatever was left does not spoil the next one.
		if err := first.Save(dir); err != nil {
			t.Fatal(err)
		}
		if got := must(Load(dir))(t); got.Node != speaker {
			t.Errorf("saved after a cut at step %d: Load() = %q, want %q", step, got.Node.ID, speaker.ID)
		}
	}
}

func TestWriteFile(t *testing.T) {
	dir := t.TempDir()
	for _, text := range []string{"one", "", "three"} {
		if err := WriteFile(dir, "f", []byte(text)); err != nil {
			t.Fatal(err)
		}
		if got := must(os.ReadFile(filepath.Join(dir, "f")))(t); string(got) != text {
			t.Errorf("the file holds %q, want %q", got, text)
		}
	}
	if err := WriteFile(filepath.Join(dir, "none"), "f", nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("WriteFile in a folder that is not there = %v", err)
	}
	// A name that is a folder cannot be replaced; nothing is left behind.
	if err := os.MkdirAll(filepath.Join(dir, "d", "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := WriteFile(dir, "d", nil); err == nil {
		t.Error("WriteFile over a folder = nil, want an error")
	}
	if entries := must(os.ReadDir(dir))(t); len(entries) != 2 {
		t.Errorf("%d entries are left, want 2: %v", len(entries), entries)
	}
}

func TestValid(t *testing.T) {
	c := newNetwork(t, "31", 2).enlist(t, speaker)
	for _, x := range []struct {
		now  time.Time
		want error
	}{
		{day, nil}, {nobodyAt, nil}, {day.Add(2 * year), ErrExpired}, {day.Add(-year), ErrNotYetValid},
	} {
		c.Now = func() time.Time { return x.now }
		if err := c.Valid(); !errors.Is(err, x.want) || (x.want == nil && err != nil) {
			t.Errorf("Valid() at %s = %v, want %v", x.now, err, x.want)
		}
	}
	c.Now = nil
	if d := time.Since(c.Time()); d < 0 || d > time.Minute {
		t.Errorf("Time() without a clock is %s ago", d)
	}
}
