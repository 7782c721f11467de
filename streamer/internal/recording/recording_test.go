package recording

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"dongthanh/codec"
	"dongthanh/internal/testkit"
	"dongthanh/streamer/internal/store"
	"dongthanh/streamer/internal/tap"
)

// A recording has the session's sound where it belongs, with what is missing as silence, and says how much that is.
func TestRecording(t *testing.T) {
	for _, c := range []struct {
		name          string
		packets, from int64 // the packets from…to are missing
		to            int64
	}{{"whole", 75, 0, 0}, {"gap", 75, 25, 50}, {"the end is missing", 50, 45, 48}, {"short", 1, 0, 0}} {
		t.Run(c.name, func(t *testing.T) {
			b := newBed(t, t.TempDir())
			defer func() {
				if err := b.end(); err != nil {
					t.Error(err)
				}
			}()
			x, err := b.record(c.packets, func(n int64) bool { return n >= c.from && n < c.to })
			if err != nil {
				t.Fatal(err)
			}
			f, rec, err := b.Open(t.Context(), x.ID)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			raw, err := io.ReadAll(f)
			if err != nil {
				t.Fatal(err)
			}
			samples := c.packets*packetSamples - codec.PreSkip
			missing := float64((c.to-c.from)*packetSamples) / codec.SampleRate
			if rec.Bytes != int64(len(raw)) || rec.SHA256 != sha256.Sum256(raw) {
				t.Errorf("the record says %d bytes, %x; the file has %d", rec.Bytes, rec.SHA256[:4], len(raw))
			}
			if rec.Seconds != float64(samples)/codec.SampleRate || math.Abs(rec.Missing-missing) > 1e-9 {
				t.Errorf("record = %v s, %v missing; want %v, %v", rec.Seconds, rec.Missing, float64(samples)/codec.SampleRate, missing)
			}
			pcm := play(t, f.Name())
			if len(pcm) != int(samples) {
				t.Errorf("ffmpeg plays %d samples, want %d", len(pcm), samples)
			}
			if got, want := tonal(pcm), int(2*(c.packets-(c.to-c.from)))-6; got < want {
				t.Errorf("the tone is in %d frames, want %d at least", got, want)
			}
			if got := testutil.ToFloat64(b.metrics.missing); math.Abs(got-missing) > 1e-9 {
				t.Errorf("metric: %v s are missing, want %v", got, missing)
			}
		})
	}
}

