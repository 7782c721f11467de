// Package health serves a program's administration address: metrics, liveness and readiness.
//
// It is apart from the address that the world sees, on loopback by default, and shows what would
// help an attacker (versions, peers, reasons of failure), so it is not meant to be opened to a
// network without a proxy. It never judges by itself: whoever owns a part adds the check for it.
// The three main functions use it, and tools that want metrics.
package health

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"time"
	"unicode"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"dongthanh/internal/config"
)

const (
	// checkTimeout bounds all checks of one /readyz: a probe usually gives up after a few seconds.
	checkTimeout = 2 * time.Second
	// drainTimeout is how long a scrape under way may take to end when the program ends.
	drainTimeout = 3 * time.Second
	// scrapes is how many may gather metrics at once; a further one gets 503.
	scrapes = 4
)

// Config is where the administration server listens.
type Config struct {
	// Listen is host:port. Port 0 lets the system choose, see Server.Addr.
	Listen string `yaml:"listen"`
}

// Default returns the settings for a program that listens at address by default: each program has
// its own, since several run on one machine.
func Default(address string) Config { return Config{Listen: address} }

// Validate implements config.Validator.
func (c Config) Validate() []config.Fault {
	if err := config.CheckListen(c.Listen); err != nil {
		return []config.Fault{config.Faultf("listen", "%v", err)}
	}
	return nil
}

// Check tells whether one part can serve: nil, or the reason why not in one line. It is called
// from many goroutines, returns at once (it reads what its owner knows and asks nobody), and gives
// up when ctx ends.
type Check func(ctx context.Context) error

// Server serves /metrics, /healthz and /readyz.
type Server struct {
	cfg     Config
	log     *slog.Logger
	metrics http.Handler

	mu       sync.Mutex // guards all below
	listener net.Listener
	checks   []named
	notes    []notice
	pulses   []*Pulse
}

// named is a check with the word that stands before its reason.
type named struct {
	name  string
	check Check
}

// notice is a note with the word that stands before it.
type notice struct {
	name string
	note func() string
}

// New returns a server that shows what reg gathers. Nothing is bound yet.
func New(cfg Config, log *slog.Logger, reg *prometheus.Registry) *Server {
	return &Server{cfg: cfg, log: log, metrics: promhttp.HandlerFor(reg, promhttp.HandlerOpts{
		ErrorLog:            errorLog{log},
		ErrorHandling:       promhttp.ContinueOnError, // one broken collector must not hide the others
		MaxRequestsInFlight: scrapes,
		Timeout:             5 * time.Second,
	})}
}

// AddCheck makes /readyz depend on check, shown as name. It may be called while the server runs.
func (s *Server) AddCheck(name string, check Check) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.checks = append(s.checks, named{name, check})
}

// AddNote has /readyz tell, while it is ready, what note returns, shown as name: what somebody should look at without
// anything having failed yet. An empty note is left out. It is called as a Check is.
func (s *Server) AddNote(name string, note func() string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.notes = append(s.notes, notice{name, note})
}

// AddPulse makes the program count as alive only while the loop called name beats at least once every limit, from now on.
func (s *Server) AddPulse(name string, limit time.Duration) *Pulse {
	p := &Pulse{name: name, limit: limit, last: time.Now()}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pulses = append(s.pulses, p)
	return p
}

// Alive says which loops hang, nil if none does.
func (s *Server) Alive() error {
	s.mu.Lock()
	pulses := s.pulses[:len(s.pulses):len(s.pulses)] // elements are never changed
	s.mu.Unlock()
	now := time.Now()
	var faults []error
	for _, p := range pulses {
		faults = append(faults, p.fault(now))
	}
	return errors.Join(faults...)
}

// Listen binds the address, so that a port in use stops a program before it starts anything. Run
// does it otherwise. The error is one line that names the key and the address. A second call does
// nothing.
func (s *Server) Listen() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listener != nil {
		return nil
	}
	l, err := net.Listen("tcp", s.cfg.Listen)
	if err != nil {
		return fmt.Errorf("admin.listen: cannot listen at %s: %s", s.cfg.Listen, listenFault(err))
	}
	s.listener = l
	return nil
}

// Addr returns the address that is bound, or nil before Listen.
func (s *Server) Addr() net.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listener == nil {
		return nil
	}
	return s.listener.Addr()
}

// Run binds the address unless Listen did, and serves until ctx ends; then it lets requests under
// way finish for a few seconds and returns nil. All its goroutines have ended when it returns. It
// may be called once.
func (s *Server) Run(ctx context.Context) error {
	if err := s.Listen(); err != nil {
		return err
	}
	server := &http.Server{
		Handler:           s.Handler(),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       5 * time.Second, // no request has a body
		WriteTimeout:      15 * time.Second,
		IdleTimeout:       2 * time.Minute, // longer than a scrape interval, so that scrapes reuse a connection
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(s.listener) }()
	select {
	case err := <-ended:
		return fmt.Errorf("serve admin.listen %s: %w", s.cfg.Listen, err)
	case <-ctx.Done():
	}
	drain, stop := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
	defer stop()
	if err := server.Shutdown(drain); err != nil {
		server.Close()
	}
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve admin.listen %s: %w", s.cfg.Listen, err)
	}
	return nil
}

// Handler returns what Run serves, for a program that shows the same pages at another address too.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", s.metrics)
	mux.HandleFunc("GET /healthz", s.live)
	mux.HandleFunc("GET /readyz", s.ready)
	return mux
}

// live answers 200, or 503 with one line for each loop that hangs.
func (s *Server) live(w http.ResponseWriter, _ *http.Request) {
	if err := s.Alive(); err != nil {
		reply(w, http.StatusServiceUnavailable, err.Error())
		return
	}
	reply(w, http.StatusOK, "ok")
}

// ready answers 200 with a line for each note, or 503 with one for each check that fails.
func (s *Server) ready(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	checks := s.checks[:len(s.checks):len(s.checks)] // elements are never changed
	notes := s.notes[:len(s.notes):len(s.notes)]
	s.mu.Unlock()
	ctx, stop := context.WithTimeout(r.Context(), checkTimeout)
	defer stop()
	var reasons []string
	for _, c := range checks {
		if err := c.check(ctx); err != nil {
			reasons = append(reasons, oneLine(c.name+": "+err.Error()))
		}
	}
	if len(reasons) > 0 {
		reply(w, http.StatusServiceUnavailable, strings.Join(reasons, "\n"))
		return
	}
	lines := []string{"ready"}
	for _, n := range notes {
		if text := n.note(); text != "" {
			lines = append(lines, oneLine(n.name+": "+text))
		}
	}
	reply(w, http.StatusOK, strings.Join(lines, "\n"))
}

// reply writes text with a line end.
func reply(w http.ResponseWriter, status int, text string) {
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	fmt.Fprintln(w, text) // a client that is gone needs no answer
}

// oneLine replaces whatever is not plainly visible, such as a line end from a peer's message.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, s)
}

// listenFault says why an address cannot be bound, without repeating it.
func listenFault(err error) string {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return "address already in use"
	case errors.Is(err, syscall.EACCES):
		return "ports below 1024 need more rights"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return "this machine does not have that address"
	}
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err.Error()
	}
	return err.Error()
}

// errorLog lets promhttp report collectors that fail.
type errorLog struct{ log *slog.Logger }

// Println implements promhttp.Logger.
func (l errorLog) Println(v ...any) { l.log.Warn("gather metrics", "error", fmt.Sprint(v...)) }
