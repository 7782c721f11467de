package web

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"dongthanh/streamer/internal/webcert"
)

// otherAddress is an address of this machine that is not loopback; what comes to it counts as from elsewhere.
func otherAddress(t *testing.T) string {
	t.Helper()
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addresses {
		if ip := a.(*net.IPNet).IP; !ip.IsLoopback() && !ip.IsLinkLocalUnicast() {
			return ip.String()
		}
	}
	t.Skip("this machine has no address but loopback")
	return ""
}

func (s *served) port() string { return fmt.Sprint(s.Addr().(*net.TCPAddr).Port) }

// TestOnePort: loopback speaks plain http and https, every other address https alone, on one port.
func TestOnePort(t *testing.T) {
	s := serve(t, Config{Listen: ":0"}, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "served %d %v", r.ProtoMajor, r.TLS != nil)
	})
	if want := "http://localhost:" + s.port(); s.URL() != want {
		t.Errorf("URL = %q, want %q", s.URL(), want)
	}
	other := otherAddress(t)
	client := s.trusting(0)
	for _, c := range []struct{ scheme, host, want string }{
		{"http", "127.0.0.1", "served 1 false"},
		{"http", "::1", "served 1 false"},
		{"http", "localhost", "served 1 false"},
		{"https", "127.0.0.1", "served 2 true"},
		{"https", "::1", "served 2 true"},
		{"https", "localhost", "served 2 true"},
		{"https", other, "served 2 true"},
		{"http", other, "plain " + net.JoinHostPort(other, s.port()) + ` cookies=0 authorization=""`},
	} {
		if c.host == "::1" && !haveIPv6() {
			continue
		}
		r, err := http.NewRequestWithContext(t.Context(), "GET", c.scheme+"://"+net.JoinHostPort(c.host, s.port())+"/", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Cookie", "dongthanh=secret")
		r.Header.Set("Authorization", "Bearer secret")
		answer, err := client.Do(r)
		if err != nil {
			t.Errorf("%s by %s: %v", c.scheme, c.host, err)
			continue
		}
		body, _ := io.ReadAll(answer.Body)
		_ = answer.Body.Close()
		if string(body) != c.want {
			t.Errorf("%s by %s: %q, want %q", c.scheme, c.host, body, c.want)
		}
		if answer.Header.Get("X-Content-Type-Options") != "nosniff" || answer.Header.Get("Content-Security-Policy") == "" {
			t.Errorf("%s by %s: headers %v", c.scheme, c.host, answer.Header)
		}
		if got := answer.Header.Get("Strict-Transport-Security"); got != "" {
			t.Errorf("%s by %s: HSTS %q with a certificate that browsers do not know", c.scheme, c.host, got)
		}
	}
}

// TestLocalhostAlone: a listener on localhost is reached by both names of this machine, and by nobody else.
func TestLocalhostAlone(t *testing.T) {
	s := serve(t, Config{Listen: "localhost:0"}, hello)
	for _, l := range s.listeners {
		if !l.Addr().(*net.TCPAddr).IP.IsLoopback() {
			t.Errorf("it listens at %v", l.Addr())
		}
	}
	if conn, err := net.Dial("tcp", net.JoinHostPort(otherAddress(t), s.port())); err == nil {
		_ = conn.Close()
		t.Error("it is reached from elsewhere")
	}
}

// TestGivenCertificate: certificate files are served by both versions of HTTP, and make browsers keep to https.
func TestGivenCertificate(t *testing.T) {
	files, pool := certificate(t)
	s := serve(t, Config{Listen: "127.0.0.1:0", TLS: files}, hello)
	for _, c := range []struct {
		name  string
		major int
		h2    bool
	}{{"HTTP/1.1", 1, false}, {"HTTP/2", 2, true}} {
		s.client = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: c.h2}}
		answer, body := s.do("GET", "/", nil)
		if body != "xin chào" || answer.ProtoMajor != c.major {
			t.Errorf("%s: %q by %s", c.name, body, answer.Proto)
		}
		if got := answer.Header.Get("Strict-Transport-Security"); got != "max-age=31536000" {
			t.Errorf("%s: HSTS = %q", c.name, got)
		}
		s.client.CloseIdleConnections()
	}
	answer, err := http.Get("http://" + s.Addr().String() + "/")
	if err != nil {
		t.Fatal(err)
	}
	_ = answer.Body.Close()
	http.DefaultClient.CloseIdleConnections()
	if answer.StatusCode != 200 || answer.Header.Get("Strict-Transport-Security") != "" { // which means nothing over plain http
		t.Errorf("plain http on loopback: %s, HSTS %q", answer.Status, answer.Header.Get("Strict-Transport-Security"))
	}
}

