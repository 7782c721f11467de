package webcert

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/crypto/acme"
)

const (
	// lookEvery is how soon a new address, a new file or old age is seen. Looking costs two small files at most.
	lookEvery = 10 * time.Second
	// warnBefore is how long before its end a given certificate is complained about: two weeks hold a holiday.
	warnBefore = 14 * 24 * time.Hour
	// warnAuthority is the same for the own authority: every computer has to be visited.
	warnAuthority = 180 * 24 * time.Hour
	warnEvery     = 24 * time.Hour
	faultEvery    = 5 * time.Minute // of the same line about a certificate that cannot be renewed
)

// Options are what a Keeper needs; all but HTTP are required.
type Options struct {
	Config  Config
	Dir     string // keeps the authority, its server certificate and what ACME gave; made if missing, closed to others
	Now     func() time.Time
	Log     *slog.Logger
	Metrics prometheus.Registerer
	HTTP    *http.Client // reaches the ACME server; nil: one that trusts what the system trusts
}

// Keeper holds the certificates in force and renews them while Run runs. Its methods may be called at once.
type Keeper struct {
	o         Options
	authority *Authority  // nil if files are given
	acme      *acmeKeeper // nil without acme_domain
	own       atomic.Pointer[tls.Certificate]
	given     atomic.Pointer[tls.Certificate]
	notAfter  *prometheus.GaugeVec

	// What follows belongs to Open and then to Run's goroutine.
	files   [2]string // content of the given files that was read last
	outside []string  // names that the authority may not vouch for, and of which the log knows
	failed  time.Time // when a failure was logged last
	warned  time.Time // when the end of a given certificate was
}

// Open reads or makes the certificates. Given files that cannot be used are an error, since whoever gave them expects to
// see them.
func Open(o Options) (*Keeper, error) {
	k := &Keeper{o: o, notAfter: prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "dongthanh_streamer_certificate_not_after_timestamp_seconds",
		Help: "End of each certificate for https, in Unix time: of own (authority), given (files) and acme.",
	}, []string{"source"})}
	if o.Config.Cert != "" {
		if err := k.readFiles(); err != nil {
			return nil, fmt.Errorf("http.tls: %w", err)
		}
	} else {
		var err error
		if k.authority, err = OpenAuthority(o.Dir, Here(o.Config.Names), o.Now()); err != nil {
			return nil, err
		}
		if err := k.ensureOwn(); err != nil {
			return nil, fmt.Errorf("make a certificate for https: %w", err)
		}
	}
	if o.Config.ACME != "" {
		k.acme = newACME(o, k.notAfter)
	}
	if err := o.Metrics.Register(k.notAfter); err != nil {
		return nil, fmt.Errorf("register metrics of certificates: %w", err)
	}
	return k, nil
}

// Authority is the streamer's own; nil if certificate files are given, since then it vouches for nothing.
func (k *Keeper) Authority() *Authority { return k.authority }

// TLSConfig is what a listener for browsers uses: TLS 1.2 and 1.3, HTTP/2, and the certificate of the moment.
func (k *Keeper) TLSConfig() *tls.Config {
	c := &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}, GetCertificate: k.certificate}
	if k.acme != nil {
		c.NextProtos = append(c.NextProtos, acme.ALPNProto)
	}
	return c
}

// Own reports whether a connection to the server name (empty: an address) is shown a certificate of the own authority,
// which browsers do not trust unless it was installed there.
func (k *Keeper) Own(server string) bool {
	_, own := k.pick(server)
	return own
}

// Public is the name for which ACME gave a certificate; empty: there is none, or files are given.
func (k *Keeper) Public() string {
	if k.acme == nil || k.Own(k.acme.domain) {
		return ""
	}
	return k.acme.domain
}

