package library

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"dongthanh/codec"
)

const (
	// decodeWait bounds a decoding by the wall clock. Two hours of AAC take half a minute on a small server.
	decodeWait = 5 * time.Minute
	// missing is how much shorter than declared a file may sound.
	missing = 0.05 // seconds

	saidBytes  = 4 << 10 // of ffmpeg's complaints, which a bad file can repeat without end
	saidLogged = 400

	wavHeader = 44
)

// decoders are all that ffmpeg may use: what the containers hold in practice. A small part of ffmpeg meets outside bytes.
const decoders = "opus,libopus,vorbis,flac,mp3,mp3float,aac,alac,amrnb,amrwb,libopencore_amrnb,libopencore_amrwb"

// arguments never hold anything from outside: the demuxer is one of ours, the file comes as standard input. It is opened
// anew by its /proc name, since ffmpeg does not seek in a pipe and M4A files begin at their end.
func arguments(demuxer string) []string {
	args := []string{"-nostdin", "-hide_banner", "-loglevel", "error", "-threads", "1"}
	if demuxer != formatMP3.demuxer() { // where tags behind the sound, such as APEv2, look like broken frames
		args = append(args, "-xerror") // the first frame that cannot be decoded ends it
	}
	return append(args,
		"-protocol_whitelist", "file,pipe", "-codec_whitelist", decoders,
		"-f", demuxer, "-i", "file:/proc/self/fd/0",
		"-map", "0:a:0", "-vn", "-sn", "-dn", "-map_metadata", "-1", "-filter_threads", "1",
		"-ac", "1", "-ar", "48000", "-c:a", "pcm_s16le", "-f", "s16le", "pipe:1",
	)
}

// decode writes the sound of in to out as a WAV file of 48 kHz, mono, 16 bits, and measures it. A child process does it,
// which may use little and is killed with its group when ctx ends, when it takes too long, or when the sound is too long.
func (l *Library) decode(ctx context.Context, in, out *os.File, demuxer string) (seconds, lufs float64, err error) {
	program, err := exec.LookPath(l.ffmpeg)
	if err != nil {
		return 0, 0, &Refusal{fmt.Errorf("%w: %w", ErrNoDecoder, err), errNoDecoder.message}
	}
	run, cancel := context.WithTimeoutCause(ctx, l.wait, errSlow)
	defer cancel()
	said := &head{most: saidBytes}
	cmd := exec.CommandContext(run, program, arguments(demuxer)...)
	cmd.Env = []string{"LC_ALL=C"} // of ours nothing: FFREPORT would make it write files
	cmd.Dir = "/"
	cmd.Stdin, cmd.Stderr = in, said
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	sound, err := cmd.StdoutPipe()
	if err != nil {
		return 0, 0, fmt.Errorf("start ffmpeg: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return 0, 0, fmt.Errorf("start ffmpeg: %w", err)
	}
	restrict(cmd.Process.Pid, l.log)
	seconds, lufs, err = l.take(sound, out)
	if err != nil && !errors.Is(err, ErrEmpty) { // also a full disk: it must not decode on
		cancel()
	}
	ended := cmd.Wait()
	switch {
	case ctx.Err() != nil:
		return 0, 0, context.Cause(ctx)
	case errors.Is(context.Cause(run), ErrSlow):
		return 0, 0, errSlow
	case ended != nil && (err == nil || errors.Is(err, ErrEmpty)):
		return 0, 0, l.complaint(ended, said.String())
	}
	return seconds, lufs, err
}

// take copies PCM to out as a WAV file while measuring it.
func (l *Library) take(sound io.Reader, out *os.File) (seconds, lufs float64, err error) {
	if _, err := out.Seek(wavHeader, io.SeekStart); err != nil {
		return 0, 0, err
	}
	endless := bytes.NewReader(wavHead(1<<32 - 1))
	if seconds, lufs, err = measure(io.MultiReader(endless, io.TeeReader(sound, out)), l.most); err != nil {
		return 0, 0, err
	}
	end, err := out.Seek(0, io.SeekEnd)
	if err != nil {
		return 0, 0, err
	}
	_, err = out.WriteAt(wavHead(uint32(end-wavHeader)), 0) // MaxDuration keeps it far below 2 GB
	return seconds, lufs, err
}

// wavHead begins a WAV file of 48 kHz, mono, 16 bits with so many bytes of sound.
func wavHead(data uint32) []byte {
	b := append(make([]byte, 0, wavHeader), "RIFF"...)
	b = binary.LittleEndian.AppendUint32(b, min(data, 1<<32-1-36)+36)
	b = append(b, "WAVEfmt \x10\x00\x00\x00\x01\x00\x01\x00"...)
	b = binary.LittleEndian.AppendUint32(b, codec.SampleRate)
	b = binary.LittleEndian.AppendUint32(b, 2*codec.SampleRate)
	b = append(b, "\x02\x00\x10\x00data"...)
	return binary.LittleEndian.AppendUint32(b, data)
}

// complaint makes a Refusal of how ffmpeg ended. What it said is for the log, cut and quoted.
func (l *Library) complaint(ended error, said string) error {
	var exit *exec.ExitError
	if !errors.As(ended, &exit) {
		return fmt.Errorf("run ffmpeg: %w", ended)
	}
	l.log.Info("ffmpeg refused an upload", "ended", exit.Error(), "said", said[:min(len(said), saidLogged)])
	if s, ok := exit.Sys().(syscall.WaitStatus); ok && s.Signaled() { // by a limit, or for want of memory
		return &Refusal{fmt.Errorf("%w: %w", ErrSlow, ended), errSlow.message}
	}
	if strings.Contains(said, "matches no streams") {
		return errNoSound
	}
	return &Refusal{fmt.Errorf("%w: %w", ErrDamaged, ended), errDamaged.message}
}

// head keeps the first bytes of what is written to it.
type head struct {
	strings.Builder
	most int
}

func (h *head) Write(p []byte) (int, error) {
	_, _ = h.Builder.Write(p[:min(len(p), h.most-h.Len())])
	return len(p), nil
}