func TestVersionsOfTLS(t *testing.T) {
	s := serve(t, Config{Listen: "127.0.0.1:0"}, hello)
	for version, want := range map[uint16]bool{tls.VersionTLS10: false, tls.VersionTLS11: false, tls.VersionTLS12: true, tls.VersionTLS13: true} {
		conn, err := tls.Dial("tcp", s.Addr().String(), &tls.Config{InsecureSkipVerify: true, MinVersion: version, MaxVersion: version}) // #nosec G402 -- a test of the server
		if err == nil {
			_ = conn.Close()
		}
		if (err == nil) != want {
			t.Errorf("%s: %v, want spoken: %v", tls.VersionName(version), err, want)
		}
	}
	conn, err := tls.Dial("tcp", s.Addr().String(), &tls.Config{InsecureSkipVerify: true}) // #nosec G402 -- as above
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if v := conn.ConnectionState().Version; v != tls.VersionTLS13 {
		t.Errorf("a browser of today speaks %s, want 1.3", tls.VersionName(v))
	}
}

// slow writes one byte at a time, in packets of their own.
type slow struct{ net.Conn }

func (s slow) Write(b []byte) (int, error) {
	for i := range b {
		if _, err := s.Conn.Write(b[i : i+1]); err != nil {
			return i, err
		}
	}
	return len(b), nil
}

// TestClientHelloInPieces: a handshake that comes byte by byte is as good as any, and so is a request.
func TestClientHelloInPieces(t *testing.T) {
	s := serve(t, Config{Listen: "127.0.0.1:0"}, hello)
	for _, secure := range []bool{true, false} {
		raw, err := net.Dial("tcp", s.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		_ = raw.(*net.TCPConn).SetNoDelay(true)
		var conn net.Conn = slow{raw}
		if secure {
			conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true}) // #nosec G402 -- a test of the server
		}
		_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
		_ = conn.SetReadDeadline(time.Now().Add(limit))
		b, err := io.ReadAll(conn)
		if !strings.HasSuffix(string(b), "xin chào") {
			t.Errorf("TLS %v: %q, %v", secure, b, err)
		}
		_ = raw.Close()
	}
}

// TestGarbage: whatever comes first, over plain http or after a byte that looks like TLS, is answered with an error or
// nothing, and the next visitor is served.
func TestGarbage(t *testing.T) {
	reached := make(chan string, 100)
	s := serve(t, Config{Listen: "127.0.0.1:0"}, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/" {
			reached <- r.URL.Path
		}
		hello(w, r)
	})
	for name, sent := range map[string]string{
		"a byte of TLS": "\x16", "TLS 0.0": "\x16\x00\x00\x00\x05hello", "a record that lies": "\x16\x03\x01\xff\xff" + strings.Repeat("a", 100),
		"half a ClientHello": "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "an alert": "\x15\x03\x01\x00\x02\x02\x28",
		"SSL 2": "\x80\x2e\x01\x00\x02", "zeros": "\x00\x00\x00\x00", "ones": "\xff\xff\xff", "SSH": "SSH-2.0-OpenSSH_9.2\r\n",
		"a proxy's header": "PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\nGET /proxied HTTP/1.1\r\nHost: x\r\n\r\n", "a line": "GET\r\n\r\n",
		"two hosts":              "GET /hosts HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
		"no host":                "GET /none HTTP/1.1\r\n\r\n",
		"length and chunks":      "POST /smuggle HTTP/1.1\r\nHost: x\r\nContent-Length: 44\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
		"two lengths":            "POST /lengths HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
		"a negative length":      "POST /negative HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
		"a name with a space":    "POST /space HTTP/1.1\r\nHost: x\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
		"a line that is folded":  "GET /folded HTTP/1.1\r\n Host: x\r\n\r\n",
		"a host with a new line": "GET /newline HTTP/1.1\r\nHost: x\ny\r\n\r\n",
		"a host with markup":     "GET /markup HTTP/1.1\r\nHost: \"><b>\r\n\r\n",
	} {
		conn, err := net.Dial("tcp", s.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(conn, sent)
		_ = conn.(*net.TCPConn).CloseWrite()
		_ = conn.SetReadDeadline(time.Now().Add(limit))
		line, err := bufio.NewReader(conn).ReadString('\n')
		_ = conn.Close()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: the connection is kept", name)
		}
		if strings.HasPrefix(line, "HTTP/") && !strings.Contains(line, " 400 ") && !strings.Contains(line, " 501 ") {
			t.Errorf("%s is answered with %q", name, line)
		}
	}
	select {
	case path := <-reached:
		t.Errorf("%s reached the handler", path)
	default:
	}
	if answer, _ := s.do("GET", "/", nil); answer.StatusCode != 200 {
		t.Errorf("afterwards: %d", answer.StatusCode)
	}
}