// A session that never sounded has no recording, and leaves nothing.
func TestNoSound(t *testing.T) {
	b := newBed(t, t.TempDir())
	defer b.end()
	x, err := b.record(0, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := b.Open(t.Context(), x.ID); !errors.Is(err, ErrNone) {
		t.Errorf("Open = %v, want ErrNone", err)
	}
	if list, err := filepath.Glob(filepath.Join(b.dir, folder, "*", "*", "*")); len(list) > 0 || err != nil {
		t.Errorf("left behind: %q, %v", list, err)
	}
}

// Ids that are none name no file, whatever lies there.
func TestHostileIDs(t *testing.T) {
	b := newBed(t, t.TempDir())
	defer b.end()
	good := store.NewID()
	for _, id := range []string{
		"", ".", "..", "../../dongthanh.db", "/etc/passwd", "x\x00y", strings.ToUpper(good), "{" + good + "}", "urn:uuid:" + good,
		good + ".part", "00000000-0000-0000-0000-000000000000", "f47ac10b-58cc-4372-a567-0e02b2c3d479", strings.Repeat("a", 1<<16), good,
	} {
		if _, _, err := b.Open(t.Context(), id); !errors.Is(err, ErrNone) {
			t.Errorf("Open(%.60q) = %v, want ErrNone", id, err)
		}
	}
	if name, ok := place("01930000-0000-7000-8000-000000000000"); !ok || name != "2024/11/01930000-0000-7000-8000-000000000000.ogg" {
		t.Errorf("place = %q, %v", name, ok)
	}
}

// recordForever records in real time until it is killed.
func recordForever(dir string) error {
	b, err := open(dir)
	if err != nil {
		return err
	}
	x, err := b.session()
	if err != nil {
		return err
	}
	s, err := newSpeaker()
	if err != nil {
		return err
	}
	on := tap.New()
	b.Record(x, on.Join(QueuePackets))
	fmt.Println(x.ID)
	for tick := time.NewTicker(40 * time.Millisecond); ; <-tick.C {
		p, err := s.say()
		if err != nil {
			return err
		}
		on.Push(p)
	}
}

// What was recorded until a second before kill -9 can be played at once, and the next start makes it whole.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	cmd := helper(t, "forever", dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var id string
	if _, err := fmt.Fscan(out, &id); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	name, _ := place(id)
	path := filepath.Join(dir, folder, name)
	for limit := time.After(20 * time.Second); ; { // two pages and a half
		if i, err := os.Stat(path + part); err == nil && i.Size() > 12000 && time.Since(began) > 1500*time.Millisecond {
			break
		}
		select {
		case <-limit:
			t.Fatal("nothing is recorded")
		case <-time.After(10 * time.Millisecond):
		}
	}
	spoken := time.Since(began)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed
	left := filepath.Join(t.TempDir(), "x.ogg")
	raw, err := os.ReadFile(path + part)
	if err == nil {
		err = os.WriteFile(left, raw, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	heard := time.Duration(len(play(t, left))) * time.Second / codec.SampleRate
	if spoken-heard > time.Second {
		t.Errorf("after %v only %v can be played", spoken, heard)
	}
	b := newBed(t, dir)
	defer b.end()
	f, rec, err := b.Open(t.Context(), id)
	if err != nil {
		t.Fatalf("%v\n%s", err, b.log)
	}
	defer f.Close()
	if pcm := play(t, f.Name()); float64(len(pcm))/codec.SampleRate != rec.Seconds || rec.Seconds < heard.Seconds() || tonal(pcm) < len(pcm)/codec.FrameSamples-3 {
		t.Errorf("%d samples can be played, the record says %v s", len(pcm), rec.Seconds)
	}
	if time.Since(rec.Recorded) > time.Minute {
		t.Errorf("recorded at %v", rec.Recorded)
	}
}

// A crash between a file and its record, in both directions, is put right at the next start; what is no recording stays.
func TestRecover(t *testing.T) {
	dir := t.TempDir()
	b := newBed(t, dir)
	lacks, err := b.record(25, nil)
	if err != nil {
		t.Fatal(err)
	}
	gone, err := b.record(25, nil)
	if err != nil {
		t.Fatal(err)
	}
	file := func(id string) string { name, _ := place(id); return filepath.Join(dir, folder, name) }
	raw, err := os.ReadFile(file(lacks.ID))
	if err != nil {
		t.Fatal(err)
	}
	unknown := store.NewID() // of no session
	strange := filepath.Join(filepath.Dir(file(gone.ID)), "notes.txt")
	for path, b := range map[string][]byte{file(unknown): raw, strange: []byte("x"), file(store.NewID()) + part: raw[:100]} {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	_, before, err := b.Open(t.Context(), lacks.ID)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(b.store.RemoveRecording(t.Context(), gone.ID, time.Now()), b.end()); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(file(lacks.ID), file(lacks.ID)+part); err != nil {
		t.Fatal(err)
	}
	b = newBed(t, dir)
	defer b.end()
	if _, rec, err := b.Open(t.Context(), lacks.ID); err != nil || rec.SHA256 != before.SHA256 {
		t.Errorf("the unfinished recording: %v, %x, want %x", err, rec.SHA256[:4], before.SHA256[:4])
	}
	if _, err := os.Stat(file(gone.ID)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file whose record says that it is gone: %v", err)
	}
	for _, path := range []string{file(unknown), strange} {
		if _, err := os.Stat(path); err != nil {
			t.Errorf("what is not ours: %v", err)
		}
	}
}

// brokenTree has one folder that the disk does not give.
type brokenTree struct{ fs.FS }

func (b brokenTree) Open(name string) (fs.File, error) {
	if name == "2020" {
		return nil, &fs.PathError{Op: "open", Path: name, Err: syscall.EIO}
	}
	return b.FS.Open(name)
}

// A disk that does not give a folder of old recordings keeps nobody from speaking, nor the rest from being mended.
func TestBrokenFolder(t *testing.T) {
	dir := t.TempDir()
	b := newBed(t, dir)
	defer b.end()
	s, err := b.record(25, nil)
	if err != nil {
		t.Fatal(err)
	}
	name, _ := place(s.ID)
	path := filepath.Join(dir, folder, name)
	if err := errors.Join(os.Mkdir(filepath.Join(dir, folder, "2020"), 0o700), os.Rename(path, path+part)); err != nil {
		t.Fatal(err)
	}
	if err := b.mend(t.Context(), brokenTree{b.root.FS()}); err != nil {
		t.Errorf("mend() = %v", err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Errorf("the unfinished recording in another folder: %v", err)
	}
	if !strings.Contains(b.log.String(), "input/output error") {
		t.Errorf("no line in the log: %s", b.log.String())
	}
}

// The oldest go first, by age and by budget, with a line in the log; what is being listened to stays.
func TestPrune(t *testing.T) {
	var sizes []int64
	b := newBed(t, t.TempDir(), func(o *Options) { o.Config.MaxBytes = 1 << 40 })
	defer b.end()
	var ids []string
	for range 4 {
		x, err := b.record(25, nil)
		if err != nil {
			t.Fatal(err)
		}
		rec, err := b.store.Recording(t.Context(), x.ID)
		if err != nil {
			t.Fatal(err)
		}
		ids, sizes = append(ids, x.ID), append(sizes, rec.Bytes)
	}
	old, err := b.store.Recording(t.Context(), ids[3])
	if err != nil {
		t.Fatal(err)
	}
	old.Recorded = time.Now().AddDate(0, 0, -DefaultConfig().KeepDays-1)
	if err := b.store.AddRecording(t.Context(), old); err != nil {
		t.Fatal(err)
	}
	f, _, err := b.Open(t.Context(), ids[0])
	if err != nil {
		t.Fatal(err)
	}
	b.Config.MaxBytes = sizes[0] + sizes[2]
	b.prune(t.Context())
	there := func(want ...bool) {
		t.Helper()
		for i, id := range ids {
			g, _, err := b.Open(t.Context(), id)
			if (err == nil) != want[i] {
				t.Errorf("recording %d: %v, want it there: %v\n%s", i, err, want[i], b.log)
			}
			if err == nil {
				_ = g.Close()
			}
			if i != 0 {
				b.mu.Lock()
				delete(b.uses, id)
				b.mu.Unlock()
			}
		}
	}
	there(true, false, true, false)
	if n := strings.Count(b.log.String(), "old recording removed"); n != 2 {
		t.Errorf("%d removals in the log, want 2", n)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	b.Config.MaxBytes = 1
	b.prune(t.Context())
	there(true, false, false, false) // it was read a moment ago
	b.mu.Lock()
	b.uses[ids[0]] = use{last: time.Now().Add(-restFor - time.Second)}
	b.mu.Unlock()
	b.prune(t.Context())
	there(false, false, false, false)
	if got := testutil.ToFloat64(b.metrics.bytes); got != 0 {
		t.Errorf("metric: %v bytes are kept", got)
	}
}

// fillDisk runs in a mount namespace of its own, where the recordings' folder is a disk of 1 MB.
func fillDisk(dir string) error {
	disk := filepath.Join(dir, folder)
	if err := os.Mkdir(disk, 0o700); err != nil {
		return err
	}
	if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=1m"); err != nil {
		return fmt.Errorf("mount: %w", err)
	}
	for _, c := range []struct {
		floor, least, most uint64 // bytes: kept free, of the recording
	}{{500 << 10, 400 << 10, 560 << 10}, {1, 900 << 10, 1 << 20}} {
		b, err := open(dir, func(o *Options) { o.Floor = c.floor })
		if err != nil {
			return err
		}
		const packets = 5000 // 200 s, 1.5 MB
		x, err := b.record(packets, nil)
		if err != nil {
			return err
		}
		rec, err := b.store.Recording(b.context(), x.ID)
		if err != nil {
			return fmt.Errorf("%w\n%s", err, b.log)
		}
		if n := uint64(rec.Bytes); n < c.least || n > c.most {
			return fmt.Errorf("recorded %d bytes, want %d to %d", n, c.least, c.most)
		}
		if all := rec.Seconds + rec.Missing; math.Abs(all-packets*0.04) > 0.01 {
			return fmt.Errorf("%v s recorded and %v missing, want %v in all", rec.Seconds, rec.Missing, packets*0.04)
		}
		if b.Trouble() != TroubleDisk || testutil.ToFloat64(b.metrics.low) != 1 || !strings.Contains(b.log.String(), "recording breaks off") {
			return fmt.Errorf("trouble %q; log: %s", b.Trouble(), b.log)
		}
		f, _, err := b.Open(b.context(), x.ID)
		if err != nil {
			return err
		}
		info, err := codec.FinishOgg(readOnly{f.File})
		if err != nil || float64(info.Samples)/codec.SampleRate != rec.Seconds {
			return fmt.Errorf("the recording on the full disk: %+v, %w", info, err)
		}
		if err := f.Close(); err != nil {
			return err
		}
		delete(b.uses, x.ID)
		b.Config.MaxBytes = 1
		b.prune(b.context())
		b.look()
		if b.Trouble() != TroubleNone {
			return fmt.Errorf("trouble %q although there is room again", b.Trouble())
		}
		if err := b.end(); err != nil {
			return err
		}
	}
	return nil
}

// readOnly takes a file for whole that is.
type readOnly struct{ *os.File }

func (readOnly) WriteAt(p []byte, _ int64) (int, error) { return len(p), nil }
func (readOnly) Truncate(int64) error                   { return nil }

func TestFullDisk(t *testing.T) {
	cmd := helper(t, "disk", t.TempDir())
	testkit.RunApart(t, cmd)
}

func TestConfig(t *testing.T) {
	if f := DefaultConfig().Validate(); len(f) > 0 {
		t.Errorf("the default: %v", f)
	}
	if f := (Config{KeepDays: 0, MaxBytes: -1}).Validate(); len(f) != 2 {
		t.Errorf("faults = %v, want two", f)
	}
}