// Challenges answers an ACME server's questions on plain http, and leaves all other requests to next.
func (k *Keeper) Challenges(next http.Handler) http.Handler {
	if k.acme == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/.well-known/acme-challenge/") { // RFC 8555 §8.3
			k.acme.attempt.Load().challenge.ServeHTTP(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (k *Keeper) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if slices.Contains(hello.SupportedProtos, acme.ALPNProto) {
		if k.acme == nil || !strings.EqualFold(hello.ServerName, k.acme.domain) {
			return nil, fmt.Errorf("no ACME challenge for %q", hello.ServerName)
		}
		return k.acme.attempt.Load().GetCertificate(hello)
	}
	cert, _ := k.pick(hello.ServerName)
	return cert, nil
}

// pick is the certificate for a server name.
func (k *Keeper) pick(server string) (cert *tls.Certificate, own bool) {
	if cert := k.given.Load(); cert != nil {
		return cert, false
	}
	if k.acme != nil && strings.EqualFold(server, k.acme.domain) {
		if cert := k.acme.cert.Load(); cert != nil && k.o.Now().Before(cert.Leaf.NotAfter) {
			return cert, false
		}
	}
	return k.own.Load(), true
}

// Note is a line for whoever looks after the streamer; empty: all is well.
func (k *Keeper) Note() string {
	if cert := k.given.Load(); cert != nil {
		if left := cert.Leaf.NotAfter.Sub(k.o.Now()); left <= 0 {
			return fmt.Sprintf("%s has ended on %s: browsers refuse it", k.o.Config.Cert, cert.Leaf.NotAfter.UTC().Format(time.RFC3339))
		} else if left < warnBefore {
			return fmt.Sprintf("%s ends on %s", k.o.Config.Cert, cert.Leaf.NotAfter.UTC().Format(time.RFC3339))
		}
	}
	if k.authority != nil && k.authority.Certificate.NotAfter.Sub(k.o.Now()) < warnAuthority {
		return fmt.Sprintf("the certificate authority for browsers ends on %s: remove %s and restart to make one anew, which every computer must install",
			k.authority.Certificate.NotAfter.Format(time.DateOnly), caPath(k.o.Dir))
	}
	if k.acme != nil {
		return k.acme.note(k.o.Now())
	}
	return ""
}

// Run looks after the certificates until ctx ends. It returns nil: a fault keeps the last certificate in force, and is
// logged.
func (k *Keeper) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	if k.acme != nil {
		wg.Go(func() { k.acme.run(ctx) })
	}
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		k.warn()
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		k.look()
	}
}

// look does what is due.
func (k *Keeper) look() {
	var err error
	if k.authority == nil {
		err = k.readFiles()
	} else {
		err = k.ensureOwn()
	}
	if now := k.o.Now(); err != nil && now.Sub(k.failed) >= faultEvery {
		k.failed = now
		k.o.Log.Error("the certificate for https could not be renewed; the last one stays in force", "error", err)
	}
}

// warn says daily that a given certificate ends soon.
func (k *Keeper) warn() {
	now := k.o.Now()
	if cert := k.given.Load(); cert != nil && k.Note() != "" && now.Sub(k.warned) >= warnEvery {
		k.warned = now
		k.o.Log.Warn("the certificate for https ends soon: renew it", "file", k.o.Config.Cert, "ends", cert.Leaf.NotAfter)
	}
}

// ensureOwn puts a server certificate of the own authority in force that has every name of this machine and is not old.
func (k *Keeper) ensureOwn() error {
	now, here := k.o.Now(), Here(k.o.Config.Names)
	names := slices.DeleteFunc(here.all(), func(n string) bool { return !k.authority.permits(n) })
	k.tellOutside(here)
	until := k.authority.Certificate.NotAfter
	if cert := k.own.Load(); cert != nil && fits(cert.Leaf, names, now, until) {
		return nil
	}
	chain, key, err := readPair(leafPath(k.o.Dir))
	if err != nil || chain[0].CheckSignatureFrom(k.authority.Certificate) != nil || !fits(chain[0], names, now, until) {
		if err := k.authority.issue(k.o.Dir, names, now); err != nil {
			return err
		}
		if chain, key, err = readPair(leafPath(k.o.Dir)); err != nil {
			return err
		}
		k.o.Log.Info("new certificate for https", "names", names, "ends", chain[0].NotAfter)
	}
	k.own.Store(&tls.Certificate{Certificate: [][]byte{chain[0].Raw, k.authority.Certificate.Raw}, PrivateKey: key, Leaf: chain[0]})
	k.notAfter.WithLabelValues("own").Set(float64(chain[0].NotAfter.Unix()))
	return nil
}

// tellOutside logs, once, names that have come up since the authority was made and lie outside of what it may vouch for.
func (k *Keeper) tellOutside(here Names) {
	var outside []string
	for _, n := range here.all() {
		if !k.authority.permits(n) {
			outside = append(outside, n)
		}
	}
	if len(outside) > 0 && !slices.Equal(outside, k.outside) {
		k.o.Log.Warn("browsers will not trust this machine by these names: its certificate authority was made without them; "+
			"remove its folder and restart to make one anew, which every computer must then install", "names", outside, "folder", caPath(k.o.Dir))
	}
	k.outside = outside
}

// fits reports whether a server certificate has all names, and less than two thirds of its life are over, unless it
// lives until the end of its authority: a new one would live no longer.
func fits(c *x509.Certificate, names []string, now, until time.Time) bool {
	now = later(now, firstRelease)
	old := now.Sub(c.NotBefore) > c.NotAfter.Sub(c.NotBefore)*2/3 && c.NotAfter.Before(until)
	if now.Before(c.NotBefore) || old {
		return false
	}
	return !slices.ContainsFunc(names, func(n string) bool { return c.VerifyHostname(n) != nil })
}
