package library

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func TestDisplayName(t *testing.T) {
	for in, want := range map[string]string{
		"thông báo.wav":             "thông báo.wav",
		"tho\u0302ng ba\u0301o.wav": "thông báo.wav",
		"../../etc/passwd":          "passwd",
		`C:\fakepath\a.wav`:         "a.wav",
		" a\x00b\nc\u202ed.wav ":    "abcd.wav",
		"":                          "audio.wav",
		"..":                        "audio.wav",
		"/":                         "audio.wav",
		"\x1b[31mđỏ":                "[31mđỏ",
		strings.Repeat("ạ", 121):    strings.Repeat("ạ", 119) + "…",
		"a\xffb":                    "a\ufffdb",
	} {
		if got := displayName(in); got != want {
			t.Errorf("displayName(%q) = %q, want %q", in, got, want)
		}
	}
}

func FuzzDisplayName(f *testing.F) {
	f.Add("a/b\\c\x00.wav")
	f.Fuzz(func(t *testing.T, s string) {
		got := displayName(s)
		if !utf8.ValidString(got) || got == "" || strings.ContainsAny(got, "/\\\x00\n\r\x1b") || utf8.RuneCountInString(got) > maxName {
			t.Errorf("displayName(%q) = %q", s, got)
		}
	})
}

// plainHead begins a file of 48 kHz, mono, 16 bits, up to the length of its data.
const plainHead = "RIFF\x00\x00\x00\x00WAVEfmt \x10\x00\x00\x00\x01\x00\x01\x00\x80\xbb\x00\x00\x00\x77\x01\x00\x02\x00\x10\x00data"

func TestTooLongWithAndWithoutDeclaredLength(t *testing.T) {
	const most = 100 * time.Millisecond
	for _, declared := range []bool{true, false} {
		for samples, want := range map[int]error{4800: nil, 4801: ErrTooLong, 480000: ErrTooLong} {
			b := []byte(plainHead)
			if declared {
				b = binary.LittleEndian.AppendUint32(b, uint32(2*samples))
			} else {
				b = binary.LittleEndian.AppendUint32(b, 0xffffffff)
			}
			r := bytes.NewReader(append(b, make([]byte, 2*samples)...))
			if _, _, err := measure(r, most); !errors.Is(err, want) {
				t.Errorf("measure of %d samples (declared %v): %v, want %v", samples, declared, err, want)
			}
			if read := int(r.Size()) - r.Len(); declared && want != nil && read > 10000 {
				t.Errorf("read %d bytes of a file that declares its length", read)
			}
		}
	}
}

// Whatever the bytes: a finite length and loudness, or a refusal with a sentence.
func FuzzMeasure(f *testing.F) {
	const head = plainHead
	f.Add([]byte(head + "\x04\x00\x00\x00\x01\x02\x03\x04"))
	f.Add([]byte(head + "\xff\xff\xff\xff\x01\x02\x03"))
	f.Add([]byte("RF64"))
	f.Fuzz(func(t *testing.T, b []byte) {
		seconds, lufs, err := measure(bytes.NewReader(b), MaxDuration)
		if err == nil {
			if !(seconds > 0 && seconds <= MaxDuration.Seconds() && lufs >= -70 && lufs < 30) {
				t.Errorf("measure = %v s, %v LUFS", seconds, lufs)
			}
			return
		}
		if r, ok := err.(*Refusal); !ok || r.Message() == "" {
			t.Errorf("measure: %v, want a refusal with a message", err)
		}
	})
}

func TestClock(t *testing.T) {
	for at, want := range map[time.Duration]string{0: "00:00", 59999 * time.Millisecond: "00:59", 65 * time.Second: "01:05", 2 * time.Hour: "120:00"} {
		if got := clock(at); got != want {
			t.Errorf("clock(%v) = %q, want %q", at, got, want)
		}
	}
}
