// Package ffmpeg runs ffmpeg as a child process that turns sound of any usual kind into PCM, and may use little: no
// network, no files but its own input, bounded time and memory. It meets bytes from outside, so that the streamer does
// not. Packages library and radio use it.
package ffmpeg

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

const (
	saidBytes = 4 << 10 // of its complaints, which bad input can repeat without end

	// decoders are all that it may use: what the containers hold in practice. A small part of ffmpeg meets outside bytes.
	decoders = "opus,libopus,vorbis,flac,mp3,mp3float,aac,alac,amrnb,amrwb,libopencore_amrnb,libopencore_amrwb"
	// A stream from outside may also be WAV, which codec reads where it is a file.
	liveDecoders = decoders + ",pcm_s16le,pcm_s24le,pcm_s32le,pcm_f32le,pcm_u8,pcm_alaw,pcm_mulaw"
)

// output is what comes out: 48 kHz, mono, 16 bits.
var output = []string{
	"-map", "0:a:0", "-vn", "-sn", "-dn", "-map_metadata", "-1", "-filter_threads", "1",
	"-ac", "1", "-ar", "48000", "-c:a", "pcm_s16le", "-f", "s16le", "pipe:1",
}

// File returns the arguments to decode a file that is standard input. It is opened anew by its /proc name, since ffmpeg
// does not seek in a pipe and M4A files begin at their end. demuxer is one of ours, nothing from outside; with strict
// the first frame that cannot be decoded ends it.
func File(demuxer string, strict bool) []string {
	args := []string{"-nostdin", "-hide_banner", "-loglevel", "error", "-threads", "1"}
	if strict {
		args = append(args, "-xerror")
	}
	args = append(args, "-protocol_whitelist", "file,pipe", "-codec_whitelist", decoders,
		"-f", demuxer, "-i", "file:/proc/self/fd/0")
	return append(args, output...)
}

// Live returns the arguments to decode a stream as it comes by standard input, a pipe: it can open nothing else. Damage
// is passed over, and little is read before sound comes.
func Live(demuxer string) []string {
	args := []string{
		"-nostdin", "-hide_banner", "-loglevel", "error", "-threads", "1",
		"-protocol_whitelist", "pipe", "-codec_whitelist", liveDecoders,
		"-probesize", "65536", "-analyzeduration", "500000", "-f", demuxer, "-i", "pipe:0", "-flush_packets", "1",
	}
	return append(args, output...)
}

// Process is a running ffmpeg.
type Process struct {
	Sound io.Reader // what it decodes; read it to its end, then Wait
	cmd   *exec.Cmd
	said  head
}

// Start runs a program with arguments of File or Live, in until it ends. cpu bounds the processor time that it may use.
// It is killed with its group when ctx ends. An *os.File as in is handed over; of another reader a goroutine copies,
// which Wait waits for at most a second, so that whoever ends ctx must also free a blocked Read.
func Start(ctx context.Context, program string, args []string, in io.Reader, cpu time.Duration, log *slog.Logger) (*Process, error) {
	p := &Process{said: head{most: saidBytes}}
	cmd := exec.CommandContext(ctx, program, args...) // #nosec G204 -- nothing from outside is in them
	cmd.Env = []string{"LC_ALL=C"}                    // of ours nothing: FFREPORT would make it write files
	cmd.Dir = "/"
	cmd.Stdin, cmd.Stderr = in, &p.said
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	sound, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start ffmpeg: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start ffmpeg: %w", err)
	}
	restrict(cmd.Process.Pid, cpu, log)
	p.cmd, p.Sound = cmd, sound
	return p, nil
}

// Wait returns how the process ended, an *exec.ExitError if not well.
func (p *Process) Wait() error { return p.cmd.Wait() }

// Said is what it complained of, cut; it is from outside. Call it after Wait.
func (p *Process) Said() string { return p.said.String() }

// head keeps the first bytes of what is written to it.
type head struct {
	strings.Builder
	most int
}

func (h *head) Write(p []byte) (int, error) {
	_, _ = h.Builder.Write(p[:min(len(p), h.most-h.Len())])
	return len(p), nil
}
