package web

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
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

	"go.uber.org/goleak"

	"dongthanh/internal/testkit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// limit is how long a test waits for something that comes at once.
const limit = 10 * time.Second

// served is a running server.
type served struct {
	*Server
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
	s.Server = New(ctx, cfg, handler, slog.New(slog.NewTextHandler(&s.log, nil)))
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
	if s.cfg.TLS.Cert != "" {
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
func certificate(t *testing.T) (TLSConfig, *x509.CertPool) {
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
	c := TLSConfig{Cert: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem")}
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
