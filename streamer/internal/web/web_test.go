package web

import (
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"

	"dongthanh/internal/config"
)

func TestValidate(t *testing.T) {
	for _, c := range []struct {
		cfg  Config
		want string // the paths of the faults
	}{
		{DefaultConfig(), ""},
		{Config{Listen: "127.0.0.1:80"}, ""},
		{Config{Listen: "localhost:80"}, ""},
		{Config{Listen: "0.0.0.0:80"}, ""},
		{Config{Listen: "192.0.2.1:80"}, ""},
		{Config{Listen: ""}, "listen"},
		{Config{Listen: "80"}, "listen"},
		{Config{Listen: "loa.example:80"}, "listen"},
	} {
		var got []string
		for _, f := range c.cfg.Validate() {
			got = append(got, f.Path)
			if strings.Contains(config.Faults{f}.Error(), "\n") {
				t.Errorf("%+v: fault of more than one line: %s", c.cfg, f)
			}
		}
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("faults of %+v: %q, want %q", c.cfg, s, c.want)
		}
	}
}

func TestHeaders(t *testing.T) {
	s := serve(t, Config{Listen: "127.0.0.1:0"}, hello)
	answer, _ := s.do("GET", "/", nil)
	for name, want := range map[string]string{
		"Content-Security-Policy":    "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
		"X-Content-Type-Options":     "nosniff",
		"Referrer-Policy":            "same-origin",
		"Cross-Origin-Opener-Policy": "same-origin",
		"Permissions-Policy":         "microphone=(self), camera=(), geolocation=()",
		"Strict-Transport-Security":  "", // means nothing over plain http
	} {
		if got := answer.Header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

func TestOtherSites(t *testing.T) {
	s := serve(t, Config{Listen: "127.0.0.1:0"}, hello)
	own := "http://" + s.Addr().String()
	for _, c := range []struct {
		name    string
		method  string
		headers []string
		want    int
	}{
		{"our own page", "POST", []string{"Sec-Fetch-Site: same-origin", "Origin: " + own}, 200},
		{"typed by a person", "POST", []string{"Sec-Fetch-Site: none"}, 200},
		{"a machine", "POST", nil, 200},
		{"an old browser on our page", "POST", []string{"Origin: " + own}, 200},
		{"another site", "POST", []string{"Sec-Fetch-Site: cross-site", "Origin: https://evil.example"}, 403},
		{"a neighbour in the domain", "POST", []string{"Sec-Fetch-Site: same-site"}, 403},
		{"another site in an old browser", "POST", []string{"Origin: https://evil.example"}, 403},
		{"another port of this machine", "POST", []string{"Origin: http://127.0.0.1:1"}, 403},
		{"a page without an origin", "POST", []string{"Origin: null"}, 403},
		{"a deletion by another site", "DELETE", []string{"Sec-Fetch-Site: cross-site"}, 403},
		{"a link from another site", "GET", []string{"Sec-Fetch-Site: cross-site"}, 200},
	} {
		answer, body := s.do(c.method, "/", nil, c.headers...)
		if answer.StatusCode != c.want || (c.want == 403) != strings.Contains(body, "từ một trang khác") {
			t.Errorf("%s: %d %q, want %d", c.name, answer.StatusCode, body, c.want)
		}
	}
	if answer, _ := s.do("POST", "/api/v1/whip/x", nil, "Sec-Fetch-Site: cross-site", "Origin: https://evil.example"); answer.StatusCode != http.StatusOK {
		t.Errorf("WHIP from another site: %d, want it to be the API's to judge", answer.StatusCode)
	}
}

// TestPanic: a handler that panics answers 500 and leaves the server as it was.
func TestPanic(t *testing.T) {
	s := serve(t, Config{Listen: "127.0.0.1:0"}, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/bug":
			_ = []int{}[len(r.URL.Path)]
		case "/cut":
			panic(http.ErrAbortHandler)
		}
		hello(w, r)
	})
	for range 2 {
		answer, body := s.do("GET", "/bug", nil)
		if answer.StatusCode != 500 || !strings.Contains(body, "Hệ thống gặp lỗi") || strings.Contains(body, "index out of range") {
			t.Errorf("panic: %d %q, want 500 in Vietnamese and no detail", answer.StatusCode, body)
		}
		if answer, body := s.do("GET", "/", nil); answer.StatusCode != 200 || body != "xin chào" {
			t.Errorf("afterwards: %d %q", answer.StatusCode, body)
		}
	}
	if log := s.log.String(); !strings.Contains(log, "path=/bug") || !strings.Contains(log, "index out of range") || !strings.Contains(log, "web_test.go") {
		t.Errorf("the log does not tell what panicked where: %s", log)
	}
	if _, err := s.client.Get("http://" + s.Addr().String() + "/cut"); err == nil {
		t.Error("an aborted answer arrived")
	}
	if strings.Contains(s.log.String(), "/cut") {
		t.Error("an aborted answer is in the log")
	}
}

func TestPortInUse(t *testing.T) {
	for _, host := range []string{"127.0.0.1", "::1"} {
		if host == "::1" && !haveIPv6() {
			continue
		}
		other, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
		if err != nil {
			t.Fatal(err)
		}
		port := fmt.Sprint(other.Addr().(*net.TCPAddr).Port)
		s, _ := build(t, t.Context(), Config{Listen: "localhost:" + port}, hello, slog.New(slog.DiscardHandler))
		got, want := s.Listen(), "http.listen: listen on "+net.JoinHostPort(host, port)+": address already in use"
		if got == nil || got.Error() != want {
			t.Errorf("Listen = %v, want %s", got, want)
		}
		all, _ := build(t, t.Context(), Config{Listen: ":" + port}, hello, slog.New(slog.DiscardHandler))
		if got, want := all.Listen(), "http.listen: listen on :"+port+": address already in use"; got == nil || got.Error() != want {
			t.Errorf("Listen on all addresses = %v, want %s", got, want)
		}
		_ = other.Close()
		again, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", port))
		if err != nil {
			t.Errorf("the other family is still taken: %v", err)
			continue
		}
		_ = again.Close()
	}
	denied, _ := build(t, t.Context(), Config{Listen: "192.0.2.1:1"}, hello, slog.New(slog.DiscardHandler))
	if err := denied.Listen(); err == nil || strings.Contains(err.Error(), "\n") {
		t.Errorf("an address of another machine: %v, want an error of one line", err)
	}
}
