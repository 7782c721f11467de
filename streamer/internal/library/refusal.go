package library

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"

	"golang.org/x/text/unicode/norm"

	"dongthanh/codec"
)

// What is wrong with a file, besides the errors of codec.WAVReader; test with errors.Is.
var (
	ErrTooLarge = errors.New("file is too large")
	ErrTooLong  = errors.New("sound is too long")
	ErrEmpty    = errors.New("file holds no sound")
)

// Refusal says why a file was not accepted. It wraps what codec or this package found.
type Refusal struct {
	cause   error
	message string
}

func (r *Refusal) Error() string { return r.cause.Error() }

// Unwrap returns the cause.
func (r *Refusal) Unwrap() error { return r.cause }

// Message is the sentence for the official, in Vietnamese.
func (r *Refusal) Message() string { return r.message }

var (
	errTooLarge = &Refusal{ErrTooLarge, fmt.Sprintf("Tệp quá lớn, tối đa %d MB.", MaxBytes>>20)}
	errTooLong  = &Refusal{ErrTooLong, fmt.Sprintf("Âm thanh quá dài, tối đa %d giờ.", int(MaxDuration.Hours()))}
	errEmpty    = &Refusal{ErrEmpty, "Tệp không có âm thanh."}
)

// refuse makes a decoder's error, met after at of sound, a Refusal; an error of the disk stays what it is.
func refuse(err error, at time.Duration) error {
	for _, c := range []struct {
		cause   error
		message string
	}{
		{codec.ErrNotWAV, "Tệp này không phải tệp WAV. Hãy chuyển sang WAV rồi tải lên lại."},
		{codec.ErrWAVRF64, "Tệp WAV loại RF64 hoặc RIFX chưa dùng được. Hãy xuất lại thành WAV thông thường."},
		{codec.ErrWAVHeader, "Phần đầu tệp WAV bị hỏng. Hãy xuất lại tệp rồi tải lên lại."},
		{codec.ErrWAVEncoding, "Kiểu mã hóa của tệp WAV chưa dùng được. Hãy xuất lại thành WAV không nén (PCM 16 bit)."},
		{codec.ErrWAVChannels, "Tệp WAV phải có từ 1 đến 8 kênh."},
		{codec.ErrWAVRate, "Tần số lấy mẫu của tệp WAV phải từ 8 đến 192 kHz."},
		{codec.ErrTruncated, fmt.Sprintf("Tệp âm thanh bị cắt cụt ở %s, thiếu phần sau. Hãy tải lên lại tệp đầy đủ.", clock(at))},
	} {
		if errors.Is(err, c.cause) {
			return &Refusal{err, c.message}
		}
	}
	return err
}

// clock writes a position as minutes and seconds.
func clock(at time.Duration) string {
	s := int(at.Seconds())
	return fmt.Sprintf("%02d:%02d", s/60, s%60)
}

// maxName bounds a file's name, in characters. Taste.
const maxName = 120

// displayName makes a name from outside fit to be shown: no folders, no control or direction-changing characters, NFC,
// not too long. It is never used as a path.
func displayName(name string) string {
	name = norm.NFC.String(strings.ToValidUTF8(name, "\ufffd"))
	name = name[strings.LastIndexAny(name, `/\`)+1:]
	name = strings.Map(func(r rune) rune {
		if unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp) {
			return -1
		}
		return r
	}, name)
	name = strings.TrimSpace(name)
	if r := []rune(name); len(r) > maxName {
		name = string(r[:maxName-1]) + "…"
	}
	if name == "" || name == "." || name == ".." {
		return "audio.wav"
	}
	return name
}
