package control

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/gorilla/websocket"

	"dongthanh/internal/identity"
)

// Why a connection ended, or was not made; test with errors.Is. Faults of certificates are package identity's
// (ErrUnknownRoot: not our network; ErrExpired: the error says whose), and a refusal with its reason is a *Refused.
var (
	ErrUnreachable = errors.New("unreachable")
	ErrHandshake   = errors.New("TLS handshake failed")
	ErrRejected    = errors.New("upstream refused our certificate") // the precise reason stands in its log
	ErrSlow        = errors.New("peer reads too slowly")
	ErrSilent      = errors.New("peer fell silent")
	ErrClosed      = errors.New("connection closed")
	ErrMalformed   = errors.New("malformed message")
	ErrTooLarge    = errors.New("message too large")
	ErrShutdown    = errors.New("shutting down")
)

// Refused is an upstream's answer that it does not serve this node or this enrolment, with its reason. Use errors.As.
// An Enroller returns one to refuse.
type Refused struct {
	Code   string        // one of Refuse's, EnrolReply's, or a code* of this package
	Reason string        // one English sentence
	After  time.Duration // not before this long; 0: the caller's own backoff
}

func (r *Refused) Error() string { return fmt.Sprintf("refused (%s): %s", r.Code, r.Reason) }

// The codes of a refusal.
const (
	CodeLoop        = "loop"
	CodeRevoked     = "revoked"
	CodeZone        = "zone"
	CodeVersion     = "version"
	CodeBusy        = "busy"
	CodeUsed        = "used"
	CodeExpired     = "expired"
	CodeUnknown     = "unknown"
	CodeKind        = "kind"
	CodeMalformed   = "malformed"
	CodeCertificate = "certificate" // no client certificate where one is needed
	CodeBrowser     = "browser"     // an Origin header: nodes are no web pages
	CodeInternal    = "internal"
)

// explain says in our words why a connection could not be made. client is true at the end that dialled.
func explain(err error) error {
	var alert *net.OpError
	var record tls.RecordHeaderError
	var refused *Refused
	switch {
	case err == nil, errors.As(err, &refused), identity.Reason(err) != "other", errors.Is(err, ErrHandshake), errors.Is(err, ErrUnreachable):
		return err
	case errors.As(err, &record):
		return fmt.Errorf("%w: the other end does not speak TLS", ErrHandshake)
	case errors.As(err, &alert) && alert.Op == "remote error":
		if strings.Contains(alert.Err.Error(), "certificate") {
			return fmt.Errorf("%w: %w", ErrRejected, err)
		}
		return fmt.Errorf("%w: %w", ErrHandshake, err)
	}
	return fmt.Errorf("%w: %w", ErrUnreachable, err)
}

// ended says why reading stopped.
func ended(err error) error {
	var closed *websocket.CloseError
	var network net.Error
	switch {
	case errors.As(err, &closed) && closed.Code == websocket.CloseAbnormalClosure, errors.Is(err, io.EOF),
		errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%w without a word", ErrClosed)
	case errors.As(err, &closed):
		return fmt.Errorf("%w by the peer: %d %s", ErrClosed, closed.Code, closed.Text)
	case errors.Is(err, websocket.ErrReadLimit):
		return ErrTooLarge
	case errors.As(err, &network) && network.Timeout():
		return ErrSilent
	case errors.As(err, &network), errors.Is(err, net.ErrClosed), errors.Is(err, io.ErrClosedPipe):
		return fmt.Errorf("%w: %w", ErrClosed, err)
	case errors.Is(err, ErrMalformed), errors.Is(err, ErrSilent):
		return err
	}
	return fmt.Errorf("%w: %w", ErrMalformed, err) // what gorilla calls a protocol error
}

// closeCode is the WebSocket status (RFC 6455 §7.4.1) that tells the peer why.
func closeCode(err error) int {
	switch {
	case errors.Is(err, ErrMalformed):
		return websocket.CloseInvalidFramePayloadData
	case errors.Is(err, ErrTooLarge):
		return websocket.CloseMessageTooBig
	case errors.Is(err, ErrSlow), errors.Is(err, ErrSilent), errors.Is(err, errFlood):
		return websocket.ClosePolicyViolation
	case errors.Is(err, ErrShutdown), errors.Is(err, context.Canceled):
		return websocket.CloseGoingAway
	}
	return websocket.CloseNormalClosure
}
