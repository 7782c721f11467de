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
	"dongthanh/streamer/internal/ffmpeg"
)

const (
	// decodeWait bounds a decoding by the wall clock. Two hours of AAC take half a minute on a small server.
	decodeWait = 5 * time.Minute
	// decodeCPU is less, for a machine with nothing else to do.
	decodeCPU = 4 * time.Minute
	// missing is how much shorter than declared a file may sound.
	missing = 0.05 // seconds

	saidLogged = 400 // of ffmpeg's complaints

	wavHeader = 44
)

// decode writes the sound of in to out as a WAV file of 48 kHz, mono, 16 bits, and measures it. A child process does it,
// which may use little and is killed with its group when ctx ends, when it takes too long, or when the sound is too long.
func (l *Library) decode(ctx context.Context, in, out *os.File, demuxer string) (seconds, lufs float64, err error) {
	program, err := exec.LookPath(l.ffmpeg)
	if err != nil {
		return 0, 0, &Refusal{fmt.Errorf("%w: %w", ErrNoDecoder, err), errNoDecoder.message}
	}
	run, cancel := context.WithTimeoutCause(ctx, l.wait, errSlow)
	defer cancel()
	strict := demuxer != formatMP3.demuxer() // where tags behind the sound, such as APEv2, look like broken frames
	child, err := ffmpeg.Start(run, program, ffmpeg.File(demuxer, strict), in, decodeCPU, l.log)
	if err != nil {
		return 0, 0, err
	}
	seconds, lufs, err = l.take(child.Sound, out)
	if err != nil && !errors.Is(err, ErrEmpty) { // also a full disk: it must not decode on
		cancel()
	}
	ended := child.Wait()
	switch {
	case ctx.Err() != nil:
		return 0, 0, context.Cause(ctx)
	case errors.Is(context.Cause(run), ErrSlow):
		return 0, 0, errSlow
	case ended != nil && (err == nil || errors.Is(err, ErrEmpty)):
		return 0, 0, l.complaint(ended, child.Said())
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
