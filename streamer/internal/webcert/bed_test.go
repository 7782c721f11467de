package webcert

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"dongthanh/internal/testkit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// limit is how long a test waits for something that comes soon on a quiet machine.
const limit = 20 * time.Second

// rig is a Keeper whose time the test owns.
type rig struct {
	*Keeper
	t   *testing.T
	log *testkit.Journal
	reg *prometheus.Registry

	mu  sync.Mutex
	now time.Time
}

// keep opens a Keeper in dir at now.
func keep(t *testing.T, dir string, now time.Time, cfg Config, change ...func(*Options)) *rig {
	t.Helper()
	r := &rig{t: t, log: &testkit.Journal{}, reg: prometheus.NewRegistry(), now: now}
	o := Options{Config: cfg, Dir: dir, Now: r.time, Log: slog.New(slog.NewTextHandler(r.log, nil)), Metrics: r.reg}
	for _, c := range change {
		c(&o)
	}
	var err error
	if r.Keeper, err = Open(o); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *rig) time() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.now
}

func (r *rig) set(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.now = now
}

// shown is the certificate that a visitor of a server name gets.
func (r *rig) shown(server string) *x509.Certificate {
	r.t.Helper()
	cert, err := r.TLSConfig().GetCertificate(&tls.ClientHelloInfo{ServerName: server})
	if err != nil {
		r.t.Fatal(err)
	}
	return cert.Leaf
}

// trusts verifies as a browser does that has installed the authority.
func (r *rig) trusts(host string) error {
	pool := x509.NewCertPool()
	pool.AddCert(r.Authority().Certificate)
	_, err := r.shown("").Verify(x509.VerifyOptions{DNSName: host, Roots: pool, CurrentTime: r.time()})
	return err
}

// gauge reads a metric by its source; 0: there is none.
func (r *rig) gauge(source string) float64 {
	r.t.Helper()
	families, err := r.reg.Gather()
	if err != nil {
		r.t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.Metric {
			if f.GetName() == "dongthanh_streamer_certificate_not_after_timestamp_seconds" && m.Label[0].GetValue() == source {
				return m.Gauge.GetValue()
			}
		}
	}
	return 0
}

// running runs the Keeper until the function it returns is called, or the test ends.
func (r *rig) running() (end func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = r.Run(ctx) // nil, as it says
	}()
	end = sync.OnceFunc(func() {
		cancel()
		select {
		case <-done:
		case <-time.After(limit):
			r.t.Error("Run does not end")
		}
	})
	r.t.Cleanup(end)
	return end
}

// signed makes a certificate of its own that ends at the time, and returns its files.
func signed(t *testing.T, dir string, end time.Time, names ...string) Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: serial(), NotBefore: end.Add(-90 * 24 * time.Hour), NotAfter: end, DNSNames: names}
	template.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	c := Config{Cert: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem")}
	for path, block := range map[string]*pem.Block{c.Cert: {Type: "CERTIFICATE", Bytes: der}, c.Key: {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return c
}
