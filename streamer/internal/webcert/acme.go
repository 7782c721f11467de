package webcert

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/crypto/acme"
	"golang.org/x/crypto/acme/autocert"
)

const (
	// firstRetry and lastRetry bound the waits between attempts, each twice the one before. Let's Encrypt allows five
	// failed validations of a name an hour; this makes no more.
	firstRetry = 2 * time.Minute
	lastRetry  = 3 * time.Hour
	// acmeLook is how often a certificate that was renewed is picked up.
	acmeLook = time.Minute
)

// acmeKeeper gets the certificate of one domain and keeps it fresh. Handshakes never wait for it: until there is a
// certificate, the own authority's is shown.
type acmeKeeper struct {
	o        Options
	domain   string
	notAfter *prometheus.GaugeVec
	attempt  atomic.Pointer[attempt]
	cert     atomic.Pointer[tls.Certificate]
	fault    atomic.Pointer[string] // of the last attempt; nil: none
	client   *bound
	retry    time.Duration // the first one
}

// attempt is a manager that has not failed yet: one that has refuses to try again for a while, whatever the reason.
type attempt struct {
	*autocert.Manager
	challenge http.Handler
}

func newACME(o Options, notAfter *prometheus.GaugeVec) *acmeKeeper {
	a := &acmeKeeper{o: o, domain: strings.ToLower(o.Config.ACME), notAfter: notAfter, client: &bound{next: http.DefaultTransport}, retry: firstRetry}
	if o.HTTP != nil && o.HTTP.Transport != nil {
		a.client.next = o.HTTP.Transport
	}
	a.begin()
	return a
}

// begin makes a new manager. Account and certificates are in the folder.
func (a *acmeKeeper) begin() {
	m := &autocert.Manager{
		Prompt:     autocert.AcceptTOS,
		Cache:      autocert.DirCache(filepath.Join(a.o.Dir, "acme")),
		HostPolicy: a.policy,
		Email:      a.o.Config.ACMEEmail,
		Client:     &acme.Client{DirectoryURL: a.o.Config.ACMEDirectory, HTTPClient: &http.Client{Transport: a.client, Timeout: time.Minute}},
	}
	a.attempt.Store(&attempt{m, m.HTTPHandler(http.NotFoundHandler())}) // which allows http-01 beside tls-alpn-01
}

// policy lets certificates be ordered for the one domain only; a challenge's Host may have a port.
func (a *acmeKeeper) policy(_ context.Context, host string) error {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	if !strings.EqualFold(host, a.domain) {
		return fmt.Errorf("%q is not http.tls.acme_domain", host)
	}
	return nil
}

// run gets the certificate, and again what autocert renews when a third of its life is left, until ctx ends.
func (a *acmeKeeper) run(ctx context.Context) {
	a.client.ctx.Store(&ctx)
	// As from a browser: without a cipher for ECDSA autocert would order RSA.
	hello := &tls.ClientHelloInfo{ServerName: a.domain, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}}
	for wait := a.retry; ; {
		cert, err := a.attempt.Load().GetCertificate(hello)
		pause := acmeLook
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			pause = wait
			wait = min(2*wait, lastRetry)
			fault := err.Error()
			a.fault.Store(&fault)
			a.begin()
			a.o.Log.Error("no certificate from the ACME server; the own authority's is shown meanwhile", "domain", a.domain, "error", err, "again_in", pause)
		default:
			wait = a.retry
			a.fault.Store(nil)
			if old := a.cert.Swap(cert); old == nil || !old.Leaf.Equal(cert.Leaf) {
				a.notAfter.WithLabelValues("acme").Set(float64(cert.Leaf.NotAfter.Unix()))
				a.o.Log.Info("certificate from the ACME server", "domain", a.domain, "ends", cert.Leaf.NotAfter)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}

// note tells what is wrong; autocert renews with a third of the life left, so that half of that is late.
func (a *acmeKeeper) note(now time.Time) string {
	if fault := a.fault.Load(); fault != nil {
		return "no certificate from the ACME server: " + *fault
	}
	if cert := a.cert.Load(); cert != nil && cert.Leaf.NotAfter.Sub(now) < cert.Leaf.NotAfter.Sub(cert.Leaf.NotBefore)/6 {
		return fmt.Sprintf("the ACME server has not renewed the certificate, which ends on %s", cert.Leaf.NotAfter.UTC().Format(time.RFC3339))
	}
	return ""
}

// bound ends every request with its context: autocert knows none of its caller's, and renews by timers of its own.
type bound struct {
	next http.RoundTripper
	ctx  atomic.Pointer[context.Context]
}

// RoundTrip implements http.RoundTripper.
func (b *bound) RoundTrip(r *http.Request) (*http.Response, error) {
	outer := b.ctx.Load()
	if outer == nil {
		return b.next.RoundTrip(r)
	}
	if err := (*outer).Err(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(r.Context())
	stop := context.AfterFunc(*outer, cancel)
	answer, err := b.next.RoundTrip(r.WithContext(ctx))
	if err != nil {
		stop()
		cancel()
		return nil, err
	}
	answer.Body = &boundBody{answer.Body, func() { stop(); cancel() }}
	return answer, nil
}

// boundBody lets go of a request's context once its answer is read.
type boundBody struct {
	io.ReadCloser
	done func()
}

// Close implements io.Closer.
func (b *boundBody) Close() error {
	defer b.done()
	return b.ReadCloser.Close()
}
