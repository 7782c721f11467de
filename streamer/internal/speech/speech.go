// Package speech turns Vietnamese text into sound: it puts the text into words as they are read aloud, and lets
// espeak-ng speak them. espeak-ng is a robot's voice that is always there, without network or account.
//
// It decides nothing about who may say what; session asks it for a source of kind tts.
package speech

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os/exec"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"

	"dongthanh/codec"
)

// MaxText is the longest text, in characters: some twelve minutes.
const MaxText = 10_000

const (
	program = "espeak-ng"
	pace    = "140" // words a minute: a hall's announcer; espeak-ng's own 175 is hard to follow out of doors
	pause   = "2"   // units of 10 ms between words
	wait    = 20 * time.Second
	most    = 96 << 20 // bytes of sound: MaxText of the slowest words
)

// Errors of Speak; test with errors.Is.
var (
	ErrEmpty   = errors.New("nothing to say")
	ErrTooLong = errors.New("text is too long")
	ErrAbsent  = errors.New("no " + program + " on this machine")
)

// Speaker speaks. It is safe for concurrent use.
type Speaker struct {
	program string
	turns   chan struct{} // one text at a time a core is enough: a second of work is ten minutes of speech
	log     *slog.Logger
}

// New returns a speaker; whether espeak-ng is there is found out when it is needed.
func New(log *slog.Logger) *Speaker {
	return &Speaker{program: program, turns: make(chan struct{}, 1), log: log}
}

// Speak returns the sound of a text, mono at 48 kHz, whole in memory. urgent: it does not wait for its turn behind other
// texts. Errors: ErrEmpty, ErrTooLong, ErrAbsent, ctx's,
// or what espeak-ng said.
func (s *Speaker) Speak(ctx context.Context, text string, urgent bool) (*codec.WAVReader, error) {
	if utf8.RuneCountInString(text) > MaxText {
		return nil, fmt.Errorf("%w: more than %d characters", ErrTooLong, MaxText)
	}
	words := strings.TrimSpace(Words(strings.ToValidUTF8(text, " ")))
	if words == "" {
		return nil, ErrEmpty
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if !urgent {
		select {
		case s.turns <- struct{}{}:
			defer func() { <-s.turns }()
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	wav, err := s.run(ctx, words)
	if err != nil {
		return nil, fmt.Errorf("speak: %w", err)
	}
	sound, err := codec.NewWAVReader(bytes.NewReader(wav))
	if errors.Is(err, io.EOF) {
		err = ErrEmpty // signs alone
	}
	return sound, err
}

// run has espeak-ng make a WAV file of words. Nothing from outside stands in its arguments.
func (s *Speaker) run(ctx context.Context, words string) ([]byte, error) {
	path, err := exec.LookPath(s.program)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrAbsent, err)
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, "-v", "vi", "-s", pace, "-g", pause, "-b", "1", "--stdin", "--stdout")
	cmd.Env, cmd.Dir = []string{"LC_ALL=C.UTF-8"}, "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	cmd.Stdin = strings.NewReader(words)
	var sound, said limited
	sound.most, said.most, said.cut = most, 1<<10, true
	cmd.Stdout, cmd.Stderr = &sound, &said
	if err := cmd.Run(); err != nil {
		s.log.Warn("espeak-ng failed", "error", err, "said", said.kept.String())
		return nil, errors.Join(err, context.Cause(ctx))
	}
	return sound.kept.Bytes(), nil
}

// limited keeps so many bytes of what is written to it and refuses more. The buffer is not embedded: io.Copy would find
// its ReadFrom and pass Write by.
type limited struct {
	kept bytes.Buffer
	most int
	cut  bool // more is dropped instead
}

func (l *limited) Write(p []byte) (int, error) {
	if rest := l.most - l.kept.Len(); len(p) > rest {
		if l.cut {
			_, _ = l.kept.Write(p[:rest]) // a buffer takes all
			return len(p), nil
		}
		return 0, fmt.Errorf("more than %d bytes", l.most)
	}
	return l.kept.Write(p)
}
