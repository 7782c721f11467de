package health

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// manager is the socket of a service manager.
func manager(t *testing.T) (env map[string]string, next func() string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return map[string]string{"NOTIFY_SOCKET": path}, func() string {
		t.Helper()
		if err := c.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		var b [512]byte
		n, err := c.Read(b[:])
		if err != nil {
			t.Fatalf("the manager hears nothing: %v", err)
		}
		return string(b[:n])
	}
}

func TestNotify(t *testing.T) {
	env, next := manager(t)
	env["WATCHDOG_USEC"], env["WATCHDOG_PID"] = "60000", "17"
	var hangs atomic.Bool
	n := NewNotifier(func(k string) string { return env[k] }, 17, func() error {
		if hangs.Load() {
			return errors.New("a loop\nhangs")
		}
		return nil
	}, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- n.Run(ctx) }()
	for i, want := range []string{"READY=1", "WATCHDOG=1", "WATCHDOG=1", "WATCHDOG=1"} {
		if got := next(); got != want {
			t.Errorf("message %d is %q, want %q", i, got, want)
		}
	}
	hangs.Store(true)
	got := next()
	for got == "WATCHDOG=1" { // sent before
		got = next()
	}
	if got != "STATUS=hangs: a loop hangs" {
		t.Errorf("hung: %q", got)
	}
	hangs.Store(false)
	if got := next(); got != "WATCHDOG=1" {
		t.Errorf("after it hung the next is %q: it was fed meanwhile, or is fed no more", got)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("Run() = %v", err)
	}
	for got = next(); got == "WATCHDOG=1"; got = next() {
	}
	if got != "STOPPING=1" {
		t.Errorf("the last is %q", got)
	}
}

func TestNotifyForAnother(t *testing.T) {
	env, next := manager(t)
	env["WATCHDOG_USEC"], env["WATCHDOG_PID"] = "1000", "18" // of the parent
	n := NewNotifier(func(k string) string { return env[k] }, 17, nil, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_ = n.Run(ctx)
	if a, b := next(), next(); a != "READY=1" || b != "STOPPING=1" {
		t.Errorf("%q, %q, want READY and STOPPING alone", a, b)
	}
	if n := NewNotifier(func(string) string { return "" }, 17, nil, slog.New(slog.DiscardHandler)); n.Run(ctx) != nil {
		t.Error("without a manager it fails")
	}
}

func TestPulse(t *testing.T) {
	s := New(Default("127.0.0.1:0"), slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err := s.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	defer func() { cancel(); <-ended }()
	good, bad := s.AddPulse("one", time.Hour), s.AddPulse("two", time.Nanosecond)
	good.Beat()
	bad.Beat()
	if err := s.Alive(); err == nil || !strings.Contains(err.Error(), "two has not") || strings.Contains(err.Error(), "one") {
		t.Errorf("Alive() = %v", err)
	}
	resp, err := http.Get("http://" + s.Addr().String() + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusServiceUnavailable || !strings.Contains(string(body), "two") {
		t.Errorf("/healthz = %d %s", resp.StatusCode, body)
	}
	bad.limit = time.Hour
	if err := s.Alive(); err != nil {
		t.Errorf("Alive() = %v, want nil", err)
	}
}
