package health

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start runs a server on a free port until the test ends, and returns its URL.
func start(t *testing.T) (*Server, string) {
	t.Helper()
	s := New(Default("127.0.0.1:0"), slog.New(slog.DiscardHandler), NewRegistry("sample", "v1.2.3"))
	if err := s.Listen(); err != nil {
		t.Fatalf("Listen: %v", err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return s, "http://" + s.Addr().String()
}

// get returns the status and the body of a page.
func get(t *testing.T, url string) (int, string) {
	t.Helper()
	status, body, err := fetch(url)
	if err != nil {
		t.Fatal(err)
	}
	return status, body
}

// fetch is get for other goroutines than the test's own.
func fetch(url string) (int, string, error) {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	reply, err := client.Get(url)
	if err != nil {
		return 0, "", fmt.Errorf("get %s: %w", url, err)
	}
	defer reply.Body.Close()
	body, err := io.ReadAll(reply.Body)
	if err != nil {
		return 0, "", fmt.Errorf("read %s: %w", url, err)
	}
	return reply.StatusCode, string(body), nil
}

func TestPages(t *testing.T) {
	s, url := start(t)
	if status, body := get(t, url+"/healthz"); status != 200 || body != "ok\n" {
		t.Errorf("healthz = %d %q, want 200 ok", status, body)
	}
	if status, body := get(t, url+"/readyz"); status != 200 || body != "ready\n" {
		t.Errorf("readyz without checks = %d %q, want 200 ready", status, body)
	}
	status, body := get(t, url+"/metrics")
	for _, want := range []string{`dongthanh_build_info{go="go1.`, `program="sample",version="v1.2.3"} 1`, "go_goroutines ", "process_resident_memory_bytes "} {
		if status != 200 || !strings.Contains(body, want) {
			t.Errorf("metrics = %d, want 200 and %q", status, want)
		}
	}
	if status, _ := get(t, url+"/debug/pprof/"); status != 404 {
		t.Errorf("another page = %d, want 404", status)
	}
	reply, err := http.Post(url+"/metrics", "text/plain", nil)
	if err != nil {
		t.Fatal(err)
	}
	reply.Body.Close()
	http.DefaultClient.CloseIdleConnections()
	if reply.StatusCode != 405 {
		t.Errorf("POST /metrics = %d, want 405", reply.StatusCode)
	}

	note := ""
	s.AddNote("https", func() string { return note })
	if status, body := get(t, url+"/readyz"); status != 200 || body != "ready\n" {
		t.Errorf("readyz with an empty note = %d %q, want 200 ready", status, body)
	}
	note = "a certificate\nends soon"
	if status, body := get(t, url+"/readyz"); status != 200 || body != "ready\nhttps: a certificate ends soon\n" {
		t.Errorf("readyz with a note = %d %q, want 200 and the note in one line", status, body)
	}
	note = ""

	var fault atomic.Pointer[error]
	s.AddCheck("store", func(context.Context) error { return nil })
	s.AddCheck("redis", func(context.Context) error {
		if err := fault.Load(); err != nil {
			return *err
		}
		return nil
	})
	s.AddCheck("upstream", func(context.Context) error {
		if fault.Load() != nil {
			return errors.New("none joined")
		}
		return nil
	})
	if status, body := get(t, url+"/readyz"); status != 200 || body != "ready\n" {
		t.Errorf("readyz = %d %q, want 200 ready", status, body)
	}
	refused := errors.New("dial: refused\nforged: line\x1b[31m")
	fault.Store(&refused)
	if status, body := get(t, url+"/readyz"); status != 503 || body != "redis: dial: refused forged: line [31m\nupstream: none joined\n" {
		t.Errorf("readyz = %d %q, want 503 and a line for each fault", status, body)
	}
	if status, _ := get(t, url+"/healthz"); status != 200 {
		t.Errorf("healthz of a process that is not ready = %d, want 200", status)
	}
	fault.Store(nil)
	if status, _ := get(t, url+"/readyz"); status != 200 {
		t.Errorf("readyz after the fault = %d, want 200", status)
	}
}

// TestBrokenCollector holds that one faulty metric neither hides the others nor passes unseen.
func TestBrokenCollector(t *testing.T) {
	reg := prometheus.NewRegistry()
	reg.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "sound_total", Help: "x"}, func() float64 { return 3 }))
	reg.MustRegister(broken{prometheus.NewDesc("broken", "x", nil, nil)})
	var log strings.Builder
	s := New(Default(""), slog.New(slog.NewTextHandler(&log, nil)), reg)
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if w.Code != 200 || !strings.Contains(w.Body.String(), "sound_total 3") {
		t.Errorf("metrics = %d %q, want 200 and sound_total", w.Code, w.Body)
	}
	if !strings.Contains(log.String(), "no such device") {
		t.Errorf("log = %q, want the collector's error", log.String())
	}
}

// broken is a collector that fails.
type broken struct{ desc *prometheus.Desc }

func (b broken) Describe(c chan<- *prometheus.Desc) { c <- b.desc }
func (b broken) Collect(c chan<- prometheus.Metric) {
	c <- prometheus.NewInvalidMetric(b.desc, errors.New("no such device"))
}

func TestRunNamesWhatIsInUse(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	tests := []struct{ address, want string }{
		{taken.Addr().String(), fmt.Sprintf("admin.listen: cannot listen at %s: address already in use", taken.Addr())},
		{"192.0.2.1:0", "admin.listen: cannot listen at 192.0.2.1:0: this machine does not have that address"},
	}
	for _, tc := range tests {
		s := New(Default(tc.address), slog.New(slog.DiscardHandler), prometheus.NewRegistry())
		if err := s.Run(t.Context()); err == nil || err.Error() != tc.want {
			t.Errorf("Run at %s = %v, want %q", tc.address, err, tc.want)
		}
	}
}

// TestRunEndsWithACheckUnderWay holds that shutting down lets a request finish.
func TestRunEndsWithACheckUnderWay(t *testing.T) {
	s := New(Default("127.0.0.1:0"), slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err := s.Listen(); err != nil {
		t.Fatal(err)
	}
	asked := make(chan struct{})
	ctx, stop := context.WithCancel(context.Background())
	s.AddCheck("slow", func(c context.Context) error {
		close(asked)
		<-ctx.Done()
		return errors.New("ending")
	})
	ended, got := make(chan error, 1), make(chan string, 1)
	go func() { ended <- s.Run(ctx) }()
	go func() {
		_, body, err := fetch("http://" + s.Addr().String() + "/readyz")
		if err != nil {
			body = err.Error()
		}
		got <- body
	}()
	<-asked
	stop()
	if err := <-ended; err != nil {
		t.Errorf("Run = %v, want nil", err)
	}
	if body := <-got; body != "slow: ending\n" {
		t.Errorf("readyz = %q, want the answer despite the end", body)
	}
}

func TestConfig(t *testing.T) {
	if faults := Default("127.0.0.1:9089").Validate(); len(faults) > 0 {
		t.Errorf("default: %v", faults)
	}
	if faults := (Config{Listen: "nowhere"}).Validate(); len(faults) != 1 || faults[0].Path != "listen" {
		t.Errorf("Validate = %v, want one fault of listen", faults)
	}
}
