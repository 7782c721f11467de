package control

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/gorilla/websocket"

	"dongthanh/internal/identity"
)

// dialWithin bounds a dial from name lookup to the WebSocket's answer.
const dialWithin = 10 * time.Second

// maxAnswer bounds an HTTP answer's body in bytes.
const maxAnswer = 64 << 10

// dialer opens the connection beneath TLS; tests put their own.
type dialer func(ctx context.Context, network, address string) (net.Conn, error)

// ParseURL checks the address of an upstream, wss://host:port; https:// is taken for the same.
func ParseURL(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil {
		return nil, fmt.Errorf("%q is no address: want wss://host:port", s)
	}
	port, err := strconv.Atoi(u.Port())
	switch {
	case u.Scheme != "wss" && u.Scheme != "https", u.Hostname() == "", err != nil, port < 1, port > 65535,
		u.User != nil, strings.Trim(u.Path, "/") != "", u.RawQuery != "", u.Fragment != "":
		return nil, fmt.Errorf("%q is no address of a node: want wss://host:port", s)
	}
	return &url.URL{Scheme: u.Scheme, Host: u.Host}, nil
}

// Dial connects to an upstream, wss://host:port, and shows it our certificate. The peer is a relay or streamer that
// chains to a pinned root; its host name does not matter. Errors: ErrUnreachable, ErrHandshake, ErrRejected (it refused
// our certificate), identity.ErrExpired, ErrNotYetValid (the text says whose), identity.ErrUnknownRoot (another
// network), *Refused.
func Dial(ctx context.Context, upstream string, c *identity.Credentials) (*Conn, error) {
	return dial(ctx, upstream, c, (&net.Dialer{}).DialContext)
}

func dial(ctx context.Context, upstream string, c *identity.Credentials, open dialer) (*Conn, error) {
	u, err := ParseURL(upstream)
	if err != nil {
		return nil, fmt.Errorf("connect upstream: %w", err)
	}
	if err := c.Valid(); err != nil {
		return nil, fmt.Errorf("connect upstream %s: %w", upstream, err)
	}
	ctx, cancel := context.WithTimeout(ctx, dialWithin)
	defer cancel()
	u.Scheme, u.Path = "wss", PathControl
	d := websocket.Dialer{
		Subprotocols: []string{Subprotocol},
		NetDialTLSContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			return handshake(ctx, network, address, c.ClientTLS(), open)
		},
	}
	ws, answer, err := d.DialContext(ctx, u.String(), nil)
	if err != nil {
		if answer != nil {
			err = refusal(answer)
		}
		return nil, fmt.Errorf("connect upstream %s: %w", upstream, explain(err))
	}
	t, ok := ws.NetConn().(*tls.Conn)
	if !ok {
		return nil, errors.Join(fmt.Errorf("connect upstream %s: not over TLS", upstream), ws.Close())
	}
	if ws.Subprotocol() != Subprotocol {
		return nil, errors.Join(fmt.Errorf("connect upstream %s: it does not speak %s", upstream, Subprotocol), ws.Close())
	}
	peer, cert, err := identity.Peer(t.ConnectionState(), c.Time(), c.Roots)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("connect upstream %s: %w", upstream, err), ws.Close())
	}
	return newConn(ws, t, peer, cert, false), nil
}

// handshake opens TLS. Its error is one of ours.
func handshake(ctx context.Context, network, address string, config *tls.Config, open dialer) (net.Conn, error) {
	raw, err := open(ctx, network, address)
	if err != nil {
		return nil, explain(err)
	}
	if config.ServerName, _, err = net.SplitHostPort(address); err != nil {
		return nil, errors.Join(err, raw.Close())
	}
	t := tls.Client(raw, config)
	if err := t.HandshakeContext(ctx); err != nil {
		_ = raw.Close() // it failed already
		return nil, explain(err)
	}
	return t, nil
}

// refusal reads an HTTP answer that is not what was asked for.
func refusal(answer *http.Response) *Refused {
	var p problem
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	if err == nil {
		err = json.Unmarshal(body, &p)
	}
	if err != nil || p.Code == "" {
		p = problem{Code: "http", Error: "unexpected answer: " + http.StatusText(answer.StatusCode)}
	}
	r := &Refused{Code: clip(p.Code, maxWord), Reason: clip(p.Error, maxText)}
	if s, err := strconv.Atoi(answer.Header.Get("Retry-After")); err == nil && s > 0 {
		r.After = time.Duration(min(s, 3600)) * time.Second
	}
	return r
}

func clip(s string, most int) string { return strings.ToValidUTF8(s[:min(len(s), most)], "") }
