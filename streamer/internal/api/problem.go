package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"dongthanh/internal/identity"
	"dongthanh/streamer/internal/accounts"
	"dongthanh/streamer/internal/ingest"
	"dongthanh/streamer/internal/library"
	"dongthanh/streamer/internal/nodes"
	"dongthanh/streamer/internal/radio"
	"dongthanh/streamer/internal/session"
	"dongthanh/streamer/internal/speech"
	"dongthanh/streamer/internal/store"
)

// problem is a problem document (RFC 9457). Code is for programs, Detail for the official.
type problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
	Code   string `json:"code"`
}

// Error makes a problem an error, so that handlers simply return it.
func (p *problem) Error() string { return p.Code + ": " + p.Detail }

func problemf(status int, code, format string, args ...any) *problem {
	return &problem{Type: "about:blank", Title: http.StatusText(status), Status: status, Code: code, Detail: fmt.Sprintf(format, args...)}
}

var (
	errNoSuchPage = problemf(http.StatusNotFound, "not_found", "Không có địa chỉ này.")
	errSignIn     = problemf(http.StatusUnauthorized, "unauthenticated", "Bạn chưa đăng nhập hoặc phiên đăng nhập đã hết.")
	errForbidden  = problemf(http.StatusForbidden, "forbidden", "Bạn không có quyền làm việc này ở địa bàn đã chọn.")
	errMachine    = problemf(http.StatusForbidden, "emergency_needs_person", "Phát khẩn cấp phải do người có trách nhiệm thực hiện, không dùng mã truy cập của máy.")
)

// Plain answers what comes by plain http from another machine: nothing is done, and a token that came along is known to
// others by now.
func Plain() http.Handler {
	p := problemf(http.StatusForbidden, "https_required", "Chỉ dùng được qua https: địa chỉ phải bắt đầu bằng https://. Mã truy cập vừa gửi không được mã hoá; nếu là mã thật, hãy thu hồi.")
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		send(w, p)
	})
}

// handler answers a request; an error it returns becomes the answer.
type handler func(w http.ResponseWriter, r *http.Request) error

// wrap turns a handler's error into a problem document, and logs those that are our own fault.
func (a *api) wrap(h handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		err := h(w, r)
		if err == nil {
			return
		}
		p := a.translate(r, err)
		var throttled *accounts.Throttled
		if errors.As(err, &throttled) {
			w.Header().Set("Retry-After", strconv.Itoa(int(throttled.RetryAfter.Seconds())))
		}
		if p.Status == http.StatusUnauthorized {
			w.Header().Set("WWW-Authenticate", "Bearer") // RFC 9110 §15.5.2
		}
		send(w, p)
	})
}

func send(w http.ResponseWriter, p *problem) {
	w.Header().Set("Content-Type", "application/problem+json; charset=utf-8")
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p) // the client is gone, then
}

// translate finds the answer to an error, and logs those that are our own fault.
func (a *api) translate(r *http.Request, err error) *problem {
	p := translate(err)
	if p.Status >= http.StatusInternalServerError && r.Context().Err() == nil {
		a.Log.Error("api", "method", r.Method, "path", r.URL.Path, "error", err)
	}
	return p
}

