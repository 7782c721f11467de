package web

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"dongthanh/internal/testkit"
	"dongthanh/streamer/internal/webcert"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// limit is how long a test waits for something that comes at once.
const limit = 10 * time.Second

// served is a running server.
type served struct {
	*Server
	certs  *webcert.Keeper
	t      *testing.T
	client *http.Client
	cancel context.CancelFunc
	ended  chan error // what Run returned
	log    testkit.Journal
}

// serve runs a server for handler until the test ends. change may shorten its limits.
func serve(t *testing.T, cfg Config, handler http.HandlerFunc, change ...func(*Server)) *served {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	s := &served{t: t, client: &http.Client{Transport: &http.Transport{}}, cancel: cancel, ended: make(chan error, 1)}
	s.Server, s.certs = build(t, ctx, cfg, handler, slog.New(slog.NewTextHandler(&s.log, nil)))
	for _, c := range change {
		c(s.Server)
	}
	if err := s.Listen(); err != nil {
		cancel()
		t.Fatal(err)
	}
	go func() { s.ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		s.client.CloseIdleConnections()
		if err := s.end(); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return s
}

// build makes a server with real certificates that does not run yet. What comes by plain http from elsewhere gets 403.
func build(t *testing.T, ctx context.Context, cfg Config, handler http.HandlerFunc, log *slog.Logger) (*Server, *webcert.Keeper) {
	t.Helper()
	reg := prometheus.NewRegistry()
	certs, err := webcert.Open(webcert.Options{Config: cfg.TLS, Dir: t.TempDir(), Now: time.Now, Log: log, Metrics: reg})
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(ctx, Options{Config: cfg, Certificates: certs, Handler: handler, Plain: http.HandlerFunc(refuse), Log: log, Metrics: reg})
	if err != nil {
		t.Fatal(err)
	}
	return s, certs
}

// refuse stands for what answers plain http, and tells what a request brought with it.
func refuse(w http.ResponseWriter, r *http.Request) {
	w.WriteHeader(http.StatusForbidden)
	fmt.Fprintf(w, "plain %s cookies=%d authorization=%q", r.Host, len(r.Cookies()), r.Header.Get("Authorization"))
}

// trusting is a client that knows the server's own authority, and no connection of another test.
func (s *served) trusting(version uint16) *http.Client {
	pool := x509.NewCertPool()
	pool.AddCert(s.certs.Authority().Certificate)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MaxVersion: version}, ForceAttemptHTTP2: true}
	s.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// end ends Run and returns its answer, the first time.
func (s *served) end() error {
	s.t.Helper()
	s.cancel()
	select {
	case err := <-s.ended:
		s.ended <- nil
		return err
	case <-time.After(limit):
		s.t.Fatal("Run does not end")
		return nil
	}
}

// do sends a request with headers "Name: value" to the first address and returns the answer and its body.
func (s *served) do(method, path string, body io.Reader, headers ...string) (*http.Response, string) {
	s.t.Helper()
	scheme := "http"
	if s.o.Config.TLS.Cert != "" {
		scheme = "https"
	}
	r, err := http.NewRequestWithContext(s.t.Context(), method, scheme+"://"+s.Addr().String()+path, body)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Set(name, value)
	}
	answer, err := s.client.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return answer, string(text)
}

func hello(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "xin chào") }

// certificate makes a certificate of its own for 127.0.0.1 and returns its files and who trusts it.
func certificate(t *testing.T) (webcert.Config, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	c := webcert.Config{Cert: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem")}
	for path, block := range map[string]*pem.Block{c.Cert: {Type: "CERTIFICATE", Bytes: der}, c.Key: {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pool := x509.NewCertPool()
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool.AddCert(parsed)
	return c, pool
}

func haveIPv6() bool {
	l, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		return false
	}
	_ = l.Close()
	return true
}
