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
	// ErrFormat: the first bytes are those of no format that we know.
	ErrFormat = errors.New("unknown audio format")
	// ErrDamaged: a decoder gave the file up.
	ErrDamaged = errors.New("audio file is damaged")
	// ErrNoSound: a video or a picture.
	ErrNoSound = errors.New("file has no audio stream")
	// ErrSlow: decoding took more time or memory than a file may.
	ErrSlow = errors.New("audio file takes too long to decode")
	// ErrNoDecoder: ffmpeg is not installed.
	ErrNoDecoder = errors.New("no ffmpeg to decode audio with")
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

	errDamaged   = &Refusal{ErrDamaged, "Tệp âm thanh bị hỏng hoặc thiếu dữ liệu. Hãy xuất lại tệp rồi tải lên lại."}
	errNoSound   = &Refusal{ErrNoSound, "Tệp này chỉ có hình, không có âm thanh dùng được."}
	errSlow      = &Refusal{ErrSlow, "Máy chủ mất quá nhiều thời gian để đọc tệp này. Hãy chuyển sang WAV rồi tải lên lại."}
	errNoDecoder = &Refusal{ErrNoDecoder, "Máy chủ chưa cài ffmpeg nên chỉ nhận tệp WAV. Hãy chuyển sang WAV, hoặc báo kỹ thuật viên cài ffmpeg."}
	errFormat    = &Refusal{ErrFormat, "Tệp này không phải tệp WAV, MP3, M4A, Ogg, FLAC, 3GP hay AMR. Hãy chuyển sang một trong các loại đó rồi tải lên lại."}
)

// damaged refuses a file for something that is wrong in it.
func damaged(format string, args ...any) error {
	return &Refusal{fmt.Errorf("%w: %s", ErrDamaged, fmt.Sprintf(format, args...)), errDamaged.message}
}

// refuseFormat refuses what is no sound at all, whatever its name.
func refuseFormat(f format) error {
	switch f {
	case formatHTML:
		return &Refusal{fmt.Errorf("%w: HTML or XML", ErrFormat), "Tệp này là trang web, không phải âm thanh. Hãy tải lại đúng tệp âm thanh."}
	case formatZIP:
		return &Refusal{fmt.Errorf("%w: ZIP", ErrFormat), "Tệp này là tệp nén hoặc tài liệu (ZIP), không phải âm thanh. Hãy giải nén rồi tải lên tệp âm thanh bên trong."}
	}
	return errFormat
}

// refuse makes a decoder's error, met after at of sound, a Refusal; an error of the disk stays what it is.
func refuse(err error, at time.Duration) error {
	for _, c := range []struct {
		cause   error
		message string
	}{
		{codec.ErrNotWAV, errFormat.message},
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
