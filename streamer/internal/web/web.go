// Package web is the streamer's HTTP server for people and machines: it binds the addresses, tells https from plain
// http, which it keeps to loopback, holds timeouts and limits, and puts on every answer what keeps a browser safe. What
// is served is its caller's: api, console, public.
package web

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"dongthanh/internal/config"
	"dongthanh/streamer/internal/webcert"
)

// Config is the streamer's http section.
type Config struct {
	// Listen is host:port; without a host every address of this machine. One port speaks both: https everywhere, and
	// plain http too where both ends are on loopback. Browsers give a page on any other plain address no microphone, and
	// a password would cross the network in clear.
	Listen string         `yaml:"listen"`
	TLS    webcert.Config `yaml:"tls"`
}

// DefaultConfig serves on every address.
func DefaultConfig() Config { return Config{Listen: ":8080", TLS: webcert.DefaultConfig()} }

// Validate reports what cannot work.
func (c Config) Validate() []config.Fault {
	if err := config.CheckListen(c.Listen); err != nil {
		return []config.Fault{config.Faultf("listen", "%v", err)}
	}
	return nil
}

// Limits of one request and one connection.
const (
	headerWait   = 5 * time.Second
	bodyWait     = 30 * time.Second // of a request that is not an upload, whose handler sets a limit of its own
	idleWait     = 2 * time.Minute
	shutdownWait = 2 * time.Second
	maxHeader    = 16 << 10
	maxStreams   = 64 // of one HTTP/2 connection
)

// Certificates are the https certificates; a *webcert.Keeper is one.
type Certificates interface {
	TLSConfig() *tls.Config
	// Own reports whether a connection to a server name is shown a certificate that browsers do not know by themselves.
	Own(server string) bool
}

// Options are what a Server needs; all are required.
type Options struct {
	Config       Config
	Certificates Certificates
	Handler      http.Handler // answers https, and plain http on loopback
	// Plain answers plain http from other machines. It must neither read nor set cookies nor take secrets: anyone on the
	// way reads and changes what passes.
	Plain   http.Handler
	Log     *slog.Logger
	Metrics prometheus.Registerer
}

// Server is the HTTP server.
type Server struct {
	o         Options
	http      http.Server
	listeners []*sorter
	refused   *prometheus.CounterVec

	// Bounds, which tests change.
	bodyWait, firstWait time.Duration
	maxOpen, maxOfOne   int
}

// New makes a server. ctx is what requests inherit: long ones, such as event streams, end with it.
func New(ctx context.Context, o Options) (*Server, error) {
	s := &Server{o: o, bodyWait: bodyWait, firstWait: headerWait, maxOpen: maxOpen, maxOfOne: maxOpenOfOne}
	s.refused = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "dongthanh_streamer_http_connections_refused_total",
		Help: "Connections to http.listen that were closed unserved: full, address (too many of one), silent (sent nothing).",
	}, []string{"reason"})
	for _, reason := range []string{"full", "address", "silent"} {
		s.refused.WithLabelValues(reason) // shown from the start
	}
	if err := o.Metrics.Register(s.refused); err != nil {
		return nil, fmt.Errorf("register metrics of http: %w", err)
	}
	s.http = http.Server{
		Handler:           s.guard(),
		ReadHeaderTimeout: headerWait, // of the TLS handshake too
		IdleTimeout:       idleWait,
		MaxHeaderBytes:    maxHeader,
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: maxStreams},
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ErrorLog:          slog.NewLogLogger(o.Log.Handler(), slog.LevelDebug),
	}
	return s, nil
}

// Listen binds the addresses, so that a port in use stops the program before anything else has started.
func (s *Server) Listen() error {
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
		s.listeners = append(s.listeners, s.sorted(l))
	}
	if s.o.Config.TLS.ACMEListen == "" {
		return nil
	}
	l, err := net.Listen("tcp", s.o.Config.TLS.ACMEListen)
	if err != nil {
		s.closeAll()
		return fmt.Errorf("http.tls.acme_listen: %w", listenError(s.o.Config.TLS.ACMEListen, err))
	}
	s.listeners = append(s.listeners, s.sorted(l))
	return nil
}

// addresses are what Listen binds.
func (s *Server) addresses() []string {
	host, port, err := net.SplitHostPort(s.o.Config.Listen)
	if err != nil || host != "localhost" {
		return []string{s.o.Config.Listen}
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

// URL is where a browser on this machine finds the console; empty before Listen.
func (s *Server) URL() string {
	if s.Addr() == nil {
		return ""
	}
	a := s.Addr().(*net.TCPAddr)
	switch ip := addrOf(a); {
	case ip.IsUnspecified():
		return "http://localhost:" + strconv.Itoa(a.Port)
	case ip.IsLoopback():
		return "http://" + a.String()
	}
	return "https://" + a.String()
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
