package control

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"dongthanh/internal/identity"
	"dongthanh/internal/logging"
)

// Limits of the control port.
const (
	handshakeWithin = 5 * time.Second
	headerWithin    = 5 * time.Second
	bodyWithin      = 10 * time.Second
	answerWithin    = 30 * time.Second // an enrolment travels up to the streamer and back
	maxHeader       = 16 << 10
	maxConns        = 1 << 16 // nodes at a time; the real bound is the process's open files
	maxEnrolling    = 64      // enrolments at a time
)

// Enroller gets a certificate for a new node: the issuer itself, or the way up to it.
type Enroller interface {
	// Enrol returns the new node's certificate. Its error is a *Refused if the request is at fault, else a fault of
	// this side. ctx ends when the asker has waited long enough.
	Enrol(ctx context.Context, r EnrolRequest) (*EnrolResponse, error)
}

// ServerOptions configure a Server. Listen, Credentials, Accept, Log and Registerer must be set.
type ServerOptions struct {
	Listen      string // host:port; an empty host is every address of the machine
	Key         string // configuration key of Listen, named in errors; "nodes.control" if empty
	Credentials *identity.Credentials

	// Accept is called on a goroutine of its own for each node that was let in, calls Conn.Run, and ends the connection
	// by returning. Run waits for it.
	Accept func(*Conn)

	Enroller   Enroller             // nil: nobody enrols here
	Revoked    func(id string) bool // nil: nobody is; must not block
	Log        *slog.Logger
	Registerer prometheus.Registerer
	Prefix     string // of the metrics' names; "dongthanh_relay_" if empty
}

// Server is a control port: TLS with our own chain, a WebSocket for nodes that show a certificate, and enrolment for
// those that have none yet. Strangers pass an admission before any handshake (DESIGN §8).
type Server struct {
	o        ServerOptions
	log      *slog.Logger
	refused  *logging.Dumper
	listener net.Listener
	queue    *queue
	own      atomic.Pointer[identity.Credentials]
	waiting  chan struct{} // enrolments under way

	mu        sync.Mutex // guards what follows
	admission *admission
	raw       map[*conn]struct{} // every socket that is not yet a Conn
	conns     map[*Conn]struct{}
	closing   bool
	serving   sync.WaitGroup // requests of nodes; added to under mu, while not closing

	connected prometheus.Gauge
	refusals  *prometheus.CounterVec
	enrolled  *prometheus.CounterVec
}

// NewServer makes a server; it listens from Bind or Run on.
func NewServer(o ServerOptions) (*Server, error) {
	if o.Credentials == nil || o.Accept == nil || o.Log == nil || o.Registerer == nil {
		return nil, errors.New("make control server: an option that must be set is not")
	}
	if o.Key == "" {
		o.Key = "nodes.control"
	}
	if o.Prefix == "" {
		o.Prefix = "dongthanh_relay_"
	}
	s := &Server{
		o: o, log: o.Log, refused: logging.NewDumper(o.Log, "control connections refused", time.Now),
		queue: newQueue(), waiting: make(chan struct{}, maxEnrolling),
		admission: newAdmission(runtime.GOMAXPROCS(0)), raw: make(map[*conn]struct{}), conns: make(map[*Conn]struct{}),
		connected: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: o.Prefix + "control_connections", Help: "Nodes connected to the control port.",
		}),
		refusals: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: o.Prefix + "control_refused_total", Help: "Connections that the control port refused, by reason.",
		}, []string{"reason"}),
		enrolled: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: o.Prefix + "control_enrolments_total", Help: "Enrolments asked for at the control port, by result.",
		}, []string{"result"}),
	}
	if err := s.SetCredentials(o.Credentials); err != nil {
		return nil, fmt.Errorf("make control server: %w", err)
	}
	for _, m := range []prometheus.Collector{s.connected, s.refusals, s.enrolled} {
		if err := o.Registerer.Register(m); err != nil {
			return nil, fmt.Errorf("register metrics of the control port: %w", err)
		}
	}
	return s, nil
}

// SetCredentials replaces the server's certificate, which was renewed: from the next handshake on. identity.ErrUsage if
// it is not one to serve with.
func (s *Server) SetCredentials(c *identity.Credentials) error {
	if !c.Node.Kind.Serves() {
		return fmt.Errorf("serve with the certificate of a %s: %w", c.Node.Kind, identity.ErrUsage)
	}
	s.own.Store(c)
	return nil
}

