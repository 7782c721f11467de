package library_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"dongthanh/streamer/internal/library"
	"dongthanh/streamer/internal/store"
)

// helperEnv makes the test binary fill a disk of its own instead of running tests (see disk_test.go).
const helperEnv = "LIBRARY_TEST_DISK"

func TestMain(m *testing.M) {
	dir := os.Getenv(helperEnv)
	if dir == "" {
		goleak.VerifyTestMain(m)
		return
	}
	if err := fillDisk(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// wav describes a file for the tests; the zero values are those of a plain one.
type wav struct {
	tag, channels, bits uint16
	rate                uint32
	seconds             float64
	amplitude           float64 // of a sine of 997 Hz
	declared            int     // length in the data chunk's header beyond the real one
	align               uint16  // 0: right
	before, after       []byte  // chunks around data
	noFormat            bool
}

func (w wav) bytes() []byte {
	if w.tag == 0 {
		w.tag = 1
	}
	if w.channels == 0 {
		w.channels = 1
	}
	if w.bits == 0 {
		w.bits = 16
	}
	if w.rate == 0 {
		w.rate = 48000
	}
	if w.align == 0 {
		w.align = w.channels * w.bits / 8
	}
	var data bytes.Buffer
	for i := range int(w.seconds * float64(w.rate)) {
		x := w.amplitude * math.Sin(2*math.Pi*997*float64(i)/float64(w.rate))
		for range w.channels {
			switch {
			case w.tag == 3:
				_ = binary.Write(&data, binary.LittleEndian, float32(x))
			case w.bits == 8:
				data.WriteByte(byte(128 + 127*x))
			default:
				_ = binary.Write(&data, binary.LittleEndian, int16(32767*x))
			}
		}
	}
	var format bytes.Buffer
	for _, v := range []any{w.tag, w.channels, w.rate, w.rate * uint32(w.align), w.align, w.bits} {
		_ = binary.Write(&format, binary.LittleEndian, v)
	}
	var out bytes.Buffer
	out.WriteString("RIFF\x00\x00\x00\x00WAVE")
	if !w.noFormat {
		out.Write(chunk("fmt ", format.Bytes(), 0))
	}
	out.Write(w.before)
	out.Write(chunk("data", data.Bytes(), w.declared))
	out.Write(w.after)
	b := out.Bytes()
	binary.LittleEndian.PutUint32(b[4:], uint32(len(b)-8))
	return b
}

func chunk(id string, body []byte, more int) []byte {
	b := binary.LittleEndian.AppendUint32([]byte(id), uint32(len(body)+more))
	b = append(b, body...)
	if len(b)%2 == 1 {
		b = append(b, 0)
	}
	return b
}

type fixture struct {
	*library.Library
	t     testing.TB
	dir   string
	store *store.Store
}

func open(t testing.TB) *fixture {
	t.Helper()
	dir := t.TempDir()
	s, err := store.Open(context.Background(), dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	l, err := library.Open(dir, s, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return &fixture{Library: l, t: t, dir: dir, store: s}
}

func (x *fixture) add(b []byte, name string) store.Audio {
	x.t.Helper()
	a, err := x.Add(context.Background(), bytes.NewReader(b), name, "lan")
	if err != nil {
		x.t.Fatal(err)
	}
	return a
}

// wantFiles checks that exactly these files lie in the library's folder.
func (x *fixture) wantFiles(want ...string) {
	x.t.Helper()
	got, err := files(filepath.Join(x.dir, "audio"))
	if err != nil {
		x.t.Fatal(err)
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		x.t.Errorf("files = %v, want %v", got, want)
	}
}

func files(dir string) (list []string, err error) {
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			list = append(list, strings.TrimPrefix(path, dir+"/"))
		}
		return err
	})
	return list, err
}

func sum(b []byte) [sha256.Size]byte { return sha256.Sum256(b) }

func fileOf(id string) string { return id[:2] + "/" + id[2:4] + "/" + id + ".wav" }
