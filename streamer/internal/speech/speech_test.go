package speech

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dongthanh/internal/testkit"
)

func speaker(t *testing.T) *Speaker {
	t.Helper()
	testkit.Program(t, program)
	return New(slog.New(slog.DiscardHandler))
}

// speak returns the samples of a text.
func speak(t *testing.T, s *Speaker, text string) []float32 {
	t.Helper()
	wav, err := s.Speak(t.Context(), text, false)
	if err != nil {
		t.Fatal(err)
	}
	var all []float32
	buf := make([]float32, 4800)
	for {
		n, err := wav.Read(buf)
		all = append(all, buf[:n]...)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func rms(pcm []float32) float64 {
	sum := 0.0
	for _, x := range pcm {
		sum += float64(x) * float64(x)
	}
	return math.Sqrt(sum / float64(max(len(pcm), 1)))
}

func TestSpeak(t *testing.T) {
	s := speaker(t)
	short := speak(t, s, "Kính thưa bà con.")
	long := speak(t, s, "Kính thưa bà con, 15h30 ngày 20/11/2026 mời bà con ra nhà văn hóa nhận 50.000đ.")
	if d := float64(len(short)) / 48000; d < 0.8 || d > 3 {
		t.Errorf("four words take %.2f s", d)
	}
	if len(long) < 4*len(short) {
		t.Errorf("a date, an hour and a sum are not read out: %.2f s", float64(len(long))/48000)
	}
	if level := 20 * math.Log10(rms(long)); level < -30 || level > -10 {
		t.Errorf("it speaks at %.1f dBFS", level)
	}
}

func TestSpeakRefusals(t *testing.T) {
	s := speaker(t)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for name, c := range map[string]struct {
		ctx  context.Context
		text string
		want error
	}{
		"nothing": {t.Context(), "", ErrEmpty},
		"blanks":  {t.Context(), " \n\t ", ErrEmpty},
		"long":    {t.Context(), strings.Repeat("a", MaxText+1), ErrTooLong},
		"ended":   {ended, "Xin chào.", context.Canceled},
	} {
		if _, err := s.Speak(c.ctx, c.text, false); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	s.program = "no-such-program"
	if _, err := s.Speak(t.Context(), "Xin chào.", false); !errors.Is(err, ErrAbsent) {
		t.Errorf("without the program: %v", err)
	}
}

// A text of hostile bytes is spoken or refused, and nothing of it reaches a shell or an argument.
func TestSpeakHostile(t *testing.T) {
	s := speaker(t)
	for _, text := range []string{
		"\x00\x01\x02", "\xff\xfe xin chào", "-w /etc/passwd", "$(reboot) `reboot`", "<speak><audio src='/etc/passwd'/></speak>",
		"[[a:b]]", strings.Repeat("[[", 500), strings.Repeat("ằ\u0301", 500), "\u202e chào",
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		if _, err := s.Speak(ctx, text, false); err != nil && !errors.Is(err, ErrEmpty) {
			t.Errorf("%q: %v", text, err)
		}
		cancel()
	}
}

// TestSpeakTooMuch: a program that makes more sound than any text has is cut, whatever way its output comes.
func TestSpeakTooMuch(t *testing.T) {
	s := New(slog.New(slog.DiscardHandler))
	s.program = filepath.Join(t.TempDir(), "endless")
	script := fmt.Sprintf("#!/bin/sh\nhead -c %d /dev/zero\n", most+1<<20)
	if err := os.WriteFile(s.program, []byte(script), 0o700); err != nil { // #nosec G306 -- a program
		t.Fatal(err)
	}
	if wav, err := s.run(t.Context(), "xin chào"); err == nil {
		t.Errorf("%d bytes of sound are kept, want at most %d", len(wav), most)
	}
	var said limited
	said.most = 3
	if n, err := io.Copy(&said, strings.NewReader("1234")); err == nil {
		t.Errorf("%d bytes were copied beyond a limit of 3", n)
	}
	said.cut = true // of complaints the beginning is enough, and they are no reason to be silent
	if n, err := io.Copy(&said, strings.NewReader("1234")); n != 4 || err != nil || said.kept.String() != "123" {
		t.Errorf("%q is kept of complaints, %d, %v", said.kept.String(), n, err)
	}
}

// TestSpeakUrgent: an emergency does not wait behind other people's long texts.
func TestSpeakUrgent(t *testing.T) {
	s := speaker(t)
	s.turns <- struct{}{} // somebody else's is being spoken, and does not end
	if _, err := s.Speak(t.Context(), "Cháy rừng.", true); err != nil {
		t.Errorf("an urgent text: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := s.Speak(ctx, "Xin chào.", false); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("another text: %v, want it to wait", err)
	}
}
