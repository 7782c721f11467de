// Package web is the streamer's HTTP server for people and machines: it binds the addresses, holds timeouts and
// limits, and puts on every answer what keeps a browser safe. What is served is its caller's: api, console, public.
package web

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"dongthanh/internal/config"
)

// Config is the streamer's http section.
type Config struct {
	// Listen is host:port. Without tls it is bound on loopback only, on both address families when it has no host:
	// browsers give a page on any other plain address no microphone, and a password would cross the network in clear.
	Listen string    `yaml:"listen"`
	TLS    TLSConfig `yaml:"tls"`
}

// TLSConfig is where the certificate comes from.
type TLSConfig struct {
	Cert string `yaml:"cert"` // PEM file with the chain, leaf first
	Key  string `yaml:"key"`  // PEM file
	ACME string `yaml:"acme_domain"`
}

// DefaultConfig serves on loopback.
func DefaultConfig() Config { return Config{Listen: ":8080"} }

// Validate reports what cannot work.
func (c Config) Validate() []config.Fault {
	var faults []config.Fault
	if err := config.CheckListen(c.Listen); err != nil {
		return append(faults, config.Faultf("listen", "%v", err))
	}
	if (c.TLS.Cert == "") != (c.TLS.Key == "") {
		faults = append(faults, config.Faultf("tls", "cert and key go together"))
	}
	if c.TLS.ACME != "" {
		faults = append(faults, config.Faultf("tls.acme_domain", "this version takes certificates from files only: set tls.cert and tls.key"))
	}
	if c.TLS.Cert == "" && !loopbackOnly(c.Listen) {
		faults = append(faults, config.Faultf("listen", "%s is not loopback, where browsers refuse the microphone to plain http: set tls.cert and tls.key", c.Listen))
	}
	return faults
}

// loopbackOnly reports whether an address without TLS keeps to this machine; one without a host will.
func loopbackOnly(listen string) bool {
	host, _, err := net.SplitHostPort(listen)
	if err != nil || host == "" || host == "localhost" {
		return err == nil
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.IsLoopback()
}

// Limits of one request and one connection.
const (
	headerWait   = 5 * time.Second
	bodyWait     = 30 * time.Second // of a request that is not an upload, whose handler sets a limit of its own
	idleWait     = 2 * time.Minute
	shutdownWait = 2 * time.Second
	maxHeader    = 16 << 10
)

// Server is the HTTP server.
type Server struct {
	cfg       Config
	log       *slog.Logger
	http      http.Server
	listeners []net.Listener
	bodyWait  time.Duration
}

// New makes a server for handler. ctx is what requests inherit: long ones, such as event streams, end with it.
func New(ctx context.Context, cfg Config, handler http.Handler, log *slog.Logger) *Server {
	s := &Server{cfg: cfg, log: log, bodyWait: bodyWait}
	s.http = http.Server{
		Handler:           s.guard(handler),
		ReadHeaderTimeout: headerWait,
		IdleTimeout:       idleWait,
		MaxHeaderBytes:    maxHeader,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	return s
}

// Listen binds the addresses, so that a port in use stops the program before anything else has started.
func (s *Server) Listen() error {
	var tlsConfig *tls.Config
	if s.cfg.TLS.Cert != "" {
		pair, err := tls.LoadX509KeyPair(s.cfg.TLS.Cert, s.cfg.TLS.Key)
		if err != nil {
			return fmt.Errorf("http.tls: %w", err)
		}
		tlsConfig = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}}
	}
	for i, address := range s.addresses() {
		if i > 0 && strings.HasSuffix(address, ":0") { // the system has chosen for the first family
			address = strings.TrimSuffix(address, "0") + strconv.Itoa(s.Addr().(*net.TCPAddr).Port)
		}
		l, err := net.Listen("tcp", address)
		if i > 0 && (errors.Is(err, syscall.EADDRNOTAVAIL) || errors.Is(err, syscall.EAFNOSUPPORT)) {
			continue // a machine without IPv6
		}
		if err != nil {
			s.closeAll()
			return fmt.Errorf("http.listen: %w", listenError(address, err))
		}
		if tlsConfig != nil {
			l = tls.NewListener(l, tlsConfig)
		}
		s.listeners = append(s.listeners, l)
	}
	return nil
}

// addresses are what Listen binds.
func (s *Server) addresses() []string {
	host, port, err := net.SplitHostPort(s.cfg.Listen)
	if err != nil || s.cfg.TLS.Cert != "" || (host != "" && host != "localhost") {
		return []string{s.cfg.Listen}
	}
	return []string{net.JoinHostPort("127.0.0.1", port), net.JoinHostPort("::1", port)}
}

// listenError says in one line what is the matter with an address.
func listenError(address string, err error) error {
	var sys *os.SyscallError
	if errors.As(err, &sys) {
		err = sys.Err
	}
	return fmt.Errorf("listen on %s: %w", address, err)
}

// Addr is the first address bound; nil before Listen.
func (s *Server) Addr() net.Addr {
	if len(s.listeners) == 0 {
		return nil
	}
	return s.listeners[0].Addr()
}

// URL is where a browser on this machine finds the first address; empty before Listen.
func (s *Server) URL() string {
	switch {
	case s.Addr() == nil:
		return ""
	case s.cfg.TLS.Cert != "":
		return "https://" + s.Addr().String()
	}
	return "http://" + s.Addr().String()
}

// Run serves until ctx ends, gives requests 2 s to finish, and cuts the connections of those that have not.
func (s *Server) Run(ctx context.Context) error {
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	var wg sync.WaitGroup
	for _, l := range s.listeners {
		wg.Go(func() {
			if err := s.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
				end(fmt.Errorf("serve http on %s: %w", l.Addr(), err))
			}
		})
	}
	<-ctx.Done()
	limit, cancel := context.WithTimeout(context.Background(), shutdownWait)
	defer cancel()
	if err := s.http.Shutdown(limit); err != nil {
		_ = s.http.Close() // what has not finished by now is cut
	}
	wg.Wait()
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

func (s *Server) closeAll() {
	for _, l := range s.listeners {
		_ = l.Close() // nothing was served on it yet
	}
}

// guard adds to every answer what keeps browsers safe, refuses what comes from another site and bodies that trickle in,
// and survives a handler that panics.
func (s *Server) guard(next http.Handler) http.Handler {
	crossOrigin := http.NewCrossOriginProtection()
	crossOrigin.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "Yêu cầu đến từ một trang khác và bị từ chối.", http.StatusForbidden)
	}))
	protected := crossOrigin.Handler(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			if v := recover(); v != nil {
				if err, ok := v.(error); ok && errors.Is(err, http.ErrAbortHandler) {
					panic(v)
				}
				s.log.Error("http handler panicked", "method", r.Method, "path", r.URL.Path, "panic", v, "stack", string(debug.Stack()))
				http.Error(w, "Hệ thống gặp lỗi. Hãy thử lại.", http.StatusInternalServerError)
			}
		}()
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "same-origin")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Permissions-Policy", "microphone=(self), camera=(), geolocation=()")
		if s.cfg.TLS.Cert != "" {
			h.Set("Strict-Transport-Security", "max-age=31536000")
		}
		if r.ContentLength != 0 {
			_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(s.bodyWait)) // a real connection has one
		}
		protected.ServeHTTP(w, r)
	})
}
