package control

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/gorilla/websocket"
)

// maxRequest bounds an enrolment's body: a token and a certificate request in base64.
const maxRequest = 8 << 10

// problem is the answer to a request that is refused.
type problem struct {
	Code  string `json:"code"`
	Error string `json:"error"`
}

// connKey finds a request's connection in its context.
type connKey struct{}

// connOf returns the connection that a request came on.
func connOf(r *http.Request) (*tls.Conn, *conn, error) {
	t, ok := r.Context().Value(connKey{}).(*tls.Conn)
	if !ok {
		return nil, nil, errors.New("request on no TLS connection")
	}
	c, ok := t.NetConn().(*conn)
	if !ok {
		return nil, nil, errors.New("request on a connection of another listener")
	}
	return t, c, nil
}

func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+PathControl, s.on(s.control))
	mux.HandleFunc("POST "+PathEnrol, s.on(s.enrol))
	mux.HandleFunc("/", s.on(func(w http.ResponseWriter, r *http.Request, _ *tls.Conn, c *conn) {
		s.failed(c, "path", fmt.Errorf("%s %q: no such path", r.Method, clip(r.URL.Path, 100)))
		answer(w, http.StatusNotFound, problem{CodeUnknown, "this port serves nodes: " + PathControl + " and " + PathEnrol}, 0)
	}))
	return mux
}

// on finds a request's connection, and lets Run wait for the request.
func (s *Server) on(serve func(http.ResponseWriter, *http.Request, *tls.Conn, *conn)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		t, c, err := connOf(r)
		if err != nil {
			s.log.Error("request without its connection", "err", err)
			answer(w, http.StatusInternalServerError, problem{CodeInternal, "no connection"}, 0)
			return
		}
		if !s.enter() {
			answer(w, http.StatusServiceUnavailable, problem{CodeBusy, "going down"}, 5)
			return
		}
		defer s.leave()
		serve(w, r, t, c)
	}
}

// control upgrades a node's request to a WebSocket and lets it in.
func (s *Server) control(w http.ResponseWriter, r *http.Request, t *tls.Conn, c *conn) {
	status, p := s.admitNode(r, c)
	if status != 0 {
		if !c.known { // only strangers count against their address
			s.mu.Lock()
			s.admission.failed(time.Now(), c.addr)
			s.mu.Unlock()
		}
		s.refuse(p.Code, fmt.Errorf("%s, %s %q: %s", c.RemoteAddr(), c.peer.Kind, c.peer.ID, p.Error))
		after := 0
		if p.Code == CodeBusy {
			after = 5
		}
		answer(w, status, p, after)
		return
	}
	up := websocket.Upgrader{
		HandshakeTimeout: handshakeWithin,
		Subprotocols:     []string{Subprotocol},
		CheckOrigin:      func(*http.Request) bool { return true }, // admitNode did
		Error: func(w http.ResponseWriter, _ *http.Request, status int, reason error) {
			answer(w, status, problem{CodeMalformed, reason.Error()}, 0)
		},
	}
	ws, err := up.Upgrade(w, r, nil)
	if err != nil {
		s.refuse(CodeMalformed, fmt.Errorf("%s, %s %q: %w", c.RemoteAddr(), c.peer.Kind, c.peer.ID, err))
		return
	}
	c.release() // it is no stranger any more
	conn := newConn(ws, t, c.peer, c.cert, true)
	if err := s.begin(conn); err != nil {
		conn.Close(err)
		return
	}
	defer s.end(conn)
	s.o.Accept(conn)
}

// admitNode returns the status and reason that a request for a control connection is refused with, or 0.
func (s *Server) admitNode(r *http.Request, c *conn) (int, problem) {
	switch {
	case !c.known:
		return http.StatusForbidden, problem{CodeCertificate, "a node's certificate is needed here; enrol first"}
	case r.Header.Values("Origin") != nil:
		return http.StatusForbidden, problem{CodeBrowser, "no web page may speak here"}
	case s.o.Revoked != nil && s.o.Revoked(c.peer.ID):
		return http.StatusForbidden, problem{CodeRevoked, "this node is trusted no more"}
	case !offers(r, Subprotocol):
		return http.StatusBadRequest, problem{CodeVersion, "this port speaks " + Subprotocol}
	case s.full():
		return http.StatusServiceUnavailable, problem{CodeBusy, "too many nodes, or going down"}
	}
	return 0, problem{}
}

