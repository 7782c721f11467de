package control

import (
	"context"
	"crypto/x509"
	"errors"
	"log/slog"
	"net/netip"

	"github.com/prometheus/client_golang/prometheus"

	"dongthanh/internal/identity"
	"dongthanh/internal/wire"
)

var errSkeleton = errors.New("not written yet")

// Errors of a connection, a dial or an enrolment; test with errors.Is. Faults of certificates are package identity's.
var (
	ErrUnreachable = errors.New("unreachable")
	ErrRejected    = errors.New("upstream refused our certificate")
	ErrSlow        = errors.New("peer reads too slowly")
	ErrClosed      = errors.New("connection is closed")
	ErrSilent      = errors.New("peer fell silent")
	ErrMalformed   = errors.New("malformed message")
	ErrTooLarge    = errors.New("message too large")
)

// Refused is an upstream's answer that it does not serve this node, with its reason. Code is one of Refuse's or
// EnrolReply's. Use errors.As.
type Refused struct {
	Code, Reason string
}

func (r *Refused) Error() string { return "refused (" + r.Code + "): " + r.Reason }

// Conn is one control connection. Send from any goroutine; Run once.
type Conn struct{}

// Dial connects to an upstream: wss://host:port.
func Dial(ctx context.Context, url string, c *identity.Credentials) (*Conn, error) {
	return nil, errSkeleton
}

// Send queues m and never waits. ErrSlow ends the connection.
func (c *Conn) Send(m Message) error { return errSkeleton }

// Run reads messages until the connection ends and hands each to handler, on this goroutine. It returns why it ended;
// nothing of the connection runs afterwards.
func (c *Conn) Run(ctx context.Context, handler func(Message)) error { return errSkeleton }

// Refuse sends a Refuse after what is queued, then ends the connection.
func (c *Conn) Refuse(r Refuse) {}

// Close ends the connection; Run returns err (ErrClosed if nil).
func (c *Conn) Close(err error) {}

// Done is closed when the connection has ended.
func (c *Conn) Done() <-chan struct{} { return nil }

// Peer returns who is at the other end.
func (c *Conn) Peer() identity.Node { return identity.Node{} }

// Certificate returns the peer's certificate.
func (c *Conn) Certificate() *x509.Certificate { return nil }

// FlowKey derives a flow's key by TLS exporter: the same at both ends.
func (c *Conn) FlowKey(flow wire.FlowID) [wire.KeyLen]byte { return [wire.KeyLen]byte{} }

// LocalAddr is this end's address.
func (c *Conn) LocalAddr() netip.AddrPort { return netip.AddrPort{} }

// RemoteAddr is the other end's address.
func (c *Conn) RemoteAddr() netip.AddrPort { return netip.AddrPort{} }

// Enroller gets a certificate for a new node: the issuer itself, or the way up to it.
type Enroller interface {
	// Enrol's error may be a *Refused with a code of EnrolReply.
	Enrol(ctx context.Context, r EnrolRequest) (*EnrolResponse, error)
}

// ServerOptions configure a Server.
type ServerOptions struct {
	Listen      string // host:port; an empty host is every address
	Key         string // configuration key of Listen, named in errors; "nodes.control" if empty
	Credentials *identity.Credentials
	Accept      func(*Conn)          // called on a goroutine of its own; calls Run; the connection ends when it returns
	Enroller    Enroller             // nil: no enrolment here
	Revoked     func(id string) bool // nil: nobody is
	Log         *slog.Logger
	Registerer  prometheus.Registerer
	Prefix      string // of the metrics' names, "dongthanh_relay_"
}

// Server is a control port.
type Server struct{}

// NewServer makes a server that does not listen yet.
func NewServer(o ServerOptions) (*Server, error) { return nil, errSkeleton }

// Bind opens the port, so that Addr is known before Run. Run binds if Bind was not called.
func (s *Server) Bind(ctx context.Context) error { return errSkeleton }

// Addr is the bound address.
func (s *Server) Addr() netip.AddrPort { return netip.AddrPort{} }

// Run serves until ctx ends, then ends every connection and waits for it.
func (s *Server) Run(ctx context.Context) error { return errSkeleton }

// SplitChanges cuts c into messages that each fit in MaxMessage.
func SplitChanges(c Changes) []Changes { return nil }

// SplitReports cuts reports into messages that each fit in MaxMessage.
func SplitReports(reports [][]byte) []Reports { return nil }

// EnrolNode makes a node's keys, gets a certificate from the issuer above upstream (https:// or wss://host:port) and stores
// both in dir for identity.Load.
func EnrolNode(ctx context.Context, upstream, token string, kind identity.Kind, dir string) (identity.Node, error) {
	return identity.Node{}, errSkeleton
}
