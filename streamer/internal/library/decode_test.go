package library_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"dongthanh/codec"
	"dongthanh/streamer/internal/library"
	"dongthanh/streamer/internal/store"
)

// needFFmpeg skips a test where ffmpeg is missing; under CI it fails.
func needFFmpeg(t testing.TB) {
	t.Helper()
	if _, err := exec.LookPath("ffmpeg"); err == nil {
		return
	}
	if os.Getenv("CI") != "" {
		t.Fatal("no ffmpeg")
	}
	t.Skip("no ffmpeg")
}

// ffmpeg makes a file of that name by arguments split at blanks, with input files in the same folder.
func ffmpeg(t testing.TB, dir, args, name string) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "ffmpeg", append(append([]string{"-v", "error", "-nostdin", "-y"}, strings.Fields(args)...), name)...)
	cmd.Dir = dir
	if said, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("ffmpeg %s %s: %v: %s", args, name, err, said)
	}
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

const tone = "-f lavfi -i sine=f=997:d=1.5 " // 1/8 of full scale

// amr is an AMR file of so many frames of 20 ms, 12.2 kbit/s (RFC 4867 §5.3): no encoder is at hand.
func amr(frames int) []byte {
	b := []byte("#!AMR\n")
	for i := range frames {
		b = append(b, 0x3c)
		for j := range 31 {
			b = append(b, byte(i*31+j*17))
		}
	}
	return b
}

// pcm reads all of a sound.
func (x *fixture) pcm(id string) []float32 {
	x.t.Helper()
	s, err := x.Open(x.t.Context(), id)
	if err != nil {
		x.t.Fatal(err)
	}
	defer s.Close()
	var all []float32
	for buf := make([]float32, 48000); ; {
		n, err := s.Read(buf)
		all = append(all, buf[:n]...)
		if errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			x.t.Fatal(err)
		}
	}
}

// share is the part of the energy that a sine of that frequency has.
func share(pcm []float32, hz float64) float64 {
	var re, im, energy float64
	for i, v := range pcm {
		s, c := math.Sincos(2 * math.Pi * hz * float64(i) / codec.SampleRate)
		re, im, energy = re+float64(v)*c, im+float64(v)*s, energy+float64(v)*float64(v)
	}
	return 2 * (re*re + im*im) / (energy * float64(len(pcm)))
}