// translate finds the answer to an error of the packages below.
func translate(err error) *problem {
	var (
		p         *problem
		busy      *session.BusyError
		throttled *accounts.Throttled
		tooLarge  *http.MaxBytesError
		refusal   *library.Refusal
		fault     *accounts.Fault
		address   *radio.Refusal
	)
	switch {
	case errors.As(err, &p):
		return p
	case errors.As(err, &busy):
		return problemf(http.StatusConflict, "busy", "Địa bàn đang có buổi phát khác%s. Hãy dừng buổi đó trước hoặc chờ phát xong.", quoted(busy.Session.Title))
	case errors.As(err, &throttled):
		return problemf(http.StatusTooManyRequests, "too_many_attempts", "%s", throttled.Message())
	case errors.Is(err, accounts.ErrCredentials):
		return problemf(http.StatusUnauthorized, "credentials", "%s", accounts.ErrCredentials.Message())
	case errors.Is(err, accounts.ErrSignedOut), errors.Is(err, accounts.ErrToken):
		return errSignIn
	case errors.Is(err, accounts.ErrBusy):
		return problemf(http.StatusServiceUnavailable, "overloaded", "%s", accounts.ErrBusy.Message())
	case errors.As(err, &tooLarge):
		return problemf(http.StatusRequestEntityTooLarge, "too_large", "Dữ liệu gửi lên quá lớn (tối đa %s).", size(tooLarge.Limit))
	case errors.As(err, &refusal):
		return problemf(http.StatusUnsupportedMediaType, "audio", "%s", refusal.Message())
	case errors.As(err, &address) && address.Private:
		return problemf(http.StatusUnprocessableEntity, "url_private", "%s", address.Message())
	case errors.As(err, &address):
		return problemf(http.StatusUnprocessableEntity, "url", "%s", address.Message())
	case errors.As(err, &fault):
		return problemf(http.StatusUnprocessableEntity, "invalid", "%s", fault.Message())
	case errors.Is(err, ingest.ErrTooMany):
		return problemf(http.StatusServiceUnavailable, "too_many_microphones", "Hệ thống đang có quá nhiều micrô cùng mở. Hãy thử lại sau.")
	case errors.Is(err, ingest.ErrLineAddress):
		return problemf(http.StatusServiceUnavailable, "line_address", "Máy chủ không mở được cổng để nhận tiếng từ máy gửi này. Hãy kiểm tra địa chỉ máy gửi, hoặc báo kỹ thuật viên.")
	case errors.Is(err, speech.ErrEmpty):
		return problemf(http.StatusUnprocessableEntity, "text", "Hãy nhập nội dung cần đọc.")
	case errors.Is(err, speech.ErrTooLong):
		return problemf(http.StatusUnprocessableEntity, "text", "Nội dung cần đọc dài quá %d ký tự. Hãy chia thành nhiều bản tin.", speech.MaxText)
	case errors.Is(err, speech.ErrAbsent):
		return problemf(http.StatusServiceUnavailable, "no_speech", "Máy chủ chưa cài giọng đọc (espeak-ng). Hãy báo kỹ thuật viên.")
	case errors.Is(err, ingest.ErrTooManyListeners):
		return problemf(http.StatusServiceUnavailable, "too_many_listeners", "Đang có quá nhiều người nghe cùng lúc. Hãy thử lại sau.")
	case errors.Is(err, ingest.ErrBadOffer):
		return problemf(http.StatusBadRequest, "bad_offer", "Trình duyệt gửi yêu cầu micrô không hợp lệ.")
	case errors.Is(err, session.ErrZones):
		return problemf(http.StatusUnprocessableEntity, "zones", "Hãy chọn từ 1 đến 32 địa bàn.")
	case errors.Is(err, session.ErrSource):
		return problemf(http.StatusUnprocessableEntity, "source", "Nguồn âm thanh không được hỗ trợ.")
	case errors.Is(err, session.ErrDelay):
		return problemf(http.StatusUnprocessableEntity, "delay", "Độ trễ phải là auto, instant, live, robust hoặc storm.")
	case errors.Is(err, session.ErrAudio):
		return problemf(http.StatusUnprocessableEntity, "no_audio", "Không tìm thấy tệp âm thanh.")
	case errors.Is(err, session.ErrOver):
		return problemf(http.StatusConflict, "over", "Buổi phát đã kết thúc.")
	case errors.Is(err, session.ErrAttached):
		return problemf(http.StatusConflict, "attached", "Buổi phát này đã có micrô.")
	case errors.Is(err, session.ErrNotSpeaker):
		return problemf(http.StatusForbidden, "not_speaker", "Chỉ người đã mở buổi phát này mới nối được micrô vào.")
	case errors.Is(err, session.ErrClosing), errors.Is(err, ingest.ErrClosed):
		return problemf(http.StatusServiceUnavailable, "closing", "Hệ thống đang tắt. Hãy thử lại sau ít phút.")
	case errors.Is(err, nodes.ErrNotLoudspeaker):
		return problemf(http.StatusConflict, "not_loudspeaker", "Thiết bị này là nút chuyển tiếp, không phải loa.")
	case errors.Is(err, nodes.ErrOffline):
		return problemf(http.StatusConflict, "offline", "Loa đang mất kết nối nên chưa phát tiếng thử được.")
	case errors.Is(err, nodes.ErrOnAir):
		return problemf(http.StatusConflict, "on_air", "Loa đang có buổi phát. Hãy thử loa khi buổi phát kết thúc.")
	}
	return translateStore(err)
}

func translateStore(err error) *problem {
	switch {
	case errors.Is(err, store.ErrNotFound):
		return problemf(http.StatusNotFound, "not_found", "Không tìm thấy.")
	case errors.Is(err, store.ErrUnknownZone), errors.Is(err, identity.ErrScope):
		return errNoZone
	case errors.Is(err, store.ErrConflict):
		return problemf(http.StatusConflict, "conflict", "Yêu cầu trái với dữ liệu đã có.")
	case errors.Is(err, store.ErrInvalid):
		return problemf(http.StatusUnprocessableEntity, "invalid", "Dữ liệu không hợp lệ.")
	case errors.Is(err, store.ErrFull):
		return problemf(http.StatusInsufficientStorage, "disk_full", "Ổ đĩa của máy chủ đã đầy. Hãy báo kỹ thuật viên.")
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return problemf(http.StatusServiceUnavailable, "timeout", "Máy chủ không trả lời kịp. Hãy thử lại.")
	}
	return problemf(http.StatusInternalServerError, "internal", "Hệ thống gặp lỗi. Hãy thử lại hoặc báo kỹ thuật viên.")
}

// size is a limit in bytes as people read it.
func size(n int64) string {
	if n >= 1<<20 {
		return strconv.FormatInt(n>>20, 10) + " MB"
	}
	return strconv.FormatInt(n>>10, 10) + " kB"
}

func quoted(title string) string {
	if title == "" {
		return ""
	}
	return " (“" + title + "”)"
}
