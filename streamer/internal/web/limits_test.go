package web

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

// TestShutdown: an open event stream, a connection that idles and a handler that hangs hold up nothing for long.
func TestShutdown(t *testing.T) {
	started := make(chan struct{}, 2)
	release := make(chan struct{})
	hung := make(chan struct{})
	s := serve(t, Config{Listen: "127.0.0.1:0"}, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/events":
			fmt.Fprint(w, "data: 1\n\n")
			_ = http.NewResponseController(w).Flush()
			started <- struct{}{}
			<-r.Context().Done()
		case "/hang":
			started <- struct{}{}
			<-release
			close(hung)
		default:
			hello(w, r)
		}
	})
	s.do("GET", "/", nil) // stays open, idle
	answers := make(chan error, 2)
	for _, path := range []string{"/events", "/hang"} {
		go func() {
			answer, err := http.Get("http://" + s.Addr().String() + path)
			if err == nil {
				_, err = io.ReadAll(answer.Body)
				_ = answer.Body.Close()
			}
			answers <- err
		}()
		<-started
	}
	began := time.Now()
	if err := s.end(); err != nil {
		t.Errorf("Run = %v, want nil", err)
	}
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("Run ended %v after its context, want within 3 s", took)
	}
	<-answers
	<-answers
	close(release)
	<-hung
	http.DefaultClient.CloseIdleConnections()
}

func TestStreamAloneEndsAtOnce(t *testing.T) {
	started := make(chan struct{})
	s := serve(t, Config{Listen: "127.0.0.1:0"}, func(_ http.ResponseWriter, r *http.Request) {
		close(started)
		<-r.Context().Done()
	})
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		if answer, err := s.client.Get("http://" + s.Addr().String() + "/"); err == nil {
			_ = answer.Body.Close()
		}
	}()
	<-started
	began := time.Now()
	if err := s.end(); err != nil {
		t.Errorf("Run = %v", err)
	}
	<-answered
	if took := time.Since(began); took > shutdownWait {
		t.Errorf("it took %v, want less than the %v that unfinished ones get", took, shutdownWait)
	}
}

// TestSlow: who sends a request byte by byte loses the connection.
func TestSlow(t *testing.T) {
	if s, _ := build(t, t.Context(), DefaultConfig(), hello, slog.New(slog.DiscardHandler)); s.http.ReadHeaderTimeout != headerWait || s.bodyWait != bodyWait || s.http.MaxHeaderBytes != maxHeader {
		t.Errorf("limits %v, %v, %d", s.http.ReadHeaderTimeout, s.bodyWait, s.http.MaxHeaderBytes)
	}
	read := make(chan error, 1)
	s := serve(t, Config{Listen: "127.0.0.1:0"}, func(_ http.ResponseWriter, r *http.Request) {
		_, err := io.ReadAll(r.Body)
		read <- err
	}, func(s *Server) { s.http.ReadHeaderTimeout, s.bodyWait = 100*time.Millisecond, 100*time.Millisecond })
	for _, c := range []struct{ name, sent string }{
		{"headers", "POST / HTTP/1.1\r\nHost: x\r\n"},
		{"body", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{"},
		{"chunks", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{"},
	} {
		conn, err := net.Dial("tcp", s.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(conn, c.sent); err != nil {
			t.Fatal(err)
		}
		_ = conn.SetReadDeadline(time.Now().Add(limit))
		if _, err := io.ReadAll(conn); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: the connection is still open after %v", c.name, limit)
		}
		_ = conn.Close()
		if c.name != "headers" {
			if err := <-read; !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("%s: the handler read %v, want a timeout", c.name, err)
			}
		}
	}
}

// TestLongAnswer: the limit of a body does not cut an answer that takes longer, nor the next request.
func TestLongAnswer(t *testing.T) {
	s := serve(t, Config{Listen: "127.0.0.1:0"}, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_ = http.NewResponseController(w).SetReadDeadline(time.Time{}) // what an upload does
		select {
		case <-r.Context().Done():
		case <-time.After(300 * time.Millisecond):
			hello(w, r)
		}
	}, func(s *Server) { s.bodyWait = 100 * time.Millisecond })
	for range 2 {
		if answer, body := s.do("POST", "/", strings.NewReader("{}")); answer.StatusCode != 200 || body != "xin chào" {
			t.Errorf("%d %q", answer.StatusCode, body)
		}
	}
}

func TestLargeHeaders(t *testing.T) {
	s := serve(t, Config{Listen: "127.0.0.1:0"}, hello)
	answer, _ := s.do("GET", "/", nil, "Cookie: "+strings.Repeat("x", maxHeader+8192))
	if answer.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("%d, want 431", answer.StatusCode)
	}
}

// TestServeFails: a listener that breaks ends Run with its error.
func TestServeFails(t *testing.T) {
	s, _ := build(t, t.Context(), Config{Listen: "127.0.0.1:0"}, hello, slog.New(slog.DiscardHandler))
	if s.Addr() != nil {
		t.Errorf("address before Listen: %v", s.Addr())
	}
	if err := s.Listen(); err != nil {
		t.Fatal(err)
	}
	_ = s.listeners[0].Close()
	if err := s.Run(t.Context()); err == nil || !strings.HasPrefix(err.Error(), "serve http on 127.0.0.1:") {
		t.Errorf("Run = %v, want the listener's error", err)
	}
}