func TestFormats(t *testing.T) {
	needFFmpeg(t)
	x, dir := open(t), t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "voice.amr"), amr(75), 0o600); err != nil {
		t.Fatal(err)
	}
	cover := "-f lavfi -i color=red:s=32x32:d=0.1 -frames:v 1"
	ffmpeg(t, dir, cover, "cover.png")
	mp3 := ffmpeg(t, dir, tone+"-af pan=stereo|c0=c0|c1=c0 -ar 44100 -b:a 128k -metadata title=x", "tone.mp3")
	flac := ffmpeg(t, dir, tone+"-af pan=stereo|c0=c0|c1=c0 -ar 96000", "tone.flac")
	endless := bytes.Clone(flac) // as written into a pipe
	binary.BigEndian.PutUint64(endless[18:], binary.BigEndian.Uint64(endless[18:])&^(1<<36-1))
	tag := append([]byte("ID3\x04\x00\x00\x00\x00\x01\x00"), make([]byte, 128)...)
	for _, c := range []struct {
		name  string
		file  []byte
		noise bool // no tone in it
		six   bool // in one of six channels
	}{
		{name: "Ogg Opus", file: ffmpeg(t, dir, tone+"-c:a libopus -b:a 24k", "tone.opus")},
		{name: "Ogg Vorbis stereo", file: ffmpeg(t, dir, tone+"-c:a libvorbis -af pan=stereo|c0=c0|c1=c0 -ar 44100", "tone.ogg")},
		{name: "Ogg FLAC", file: ffmpeg(t, dir, tone+"-c:a flac", "tone.oga")},
		{name: "Ogg Opus with rubbish behind", file: append(ffmpeg(t, dir, tone+"-c:a libopus", "t2.opus"), "rubbish"...)},
		{name: "FLAC", file: flac},
		{name: "FLAC behind a tag", file: append(bytes.Clone(tag), flac...)},
		{name: "FLAC 24 bit 5.1", file: ffmpeg(t, dir, tone+"-ac 6 -sample_fmt s32", "six.flac"), six: true},
		{name: "FLAC of unknown length", file: endless},
		{name: "MP3 with tag", file: mp3},
		{name: "MP3 with ID3v1", file: ffmpeg(t, dir, tone+"-write_id3v1 1 -id3v2_version 0", "v1.mp3")},
		{name: "MP3 VBR 24 kHz", file: ffmpeg(t, dir, tone+"-ar 24000 -q:a 5", "vbr.mp3")},
		{name: "MP3 without Xing", file: ffmpeg(t, dir, tone+"-write_xing 0", "plain.mp3")},
		{name: "MP3 with cover", file: ffmpeg(t, dir, "-i tone.mp3 -i cover.png -map 0:a -map 1:v -c copy", "cover.mp3")},
		{name: "M4A", file: ffmpeg(t, dir, tone+"-af pan=stereo|c0=c0|c1=c0 -ar 44100", "tone.m4a")},
		{name: "M4A faststart", file: ffmpeg(t, dir, tone+"-movflags faststart", "fast.m4a")},
		{name: "M4A fragmented", file: ffmpeg(t, dir, tone+"-movflags frag_keyframe+empty_moov -frag_duration 500000", "frag.m4a")},
		{name: "M4A ALAC", file: ffmpeg(t, dir, tone+"-c:a alac", "alac.m4a")},
		{name: "video with sound", file: ffmpeg(t, dir, tone+"-f lavfi -i color=red:s=32x32:d=1.5", "film.mp4")},
		{name: "3GP AAC", file: ffmpeg(t, dir, tone+"-c:a aac -ar 16000", "memo.3gp")},
		{name: "ADTS", file: ffmpeg(t, dir, tone+"-ar 44100", "tone.aac")},
		{name: "AMR", file: amr(75), noise: true},
		{name: "3GP AMR", file: ffmpeg(t, dir, "-f amr -i voice.amr -c copy", "voice.3gp"), noise: true},
		{name: "MP3 with APEv2", file: append(bytes.Clone(mp3), "APETAGEX\xd0\x07\x00\x00\x34\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x80\x00\x00\x00\x00\x00\x00\x00\x00"...)},
		{name: "MP3 with a ZIP behind", file: append(bytes.Clone(mp3), "PK\x03\x04 <script>alert(1)</script>"...)},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, err := x.Add(t.Context(), bytes.NewReader(c.file), "ghi âm.html", "lan")
			if err != nil {
				t.Fatal(err)
			}
			if want := fmt.Sprintf("%x", sum(c.file)); a.ID != want || a.Bytes != int64(len(c.file)) {
				t.Errorf("record = %+v, want the hash %s and length %d of the upload", a, want, len(c.file))
			}
			pcm := x.pcm(a.ID)
			if got := float64(len(pcm)) / codec.SampleRate; math.Abs(got-1.5) > 0.05 || math.Abs(got-a.Seconds) > 1e-9 {
				t.Errorf("%v s of sound, recorded as %v, want 1.5", got, a.Seconds)
			}
			if got := share(pcm[4800:len(pcm)-9600], 997); !c.noise && got < 0.98 {
				t.Errorf("the tone has %.3f of the energy", got)
			}
			if !c.noise && !c.six && math.Abs(a.LUFS+21.07) > 0.7 { // a sine of 1/8
				t.Errorf("lufs = %v", a.LUFS)
			}
			kept, err := os.ReadFile(x.decoded(a.ID))
			if err != nil || bytes.Contains(kept, []byte("script")) {
				t.Errorf("kept file: %v, want nothing but the sound", err)
			}
			if again := x.add(c.file, "x"); again != a {
				t.Errorf("again = %+v, want %+v", again, a)
			}
		})
	}
	if list, err := files(filepath.Join(x.dir, "audio", "tmp")); len(list) != 0 || err != nil {
		t.Errorf("left behind: %v, %v", list, err)
	}
}