// TestSilence: who connects and says nothing, or begins TLS and stops, loses the connection.
func TestSilence(t *testing.T) {
	s := serve(t, Config{Listen: "127.0.0.1:0"}, hello, func(s *Server) {
		s.http.ReadHeaderTimeout, s.firstWait = 100*time.Millisecond, 100*time.Millisecond
	})
	for _, sent := range []string{"", "\x16", "\x16\x03\x01\x00"} {
		conn, err := net.Dial("tcp", s.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(conn, sent)
		_ = conn.SetReadDeadline(time.Now().Add(limit))
		if _, err := io.ReadAll(conn); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("after %q the connection is still open", sent)
		}
		_ = conn.Close()
	}
}

// TestConnectionsAreBounded: one machine cannot keep the others out, a place that is free again is given away, and this
// machine itself is always let in.
func TestConnectionsAreBounded(t *testing.T) {
	other := otherAddress(t)
	s := serve(t, Config{Listen: ":0"}, hello, func(s *Server) { s.maxOfOne, s.maxOpen = 3, 5 })
	dial := func(host string) net.Conn {
		conn, err := net.Dial("tcp", net.JoinHostPort(host, s.port()))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		return conn
	}
	served := func(conn net.Conn) bool {
		_ = conn.SetReadDeadline(time.Now().Add(limit))
		line, _ := bufio.NewReader(conn).ReadString('\n')
		return strings.HasPrefix(line, "HTTP/1.1")
	}
	first := dial(other)
	for i, conn := range []net.Conn{first, dial(other), dial(other)} {
		if !served(conn) {
			t.Fatalf("connection %d is not served", i)
		}
	}
	if served(dial(other)) {
		t.Error("one more of the same machine is served")
	}
	var here []net.Conn
	for range 4 { // beyond all bounds together
		here = append(here, dial("127.0.0.1"))
		if !served(here[len(here)-1]) {
			t.Error("this machine is kept out")
		}
	}
	for _, conn := range append(here, first) {
		_ = conn.Close()
	}
	deadline := time.Now().Add(limit)
	for !served(dial(other)) { // once the server has seen that it closed
		if time.Now().After(deadline) {
			t.Fatal("a place that is free is not given away")
		}
	}
}

// TestFurtherAddress: what comes by the address for ACME is led to the right port.
func TestFurtherAddress(t *testing.T) {
	other := otherAddress(t)
	free, err := net.Listen("tcp", net.JoinHostPort(other, "0"))
	if err != nil {
		t.Fatal(err)
	}
	further := free.Addr().String()
	_ = free.Close()
	cfg := Config{Listen: ":0", TLS: webcert.Config{ACME: "loa.example", ACMEListen: further, ACMEDirectory: "https://127.0.0.1:1/dir"}}
	s := serve(t, cfg, hello)
	for host, want := range map[string]string{"loa.example": "loa.example", "LOA.example:81": "LOA.example", "192.0.2.7": "192.0.2.7:" + s.port(), "": "x"} {
		r, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+further+"/", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Host = host
		if host == "" {
			want = net.JoinHostPort(other, s.port())
		}
		answer, err := s.client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(answer.Body)
		_ = answer.Body.Close()
		if !strings.HasPrefix(string(body), "plain "+want+" ") {
			t.Errorf("Host %q: %q, want %s", host, body, want)
		}
	}
}