func offers(r *http.Request, protocol string) bool {
	for _, p := range websocket.Subprotocols(r) {
		if p == protocol {
			return true
		}
	}
	return false
}

// enrol answers a stranger that has a token.
func (s *Server) enrol(w http.ResponseWriter, r *http.Request, _ *tls.Conn, c *conn) {
	reply, err := s.tryEnrol(w, r, c)
	if err == nil {
		s.enrolled.WithLabelValues("ok").Inc()
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(reply) // the asker has gone if this fails, and asks again
		return
	}
	var refused *Refused
	if !errors.As(err, &refused) {
		s.log.Error("enrolment failed", "from", c.RemoteAddr().String(), "err", err)
		refused = &Refused{Code: CodeInternal, Reason: "the issuer could not be asked; try again"}
	}
	status := http.StatusForbidden
	switch refused.Code {
	case CodeMalformed:
		status = http.StatusBadRequest
	case CodeBusy:
		status = http.StatusServiceUnavailable
	case CodeInternal:
		status = http.StatusBadGateway
	}
	if status == http.StatusForbidden || status == http.StatusBadRequest {
		s.mu.Lock()
		s.admission.enrolFailed(time.Now(), c.addr)
		s.mu.Unlock()
	}
	s.enrolled.WithLabelValues(word(refused.Code)).Inc()
	s.refused.Add(fmt.Errorf("enrolment from %s: %w", c.RemoteAddr(), err))
	answer(w, status, problem{refused.Code, refused.Reason}, int(refused.After.Seconds()))
}

// word keeps a metric's labels few: codes come from another node.
func word(code string) string {
	switch code {
	case CodeUsed, CodeExpired, CodeUnknown, CodeKind, CodeBusy, CodeMalformed, CodeInternal, CodeBrowser:
		return code
	}
	return "other"
}

func (s *Server) tryEnrol(w http.ResponseWriter, r *http.Request, c *conn) (*EnrolResponse, error) {
	if r.Header.Values("Origin") != nil {
		return nil, &Refused{Code: CodeBrowser, Reason: "no web page may speak here"}
	}
	if s.o.Enroller == nil {
		return nil, &Refused{Code: CodeUnknown, Reason: "nobody enrols here"}
	}
	s.mu.Lock()
	may := s.admission.mayEnrol(time.Now(), c.addr)
	s.mu.Unlock()
	if !may {
		return nil, &Refused{Code: CodeBusy, Reason: "too many failed enrolments from this address", After: 3 * time.Minute}
	}
	select {
	case s.waiting <- struct{}{}:
		defer func() { <-s.waiting }()
	default:
		return nil, &Refused{Code: CodeBusy, Reason: "too many enrolments at a time", After: 5 * time.Second}
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequest))
	if err != nil {
		return nil, &Refused{Code: CodeMalformed, Reason: "the request is too large, or came too slowly"}
	}
	var request EnrolRequest
	if _, err = strict(body); err == nil {
		err = json.Unmarshal(body, &request)
	}
	if err == nil {
		err = request.check()
	}
	if err != nil {
		return nil, &Refused{Code: CodeMalformed, Reason: clip("the request cannot be read: "+err.Error(), maxText)}
	}
	ctx, cancel := context.WithTimeout(r.Context(), answerWithin-5*time.Second)
	defer cancel()
	return s.o.Enroller.Enrol(ctx, request)
}

// answer refuses a request. after is in seconds, 0 for none.
func answer(w http.ResponseWriter, status int, p problem, after int) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if after > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(after))
	}
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(p) // the asker has gone if this fails
}