func (x *fixture) decoded(id string) string {
	return filepath.Join(x.dir, "audio", strings.TrimSuffix(fileOf(id), ".wav")+".decoded.wav")
}

// refused checks that a file is refused for that reason, in words that hold says, and that nothing of it stays.
func (x *fixture) refused(file []byte, want error, says string) {
	x.t.Helper()
	a, err := x.Add(x.t.Context(), bytes.NewReader(file), "bản tin.mp3", "lan")
	var refusal *library.Refusal
	if !errors.Is(err, want) || !errors.As(err, &refusal) || !strings.Contains(refusal.Message(), says) || a != (store.Audio{}) {
		x.t.Errorf("Add = %+v, %v (%v), want %v that says %q", a, err, refusal, want, says)
	}
	x.wantFiles()
}

func TestRefusedFormats(t *testing.T) {
	needFFmpeg(t)
	x, dir := open(t), t.TempDir()
	opus := ffmpeg(t, dir, tone+"-c:a libopus -page_duration 200000", "a.opus")
	flac := ffmpeg(t, dir, tone, "a.flac")
	mp3 := ffmpeg(t, dir, tone, "a.mp3")
	m4a := ffmpeg(t, dir, tone, "a.m4a")
	fast := ffmpeg(t, dir, tone+"-movflags faststart", "b.m4a")
	lastPage := opus[:bytes.LastIndex(opus, []byte("OggS"))]
	lying := bytes.Clone(flac) // declares one and a half hours
	binary.BigEndian.PutUint64(lying[18:], binary.BigEndian.Uint64(lying[18:])&^(1<<36-1)|90*60*44100)
	noisy := func(b []byte) []byte { // the middle is overwritten
		b = bytes.Clone(b)
		for i := len(b) / 3; i < len(b)*2/3; i++ {
			b[i] = byte(i * 7)
		}
		return b
	}
	box := bytes.Clone(m4a)
	binary.BigEndian.PutUint32(box, 3)
	const cut = "cắt cụt"
	for _, c := range []struct {
		name string
		file []byte
		want error
		says string
	}{
		{"text", []byte("ID3 một bài hát"), library.ErrFormat, "không phải tệp WAV"},
		{"UTF-16", []byte("\xff\xfex\x00i\x00n\x00"), library.ErrFormat, "không phải tệp WAV"},
		{"HTML", []byte(" \n<!DOCTYPE html><script>alert(1)</script>"), library.ErrFormat, "trang web"},
		{"ZIP", []byte("PK\x03\x04" + strings.Repeat("x", 1000)), library.ErrFormat, "tệp nén"},
		{"playlist", []byte("#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:0\n#EXTINF:1,\nhttp://127.0.0.1/x\n"), library.ErrFormat, "không phải"},
		{"HTML behind a tag", append([]byte("ID3\x04\x00\x00\x00\x00\x00\x00"), bytes.Repeat([]byte("<html>"), 500)...), library.ErrDamaged, "hỏng"},
		{"tag longer than the file", []byte("ID3\x04\x00\x00\x7f\x7f\x7f\x7fxxxxxxxxxx"), library.ErrDamaged, "hỏng"},
		{"nothing but magic: Ogg", []byte("OggS"), codec.ErrTruncated, cut},
		{"nothing but magic: FLAC", []byte("fLaC"), codec.ErrTruncated, cut},
		{"nothing but magic: AMR", []byte("#!AMR\n"), library.ErrEmpty, "không có âm thanh"},
		{"nothing but magic: MP3", mp3[:4], library.ErrFormat, "không phải"},
		{"Opus cut in a page", opus[:len(opus)-9], codec.ErrTruncated, cut},
		{"Opus cut between pages", lastPage, codec.ErrTruncated, cut},
		{"Opus cut in the first page", opus[:40], codec.ErrTruncated, cut},
		{"FLAC declares more", lying, codec.ErrTruncated, cut},
		{"MP3 cut", mp3[:len(mp3)*3/4], codec.ErrTruncated, cut},
		{"MP3 overwritten", noisy(mp3), library.ErrDamaged, "hỏng"},
		{"M4A cut", m4a[:len(m4a)/2], codec.ErrTruncated, cut},
		{"M4A cut before moov", m4a[:bytes.LastIndex(m4a, []byte("moov"))-4], codec.ErrTruncated, cut},
		{"M4A faststart cut", fast[:len(fast)-100], codec.ErrTruncated, cut},
		{"M4A box of 3 bytes", box, library.ErrDamaged, "hỏng"},
		{"FLAC overwritten", noisy(flac), library.ErrDamaged, "hỏng"},
		{"Ogg overwritten", noisy(opus), library.ErrDamaged, "hỏng"},
		{"video without sound", ffmpeg(t, dir, "-f lavfi -i color=red:s=32x32:d=0.2", "mute.mp4"), library.ErrNoSound, "chỉ có hình"},
	} {
		t.Run(c.name, func(t *testing.T) {
			y := *x
			y.t = t
			y.refused(c.file, c.want, c.says)
		})
	}
	t.Run("FLAC cut", func(t *testing.T) { // in a frame: the decoder may complain first
		_, err := x.Add(t.Context(), bytes.NewReader(flac[:len(flac)*2/3]), "x", "lan")
		if !errors.Is(err, library.ErrDamaged) && !errors.Is(err, codec.ErrTruncated) {
			t.Errorf("Add: %v, want it refused", err)
		}
		x.wantFiles()
	})
}

