// Package radio fetches sound by http or https, a radio's stream or a file, and hands it on as a source of PCM. The
// address is a stranger's word: it is fetched by our own client, which goes to public addresses alone, and decoded by an
// ffmpeg that can reach nothing. Package session opens it.
package radio

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"dongthanh/streamer/internal/ingest"
)

const (
	openWait     = 10 * time.Second // from the request to the first bytes, redirects included
	dialWait     = 5 * time.Second
	maxRedirects = 5
	maxURL       = 2000 // characters
	maxHeader    = 64 << 10
	maxOpen      = 32 // at once: each has an ffmpeg
)

// ErrLost says that the sound broke off, and did not come back.
var ErrLost = errors.New("radio lost")

// Refusal says why an address is not rebroadcast.
type Refusal struct {
	cause   error
	message string
	// Private says that the address leads to where the streamer must not go.
	Private bool
}

func (r *Refusal) Error() string { return r.cause.Error() }

// Unwrap returns the cause.
func (r *Refusal) Unwrap() error { return r.cause }

// Message is the sentence for the official, in Vietnamese.
func (r *Refusal) Message() string { return r.message }

func refuse(message, format string, args ...any) *Refusal {
	return &Refusal{cause: fmt.Errorf(format, args...), message: message}
}

// Radio opens addresses. Safe for concurrent use.
type Radio struct {
	allow  []netip.Prefix
	log    *slog.Logger
	client *http.Client
	lookup func(ctx context.Context, network, host string) ([]netip.Addr, error)
	ffmpeg string
	waits  waits

	mu   sync.Mutex // guards open
	open int
}

// waits are the times after which one gives up; tests have less patience.
type waits struct {
	open  time.Duration // to the first bytes
	stall time.Duration // without sound: connect anew
	lost  time.Duration // without sound: give up
	first time.Duration // from a break to the next attempt; then twice as long each time
}

// New returns a Radio. cfg is valid.
func New(cfg Config, log *slog.Logger) *Radio {
	r := &Radio{
		log: log, lookup: net.DefaultResolver.LookupNetIP, ffmpeg: "ffmpeg",
		waits: waits{open: openWait, stall: 10 * time.Second, lost: 30 * time.Second, first: 500 * time.Millisecond},
	}
	for _, s := range cfg.Allow {
		r.allow = append(r.allow, netip.MustParsePrefix(s).Masked())
	}
	r.client = &http.Client{
		Transport: &http.Transport{ // no proxy: it would go where we must not
			DialContext: r.dial, DisableKeepAlives: true, DisableCompression: true, TLSHandshakeTimeout: dialWait,
			MaxResponseHeaderBytes: maxHeader,
		},
		CheckRedirect: func(next *http.Request, before []*http.Request) error {
			if len(before) > maxRedirects {
				return refuse("Địa chỉ này chuyển hướng quá nhiều lần.", "over %d redirects", maxRedirects)
			}
			return checkURL(next.URL)
		},
	}
	return r
}

// checkURL refuses what is no address of http or https.
func checkURL(u *url.URL) error {
	switch {
	case u.Scheme != "http" && u.Scheme != "https", u.Hostname() == "", u.Opaque != "":
		return refuse("Địa chỉ phải bắt đầu bằng http:// hoặc https://.", "not an http address")
	case u.User != nil:
		return refuse("Địa chỉ không được chứa tên và mật khẩu.", "an address with a password")
	}
	return nil
}

// dial connects to a host, if every address that it has may be gone to. The one that was looked at is the one that is
// connected to, whatever the name means a moment later.
func (r *Radio) dial(ctx context.Context, network, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	var ips []netip.Addr
	if ip, err := netip.ParseAddr(host); err == nil {
		ips = []netip.Addr{ip}
	} else if ips, err = r.lookup(ctx, "ip", host); err != nil {
		return nil, refuse("Không tìm thấy máy chủ của địa chỉ này.", "look up %q: %w", host, err)
	}
	for _, ip := range ips {
		if !r.permitted(ip) {
			refusal := refuse("Địa chỉ này dẫn vào mạng nội bộ hoặc vùng địa chỉ đặc biệt nên không được phép lấy tiếng.", "%q is at %s", host, ip)
			refusal.Private = true
			return nil, refusal
		}
	}
	dialer := net.Dialer{Timeout: dialWait, Control: r.control}
	err = errors.New("no address")
	for _, ip := range ips {
		var conn net.Conn
		if conn, err = dialer.DialContext(ctx, network, net.JoinHostPort(ip.Unmap().String(), port)); err == nil {
			return &icy{Conn: conn}, nil
		}
	}
	return nil, err
}

// control looks once more at where a socket is about to connect to.
func (r *Radio) control(_, address string, _ syscall.RawConn) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil || !r.permitted(at.Addr()) {
		return fmt.Errorf("connect to %s: not permitted", address)
	}
	return nil
}

// Open connects to an address and returns its sound, which the caller closes. It returns once the first bytes say that
// it is sound, or a *Refusal; ctx bounds Open alone. ingest.ErrTooMany: as many are open as may be.
func (r *Radio) Open(ctx context.Context, address string) (ingest.Source, error) {
	u, err := url.Parse(strings.TrimSpace(address))
	if err != nil || len(address) > maxURL {
		return nil, refuse("Địa chỉ không hợp lệ.", "parse address: %w", err)
	}
	if err := checkURL(u); err != nil {
		return nil, err
	}
	program, err := exec.LookPath(r.ffmpeg)
	if err != nil {
		return nil, refuse("Máy chủ chưa cài ffmpeg nên chưa phát được theo địa chỉ. Hãy báo kỹ thuật viên cài ffmpeg.", "no ffmpeg: %w", err)
	}
	if !r.take() {
		return nil, fmt.Errorf("open radio: %w", ingest.ErrTooMany)
	}
	s := newStream(r, u, program)
	if err := s.tune(ctx); err != nil {
		s.cancel()
		r.give()
		return nil, err
	}
	return &source{File: ingest.NewFile(s, nil), stream: s}, nil
}

func (r *Radio) take() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.open >= maxOpen {
		return false
	}
	r.open++
	return true
}

func (r *Radio) give() {
	r.mu.Lock()
	r.open--
	r.mu.Unlock()
}

func itoa(n int) string { return strconv.Itoa(n) }