// Bind opens the port. The error names the configuration key and the address. Run calls it if nobody did.
func (s *Server) Bind(ctx context.Context) error {
	if s.listener != nil {
		return nil
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", s.o.Listen)
	if err != nil {
		var op *net.OpError
		if errors.As(err, &op) {
			err = op.Err // without the address, which comes below
		}
		return fmt.Errorf("%s: cannot listen on %q: %w", s.o.Key, s.o.Listen, err)
	}
	s.listener = l
	return nil
}

// Addr is the address that Bind has opened.
func (s *Server) Addr() netip.AddrPort { return addrPort(s.listener.Addr()) }

// Run serves until ctx ends, then ends every connection with ErrShutdown, waits for every Accept and returns nil. Any
// other end is an error. A server runs once.
func (s *Server) Run(ctx context.Context) error {
	defer s.refused.Stop()
	if err := s.Bind(ctx); err != nil {
		return err
	}
	return s.serve(ctx, s.listener)
}

func (s *Server) serve(parent context.Context, l net.Listener) error {
	ctx, end := context.WithCancelCause(parent)
	defer end(nil)
	var wg sync.WaitGroup
	h := &http.Server{
		Handler:           s.routes(),
		ReadHeaderTimeout: headerWithin,
		ReadTimeout:       bodyWithin,
		WriteTimeout:      answerWithin,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
		ConnContext:       func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, connKey{}, c) },
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ConnState: func(_ net.Conn, state http.ConnState) { // its goroutines are ours to wait for
			switch state {
			case http.StateNew:
				wg.Add(1)
			case http.StateHijacked, http.StateClosed:
				wg.Done()
			}
		},
	}
	h.SetKeepAlivesEnabled(false) // one connection, one purpose
	wg.Go(func() { end(s.accept(ctx, l, &wg)) })
	wg.Go(func() { end(h.Serve(s.queue)) })
	<-ctx.Done()
	err := context.Cause(ctx)
	_ = l.Close()       // frees a blocked Accept
	_ = s.queue.Close() // and http's
	s.shut()
	_ = h.Close()
	wg.Wait()
	s.serving.Wait()
	if parent.Err() != nil {
		return nil
	}
	return fmt.Errorf("serve %s on %s: %w", s.o.Key, s.o.Listen, err)
}

// shut ends everything that is open.
func (s *Server) shut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closing = true
	for c := range s.raw {
		_ = c.Conn.Close() // its owner reports it
	}
	for c := range s.conns {
		c.Close(ErrShutdown)
	}
}

// accept takes connections and hands those that finish their handshake to http.
func (s *Server) accept(ctx context.Context, l net.Listener, wg *sync.WaitGroup) error {
	for pause := time.Duration(0); ; {
		raw, err := l.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			var network net.Error
			if !errors.As(err, &network) || errors.Is(err, net.ErrClosed) {
				return err
			}
			// Out of open files, or a peer that left: the listener itself is sound.
			s.refuse("accept", fmt.Errorf("accept: %w", err))
			pause = min(time.Second, 2*pause+5*time.Millisecond)
			if !wait(ctx, pause) {
				return ctx.Err()
			}
			continue
		}
		pause = 0
		c, err := s.admit(raw)
		if err != nil {
			s.refuse("admission", fmt.Errorf("%s: %w", raw.RemoteAddr(), err))
			reset(raw)
			continue
		}
		wg.Go(func() { s.handshake(ctx, c) })
	}
}

func wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// reset closes a socket without the courtesy that would cost us a state for minutes.
func reset(c net.Conn) {
	if t, ok := c.(*net.TCPConn); ok {
		_ = t.SetLinger(0) // then it closes the slow way
	}
	_ = c.Close() // nothing was written that could be lost
}

func (s *Server) admit(raw net.Conn) (*conn, error) {
	addr := addrPort(raw.RemoteAddr()).Addr()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return nil, ErrShutdown
	}
	if err := s.admission.open(time.Now(), addr); err != nil {
		return nil, err
	}
	c := &conn{Conn: raw, addr: addr, s: s}
	s.raw[c] = struct{}{}
	return c, nil
}

// refuse counts a refusal and logs it, at most one line a second.
func (s *Server) refuse(reason string, err error) {
	s.refusals.WithLabelValues(reason).Inc()
	s.refused.Add(err)
}

// failed counts a refusal against the address too.
func (s *Server) failed(c *conn, reason string, err error) {
	s.mu.Lock()
	s.admission.failed(time.Now(), c.addr)
	s.mu.Unlock()
	s.refuse(reason, fmt.Errorf("%s: %w", c.RemoteAddr(), err))
}

// enter counts a request in that Run must wait for, unless the server is closing. leave counts it out.
func (s *Server) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return false
	}
	s.serving.Add(1)
	return true
}

func (s *Server) leave() { s.serving.Done() }

// begin takes a new Conn in, unless the server is closing.
func (s *Server) begin(c *Conn) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return ErrShutdown
	}
	s.conns[c] = struct{}{}
	s.connected.Inc()
	return nil
}

func (s *Server) end(c *Conn) {
	c.Close(nil)
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
	s.connected.Dec()
}

// full reports whether no more nodes can be served.
func (s *Server) full() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closing || len(s.conns) >= maxConns
}