// A small file with hours of silence costs neither hours of decoding nor a disk.
func TestLongSilence(t *testing.T) {
	needFFmpeg(t)
	dir := t.TempDir()
	silence := "-f lavfi -i anullsrc=r=48000:cl=mono -t 60 "
	ffmpeg(t, dir, silence+"-c:a libopus -b:a 6k -frame_duration 60", "minute.opus")
	opus := ffmpeg(t, dir, "-stream_loop 120 -i minute.opus -c copy", "long.opus")
	flac := ffmpeg(t, dir, silence, "minute.flac")
	lying := bytes.Clone(flac) // declares nothing
	binary.BigEndian.PutUint64(lying[18:], binary.BigEndian.Uint64(lying[18:])&^(1<<36-1))
	long := bytes.Clone(flac)
	binary.BigEndian.PutUint64(long[18:], binary.BigEndian.Uint64(long[18:])&^(1<<36-1)|(2*3600+1)*48000)
	x := open(t)
	began := time.Now()
	x.refused(opus, library.ErrTooLong, "tối đa 2 giờ")
	x.refused(long, library.ErrTooLong, "tối đa 2 giờ")
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("took %v, want no decoding of what says that it is too long", took)
	}
	x.Decoder("ffmpeg", time.Minute, 3*time.Second)
	x.refused(lying, library.ErrTooLong, "tối đa 2 giờ")
}

// script makes a program that stands for ffmpeg.
func script(t *testing.T, body string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ffmpeg")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+body+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestDecoderHangsOrDies(t *testing.T) {
	written := filepath.Join(t.TempDir(), "written")
	for name, c := range map[string]struct {
		body string
		want error
		says string
	}{
		"hangs":             {"cat >/dev/null; sleep 1000 & wait", library.ErrSlow, "quá nhiều thời gian"},
		"hangs after sound": {"head -c 9600 /dev/zero; sleep 1000", library.ErrSlow, "quá nhiều thời gian"},
		"killed":            {"head -c 9600 /dev/zero; kill -9 $$", library.ErrSlow, "quá nhiều thời gian"},
		"fails after sound": {"head -c 9600 /dev/zero; echo '\033[31m/etc/passwd' >&2; exit 1", library.ErrDamaged, "hỏng"},
		"endless sound":     {"exec cat /dev/zero", library.ErrTooLong, "quá dài"},
		"endless complaint": {"yes >&2", library.ErrSlow, "quá nhiều thời gian"},
		"says nothing":      {"exit 0", library.ErrEmpty, "không có âm thanh"},
		"too many files":    {"until [ $(ulimit -n) -le 64 ]; do sleep 0.01; done; head -c 9600 /dev/zero; exit 1", library.ErrDamaged, "hỏng"},
		"writes files":      {"until [ $(ulimit -f) = 0 ]; do sleep 0.01; done; echo x >" + written + " && exit 0; exit 1", library.ErrSlow, "quá nhiều thời gian"},
	} {
		t.Run(name, func(t *testing.T) {
			x := open(t)
			wait := 400 * time.Millisecond
			if c.want != library.ErrSlow || name == "killed" || name == "writes files" {
				wait = time.Minute
			}
			x.Decoder(script(t, c.body), wait, time.Minute)
			began := time.Now()
			x.refused(amr(10), c.want, c.says)
			if took := time.Since(began); took > 20*time.Second {
				t.Errorf("took %v", took)
			}
		})
	}
	if i, err := os.Stat(written); err == nil && i.Size() > 0 {
		t.Error("the decoder could write a file")
	}
}

