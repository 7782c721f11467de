package control

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"dongthanh/internal/identity"
)

// forge makes a node's credentials whose certificate change has had its way with, truly signed by the issuer.
func (n network) forge(t testing.TB, node identity.Node, change func(*x509.Certificate)) *identity.Credentials {
	t.Helper()
	k := must(identity.NewKeys())(t)
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(year),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true, URIs: node.URIs(k.Sealing.PublicKey()),
	}
	change(c)
	der := must(x509.CreateCertificate(rand.Reader, c, n.issuer.Certificate, k.Signing.Public(), n.issuer.Key))(t)
	leaf := must(x509.ParseCertificate(der))(t)
	return &identity.Credentials{
		Node: node, Key: k.Signing, HPKE: k.Sealing, Chain: []*x509.Certificate{leaf, n.issuer.Certificate, n.root.Certificate},
		Roots: must(identity.NewRoots(n.root.Certificate.Raw))(t),
	}
}

// TestServerRefuses has every refusal of a client's TLS: nothing reaches Accept, the peer learns no more than an alert,
// the log has the precise reason, the metric its word, and who is honest is served meanwhile.
func TestServerRefuses(t *testing.T) {
	n, other := newNetwork(t), newNetwork(t)
	relay := n.node(t, identity.Relay, "relay-1")
	p := listen(t, relay, func(o *ServerOptions) { o.Revoked = func(id string) bool { return id == "stolen" } })
	honest := must(Dial(t.Context(), p.url, n.node(t, identity.Client, "honest")))(t)
	start(t, honest)
	next(t, "the honest one", p.conns)
	if err := honest.Send(Message{Join: &Join{}}); err != nil {
		t.Fatal(err)
	}
	next(t, "its join", p.got)

	client := identity.Node{ID: "client-1", Kind: identity.Client, Zone: "31"}
	now := time.Now()
	good := n.node(t, identity.Client, "client-1")
	mixed := *good // our certificate, another's key
	mixed.Key = other.node(t, identity.Client, "client-1").Key
	pretender := other.node(t, identity.Client, "client-1") // another network's, with our issuer and root behind it
	pretender.Chain = append(pretender.Chain[:1:1], n.issuer.Certificate, n.root.Certificate)

	for _, c := range []struct {
		name        string
		credentials *identity.Credentials
		change      func(*tls.Config)
		log         string // what the log says
		reason      string // the metric's label
	}{
		{"TLS 1.2", good, func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS12, tls.VersionTLS12 }, "unsupported versions", "tls_version"},
		{"TLS 1.0", good, func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS10 }, "unsupported versions", "tls_version"},
		{"another protocol", good, func(c *tls.Config) { c.NextProtos = []string{"h2"} }, "unsupported application protocols", "handshake"},
		{"another network", other.node(t, identity.Client, "client-1"), nil, "does not chain to a pinned root", "unknown_root"},
		{"another network behind our issuer", pretender, nil, "does not chain to a pinned root", "unknown_root"},
		{"certificate without its key", &mixed, nil, "invalid signature", "handshake"},
		{"expired", n.nodeAt(t, identity.Client, "client-1", now.Add(-2*year), year), nil, `"client-1": expired on`, "expired"},
		{"not yet valid", n.nodeAt(t, identity.Client, "client-1", now.Add(48*time.Hour), year), nil, `"client-1": not yet valid before`, "not_yet_valid"},
		{"for servers only", n.forge(t, client, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }), nil, "not made for this use", "usage"},
		{"no names", n.forge(t, client, func(c *x509.Certificate) { c.URIs = nil }), nil, "0 names urn:dongthanh:node", "names"},
		{"two ids", n.forge(t, client, func(c *x509.Certificate) {
			c.URIs = append(c.URIs, &url.URL{Scheme: "urn", Opaque: "dongthanh:node:b"})
		}), nil, "2 names urn:dongthanh:node", "names"},
		{"another province", n.forge(t, identity.Node{ID: "client-1", Kind: identity.Client, Zone: "32"}, func(*x509.Certificate) {}), nil, "outside the issuer's scope", "scope"},
		{"the issuer itself", &identity.Credentials{Node: client, Key: n.issuer.Key, Chain: []*x509.Certificate{n.issuer.Certificate, n.root.Certificate}, Roots: relay.Roots}, nil, "through one issuer", "unknown_root"},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := p.count("control_refused_total", c.reason)
			config := c.credentials.ClientTLS()
			config.VerifyConnection = nil // it is we who are judged
			if c.change != nil {
				c.change(config)
			}
			conn, err := rawTLS(t, p, config)
			if err == nil { // TLS 1.3: the client hears of it with its first read
				_, err = conn.Read(make([]byte, 1))
			}
			var alert *net.OpError
			if !errors.As(err, &alert) || alert.Op != "remote error" {
				t.Errorf("the peer gets %v, want an alert", err)
			}
			for _, secret := range []string{"expired on", "pinned", "urn:", "client-1"} {
				if err != nil && strings.Contains(err.Error(), secret) {
					t.Errorf("the peer learns %q", err)
				}
			}
			eventually(t, "the count", func() bool { return p.count("control_refused_total", c.reason) == before+1 })
			eventually(t, "the log", func() bool { return strings.Contains(strings.ReplaceAll(p.log.String(), `\`, ""), c.log) })
		})
	}

	// With our own dialler the same is told apart.
	t.Run("dial rejected", func(t *testing.T) {
		late := n.nodeAt(t, identity.Client, "client-1", now.Add(-2*year), year)
		late.Now = func() time.Time { return time.Time{} } // it cannot know
		if _, err := Dial(t.Context(), p.url, late); !errors.Is(err, ErrRejected) {
			t.Errorf("Dial() = %v, want ErrRejected", err)
		}
	})
	t.Run("dial expired", func(t *testing.T) {
		_, err := Dial(t.Context(), p.url, n.nodeAt(t, identity.Client, "client-1", now.Add(-2*year), year))
		if !errors.Is(err, identity.ErrExpired) || !contains(err.Error(), `own certificate of client "client-1"`, p.url) {
			t.Errorf("Dial() = %v, want ErrExpired of our own certificate", err)
		}
	})
	t.Run("dial revoked", func(t *testing.T) {
		_, err := Dial(t.Context(), p.url, n.node(t, identity.Client, "stolen"))
		var r *Refused
		if !errors.As(err, &r) || r.Code != CodeRevoked || r.Reason == "" {
			t.Errorf("Dial() = %v, want a refusal, revoked", err)
		}
		if p.count("control_refused_total", CodeRevoked) != 1 {
			t.Error("the refusal is not counted")
		}
	})
	if len(p.conns) != 0 {
		t.Errorf("%d refused connections reached Accept", len(p.conns))
	}
	if err := honest.Send(Message{Resync: &Resync{}}); err != nil {
		t.Fatal(err)
	}
	next(t, "the honest one's message", p.got)
	honest.Close(nil)
	eventually(t, "places given back", func() bool { p.mu.Lock(); defer p.mu.Unlock(); return p.admission.pending == 0 && len(p.raw) == 0 })
}

// TestDialRefuses has every server that Dial will not talk to, each with its error.
func TestDialRefuses(t *testing.T) {
	n, other := newNetwork(t), newNetwork(t)
	client := n.node(t, identity.Client, "client-1")
	now := time.Now()
	relay := identity.Node{ID: "relay-1", Kind: identity.Relay, Zone: "31"}
	pretender := other.node(t, identity.Relay, "relay-1")
	pretender.Chain = append(pretender.Chain[:1:1], n.issuer.Certificate, n.root.Certificate)
	serve := func(c *identity.Credentials) string { return listen(t, c, nil).url }
	expired := n.nodeAt(t, identity.Relay, "relay-1", now.Add(-2*year), year)

	// A TLS server with our certificate and something else behind it.
	withHandler := func(c *identity.Credentials, h http.HandlerFunc, change func(*tls.Config)) string {
		s := httptest.NewUnstartedServer(h)
		s.TLS = c.ServerTLS()
		if change != nil {
			change(s.TLS)
		}
		s.Config.ErrorLog = log.New(io.Discard, "", 0)
		s.StartTLS()
		t.Cleanup(s.Close)
		return strings.Replace(s.URL, "https", "wss", 1)
	}
	good := n.node(t, identity.Relay, "relay-1")
	status := func(code int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "7")
			w.WriteHeader(code)
			_, _ = io.WriteString(w, body)
		}
	}
	plain := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(plain.Close)
	mute := must(net.Listen("tcp", "127.0.0.1:0"))(t) // accepts and says nothing
	t.Cleanup(func() { _ = mute.Close() })

	for _, c := range []struct {
		name, url string
		want      error
		refused   string
		text      []string
	}{
		{"another network", serve(other.node(t, identity.Relay, "relay-1")), identity.ErrUnknownRoot, "", []string{"does not chain to a pinned root"}},
		{"another network behind our root", serve(pretender), identity.ErrUnknownRoot, "", nil},
		{"expired", serve(expired), identity.ErrExpired, "", []string{`certificate of "relay-1"`}},
		{"not yet valid", serve(n.nodeAt(t, identity.Relay, "relay-1", now.Add(48*time.Hour), year)), identity.ErrNotYetValid, "", nil},
		{"a loudspeaker", withHandler(n.node(t, identity.Client, "client-2"), status(200, ""), nil), identity.ErrUsage, "", nil},
		{"for clients only", withHandler(n.forge(t, relay, func(c *x509.Certificate) { c.ExtKeyUsage = c.ExtKeyUsage[:1] }), status(200, ""), nil), identity.ErrUsage, "", nil},
		{"no names", withHandler(n.forge(t, relay, func(c *x509.Certificate) { c.URIs = nil }), status(200, ""), nil), identity.ErrNames, "", nil},
		{"TLS 1.2", withHandler(good, status(200, ""), func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS12, tls.VersionTLS12 }), ErrHandshake, "", nil},
		{"no TLS", "wss" + strings.TrimPrefix(plain.URL, "http"), ErrHandshake, "", []string{"does not speak TLS"}},
		{"nobody", "wss://127.0.0.1:1", ErrUnreachable, "", []string{"connection refused"}},
		{"no such host", "wss://host.invalid:1", ErrUnreachable, "", nil},
		{"refused with a reason", withHandler(good, status(403, `{"code":"zone","error":"not from here"}`), nil), nil, "zone", []string{"not from here"}},
		{"busy", withHandler(good, status(503, `{"code":"busy","error":"later"}`), nil), nil, "busy", nil},
		{"another service", withHandler(good, status(404, `<html>`), nil), nil, "http", []string{"Not Found"}},
		{"redirected", withHandler(good, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://127.0.0.1:1/", http.StatusFound)
		}, nil), nil, "http", nil},
		{"ordinary page", withHandler(good, status(200, "hello"), nil), nil, "http", nil},
		{"no scheme", "127.0.0.1:1", nil, "", []string{"want wss://host:port"}},
		{"without TLS", "ws://127.0.0.1:1", nil, "", []string{"want wss://host:port"}},
		{"no port", "wss://127.0.0.1", nil, "", []string{"want wss://host:port"}},
		{"port 0", "wss://127.0.0.1:0", nil, "", []string{"want wss://host:port"}},
		{"with a path", "wss://127.0.0.1:1/x", nil, "", []string{"want wss://host:port"}},
		{"with a password", "wss://a:b@127.0.0.1:1", nil, "", []string{"want wss://host:port"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			conn, err := Dial(t.Context(), c.url, client)
			if err == nil {
				conn.Close(nil)
				t.Fatal("Dial() = nil, want an error")
			}
			if c.want != nil && !errors.Is(err, c.want) {
				t.Errorf("Dial() = %v, want %v", err, c.want)
			}
			var r *Refused
			if (c.refused != "") != errors.As(err, &r) || (r != nil && (r.Code != c.refused || r.After != 7*time.Second && c.name != "redirected")) {
				t.Errorf("Dial() = %v (%+v), want a refusal %q", err, r, c.refused)
			}
			if !contains(err.Error(), c.text...) || !contains(err.Error(), "connect upstream") {
				t.Errorf("Dial() = %v, want %q in it", err, c.text)
			}
		})
	}
	t.Run("mute", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if _, err := Dial(ctx, "wss://"+mute.Addr().String(), client); !errors.Is(err, ErrUnreachable) {
			t.Errorf("Dial() = %v, want ErrUnreachable", err)
		}
	})
	t.Run("clock not set", func(t *testing.T) { // it connects, to be told the time
		lost := n.nodeAt(t, identity.Client, "client-1", now, year)
		lost.Now = func() time.Time { return time.Time{} }
		p := listen(t, n.node(t, identity.Relay, "relay-2"), nil)
		c := must(Dial(t.Context(), p.url, lost))(t)
		c.Close(nil)
		next(t, "the connection", p.conns)
	})
}

// TestHTTP: who asks in the wrong way gets a word and a status, in JSON.
func TestHTTP(t *testing.T) {
	n := newNetwork(t)
	p := listen(t, n.node(t, identity.Relay, "relay-1"), nil)
	client := n.node(t, identity.Client, "client-1")
	nobody := client.ClientTLS()
	nobody.GetClientCertificate = nil
	upgrade := "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
	protocol := "Sec-WebSocket-Protocol: " + Subprotocol + "\r\n"
	for _, c := range []struct {
		name, request string
		config        *tls.Config
		status        int
		code          string
	}{
		{"no certificate", "GET /control/v1 HTTP/1.1\r\nHost: x\r\n" + upgrade + protocol, nobody, 403, CodeCertificate},
		{"a browser", "GET /control/v1 HTTP/1.1\r\nHost: x\r\nOrigin: https://x\r\n" + upgrade + protocol, client.ClientTLS(), 403, CodeBrowser},
		{"a browser with an empty origin", "GET /control/v1 HTTP/1.1\r\nHost: x\r\nOrigin: \r\n" + upgrade + protocol, client.ClientTLS(), 403, CodeBrowser},
		{"no subprotocol", "GET /control/v1 HTTP/1.1\r\nHost: x\r\n" + upgrade, client.ClientTLS(), 400, CodeVersion},
		{"another subprotocol", "GET /control/v1 HTTP/1.1\r\nHost: x\r\n" + upgrade + "Sec-WebSocket-Protocol: dongthanh.control.v2\r\n", client.ClientTLS(), 400, CodeVersion},
		{"no upgrade", "GET /control/v1 HTTP/1.1\r\nHost: x\r\n" + protocol, client.ClientTLS(), 400, CodeMalformed},
		{"old WebSocket", "GET /control/v1 HTTP/1.1\r\nHost: x\r\n" + strings.Replace(upgrade, "13", "8", 1) + protocol, client.ClientTLS(), 400, CodeMalformed},
		{"bad key", "GET /control/v1 HTTP/1.1\r\nHost: x\r\n" + strings.Replace(upgrade, "dGhl", "", 1) + protocol, client.ClientTLS(), 400, CodeMalformed},
		{"another path", "GET / HTTP/1.1\r\nHost: x\r\n", client.ClientTLS(), 404, CodeUnknown},
		{"POST to control", "POST /control/v1 HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n", client.ClientTLS(), 404, CodeUnknown},
		{"GET enrolment", "GET /enrol/v1 HTTP/1.1\r\nHost: x\r\n", nobody, 404, CodeUnknown},
		{"enrolment where nobody enrols", "POST /enrol/v1 HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n", nobody, 403, CodeUnknown},
		{"no HTTP", "hello\r\n", nobody, 400, ""},
		{"two lengths", "POST /enrol/v1 HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n", nobody, 400, ""},
		{"length and chunks", "POST /enrol/v1 HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: gzip\r\n", nobody, 501, ""},
		{"large header", "GET /control/v1 HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("x", 2*maxHeader) + "\r\n", nobody, 431, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			conn, err := rawTLS(t, p, c.config)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.WriteString(conn, c.request+"\r\n"); err != nil {
				t.Fatal(err)
			}
			answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer answer.Body.Close()
			r := refusal(answer)
			if c.code == "" {
				c.code = "http"
			}
			if answer.StatusCode != c.status || r.Code != c.code || r.Reason == "" {
				t.Errorf("answer %d %+v, want %d %q", answer.StatusCode, r, c.status, c.code)
			}
		})
	}
	if len(p.conns) != 0 {
		t.Errorf("%d connections reached Accept", len(p.conns))
	}
}