// gone waits until the process whose number is in a file has ended: a killed group takes its moment.
func gone(t *testing.T, file string) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	status := filepath.Join("/proc", strings.TrimSpace(string(b)), "stat")
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		s, err := os.ReadFile(status)
		if err != nil || strings.Contains(string(s), ") Z ") { // nobody waits for orphans in a container
			return
		}
		if time.Now().After(end) {
			t.Fatalf("the decoder's child lives on: %s", s)
		}
	}
}

func TestDecodingIsCancelled(t *testing.T) {
	x := open(t)
	pid := filepath.Join(t.TempDir(), "pid")
	begun := pid + ".begun" // a pipe: the decoder may not write files
	if err := syscall.Mkfifo(begun, 0o600); err != nil {
		t.Fatal(err)
	}
	x.Decoder(script(t, "sleep 1000 & echo $! >"+begun+"; wait"), time.Minute, time.Minute)
	ctx, cancel := context.WithCancelCause(t.Context())
	hungUp := errors.New("hung up")
	read := make(chan error, 1)
	go func() {
		b, err := os.ReadFile(begun)
		read <- errors.Join(err, os.WriteFile(pid, b, 0o600))
		cancel(hungUp)
	}()
	_, err := x.Add(ctx, bytes.NewReader(amr(10)), "x", "lan")
	var refusal *library.Refusal
	if !errors.Is(err, hungUp) || errors.As(err, &refusal) {
		t.Errorf("Add: %v, want it cancelled", err)
	}
	if err := <-read; err != nil {
		t.Fatal(err)
	}
	gone(t, pid)
	x.wantFiles()
}

func TestWithoutDecoder(t *testing.T) {
	x := open(t)
	t.Setenv("PATH", t.TempDir())
	x.refused(amr(10), library.ErrNoDecoder, "Máy chủ chưa cài ffmpeg nên chỉ nhận tệp WAV")
	x.refused([]byte("PK\x03\x04"), library.ErrFormat, "tệp nén")
	a := x.add(wav{seconds: 0.1}.bytes(), "x")
	x.wantFiles(fileOf(a.ID))
}

// What the disk lost of a decoded file comes back with the next upload; until then it is not played.
func TestDecodedFileLost(t *testing.T) {
	needFFmpeg(t)
	x := open(t)
	b := amr(50)
	a := x.add(b, "x.amr")
	for name, harm := range map[string]func() error{
		"lost":    func() error { return os.Remove(x.decoded(a.ID)) },
		"short":   func() error { return os.Truncate(x.decoded(a.ID), 10000) },
		"no head": func() error { return os.WriteFile(x.decoded(a.ID), make([]byte, 10000), 0o600) },
	} {
		if err := harm(); err != nil {
			t.Fatal(err)
		}
		if _, err := x.Open(t.Context(), a.ID); !errors.Is(err, library.ErrLost) {
			t.Errorf("%s: Open: %v, want ErrLost", name, err)
		}
		if again := x.add(b, "y"); again != a {
			t.Errorf("%s: Add = %+v, want %+v", name, again, a)
		}
		if got := len(x.pcm(a.ID)); got != 48000 {
			t.Errorf("%s: %d samples, want 48000", name, got)
		}
	}
}
