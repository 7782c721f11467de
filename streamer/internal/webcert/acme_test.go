package webcert

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"dongthanh/internal/testkit"
)

const domain = "loa.xa-tien-lang.example"

// acmeServer is pebble, the ACME server that Let's Encrypt tests clients with, and a DNS server where every name leads
// to this machine.
type acmeServer struct {
	directory  string
	management string
	client     *http.Client // trusts it
	log        *testkit.Journal
}

// pebble starts one that validates at the two ports, and takes every tenth or so request for a bad nonce, as it always
// does; it ends with the test or by the function returned.
func pebble(t *testing.T, tlsPort, httpPort int) (s acmeServer, end func()) {
	t.Helper()
	for _, program := range []string{"pebble", "pebble-challtestsrv"} {
		if _, err := exec.LookPath(program); err != nil {
			if os.Getenv("CI") != "" {
				t.Fatalf("%s is not installed, and CI is set", program)
			}
			t.Skipf("%s is not installed: no real ACME server was tried", program)
		}
	}
	dir := t.TempDir()
	files := signed(t, dir, time.Now().Add(time.Hour))
	listen, manage, dns, challenges := freePort(t), freePort(t), freePort(t), freePort(t)
	config := map[string]any{"pebble": map[string]any{
		"listenAddress": address(listen), "managementListenAddress": address(manage),
		"certificate": files.Cert, "privateKey": files.Key, "httpPort": httpPort, "tlsPort": tlsPort,
		"ocspResponderURL": "", "externalAccountBindingRequired": false,
	}}
	b, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "pebble.json")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	certificate, err := os.ReadFile(files.Cert)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(certificate)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}
	t.Cleanup(transport.CloseIdleConnections)
	s = acmeServer{
		directory: "https://" + address(listen) + "/dir", management: "https://" + address(manage),
		client: &http.Client{Transport: transport}, log: &testkit.Journal{},
	}
	endDNS := program(t, s.log, "pebble-challtestsrv", "-defaultIPv4", "127.0.0.1", "-defaultIPv6", "", "-dns01", address(dns),
		"-http01", "", "-https01", "", "-tlsalpn01", "", "-management", address(challenges))
	endACME := program(t, s.log, "pebble", "-config", path, "-dnsserver", address(dns))
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("pebble:\n%s", s.log)
		}
	})
	await(t, "pebble", func() bool {
		answer, err := s.client.Get(s.directory)
		if err != nil {
			return false
		}
		return answer.Body.Close() == nil
	})
	return s, func() { endACME(); endDNS() }
}

// root is the certificate that browsers would have to know.
func (s acmeServer) root(t *testing.T) *x509.CertPool {
	t.Helper()
	answer, err := s.client.Get(s.management + "/roots/0")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(b) {
		t.Fatalf("no root: %s", b)
	}
	return pool
}

func (s acmeServer) config() Config { return Config{ACME: domain, ACMEDirectory: s.directory} }

func (s acmeServer) reach(o *Options) { o.HTTP = s.client }

// program runs a program until the function it returns is called, or the test ends.
func program(t *testing.T, log io.Writer, name string, args ...string) (end func()) {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "PEBBLE_VA_NOSLEEP=1")
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	end = sync.OnceFunc(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	})
	t.Cleanup(end)
	return end
}

func address(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }

// freePort is a port that is free for TCP and UDP now.
func freePort(t *testing.T) int {
	t.Helper()
	for range 20 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		port := l.Addr().(*net.TCPAddr).Port
		u, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
		_ = l.Close()
		if err == nil {
			_ = u.Close()
			return port
		}
	}
	t.Fatal("no free port")
	return 0
}

// await polls what another process does until it is right.
func await(t *testing.T, what string, right func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(limit); !right(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", limit, what)
		}
	}
}

// serveTLS answers handshakes with the Keeper's certificates on a free port, and plain http with its challenges on
// another.
func (r *rig) serve(secure, plain net.Listener) {
	var wg sync.WaitGroup
	open := http.Server{Handler: r.Challenges(http.NotFoundHandler()), ReadHeaderTimeout: limit}
	l := tls.NewListener(secure, r.TLSConfig())
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				_ = conn.SetDeadline(time.Now().Add(limit))
				_ = conn.(*tls.Conn).Handshake()
				_ = conn.Close()
			})
		}
	})
	wg.Go(func() { _ = open.Serve(plain) })
	r.t.Cleanup(func() {
		_ = l.Close()
		_ = open.Close()
		wg.Wait()
	})
}

func listen(t *testing.T) (l net.Listener, port int) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l, l.Addr().(*net.TCPAddr).Port
}

// TestACME gets a certificate from a real server in each of the two ways, keeps it over a restart without the server,
// and shows the own authority's to whoever comes by another name.
func TestACME(t *testing.T) {
	for _, c := range []struct {
		name          string
		byTLS, byHTTP bool
	}{{"by the TLS port alone", true, false}, {"by plain http alone", false, true}} {
		t.Run(c.name, func(t *testing.T) {
			secure, tlsPort := listen(t)
			plain, httpPort := listen(t)
			if !c.byTLS {
				tlsPort = freePort(t) // a router that leads nowhere
			}
			if !c.byHTTP {
				httpPort = freePort(t)
			}
			server, endServer := pebble(t, tlsPort, httpPort)
			dir := t.TempDir()
			r := keep(t, dir, time.Now(), server.config(), server.reach)
			r.serve(secure, plain)
			if !r.Own(domain) || r.Public() != "" || !r.shown(domain).Equal(r.shown("")) {
				t.Error("the own authority's certificate is not shown before there is a better one")
			}
			end := r.running()
			await(t, "a certificate from the ACME server: "+r.log.String(), func() bool { return r.Public() == domain })
			leaf := r.shown(strings.ToUpper(domain))
			pool, between := server.root(t), x509.NewCertPool()
			cert, err := r.TLSConfig().GetCertificate(&tls.ClientHelloInfo{ServerName: domain})
			if err != nil {
				t.Fatal(err)
			}
			for _, der := range cert.Certificate[1:] {
				if x, err := x509.ParseCertificate(der); err == nil {
					between.AddCert(x)
				}
			}
			if _, err := leaf.Verify(x509.VerifyOptions{DNSName: domain, Roots: pool, Intermediates: between}); err != nil {
				t.Errorf("who knows the server's root does not trust the certificate: %v", err)
			}
			if r.Own(domain) || !r.Own("") || !r.Own("localhost") || r.trusts("localhost") != nil {
				t.Errorf("own authority: %v for the name, %v for an address", r.Own(domain), r.Own(""))
			}
			if r.gauge("acme") != float64(leaf.NotAfter.Unix()) || r.Note() != "" {
				t.Errorf("metric %v, note %q", r.gauge("acme"), r.Note())
			}
			end()
			endServer()
			again := keep(t, dir, time.Now(), server.config(), server.reach)
			again.running()
			await(t, "the certificate of before the restart", func() bool { return again.Public() == domain })
			if !again.shown(domain).Equal(leaf) {
				t.Error("another certificate after a restart without the ACME server")
			}
			again.set(leaf.NotAfter.Add(-time.Minute))
			if !strings.Contains(again.Note(), "has not renewed") {
				t.Errorf("note shortly before the end: %q", again.Note())
			}
			again.set(leaf.NotAfter.Add(time.Minute))
			if !again.Own(domain) {
				t.Error("a certificate that has ended is shown, though the own authority's is good")
			}
		})
	}
}

// TestACMEFails: while the server cannot be reached, or cannot reach us, the own authority's certificate is shown and
// the reason told; then it is tried again.
func TestACMEFails(t *testing.T) {
	secure, tlsPort := listen(t)
	plain, _ := listen(t)
	server, _ := pebble(t, tlsPort, freePort(t))
	reachable := make(chan struct{})
	r := keep(t, t.TempDir(), time.Now(), server.config(), func(o *Options) {
		o.HTTP = &http.Client{Transport: tripper(func(q *http.Request) (*http.Response, error) {
			select {
			case <-reachable:
				return server.client.Transport.RoundTrip(q)
			default:
				return nil, errors.New("no route to the Internet")
			}
		})}
	})
	r.serve(secure, plain)
	r.acme.retry = 50 * time.Millisecond
	r.running()
	await(t, "two attempts", func() bool { return strings.Count(r.log.String(), "no route to the Internet") >= 2 })
	if !strings.Contains(r.Note(), "no route to the Internet") || !r.Own(domain) || r.shown(domain) == nil {
		t.Errorf("note %q, own %v", r.Note(), r.Own(domain))
	}
	if log := r.log.String(); !strings.Contains(log, "level=ERROR") || !strings.Contains(log, "domain="+domain) || !strings.Contains(log, "again_in=100ms") {
		t.Errorf("the log does not tell what failed and when it is tried again: %s", log)
	}
	close(reachable)
	await(t, "a certificate", func() bool { return r.Public() == domain })
	if r.Note() != "" {
		t.Errorf("note afterwards: %q", r.Note())
	}
}

// TestACMEEnds: the end of the program does not wait for a server that does not answer.
func TestACMEEnds(t *testing.T) {
	asked := make(chan struct{})
	r := keep(t, t.TempDir(), time.Now(), Config{ACME: domain, ACMEDirectory: "https://127.0.0.1:1/dir"}, func(o *Options) {
		o.HTTP = &http.Client{Transport: tripper(func(q *http.Request) (*http.Response, error) {
			close(asked)
			<-q.Context().Done()
			return nil, q.Context().Err()
		})}
	})
	end := r.running()
	<-asked
	begun := time.Now()
	end()
	if took := time.Since(begun); took > 5*time.Second {
		t.Errorf("Run ended after %v", took)
	}
}

// TestACMEChallenges: nobody but who asks for the domain gets an answer meant for an ACME server.
func TestACMEChallenges(t *testing.T) {
	r := keep(t, t.TempDir(), time.Now(), Config{ACME: domain, ACMEDirectory: "https://127.0.0.1:1/dir"})
	for _, name := range []string{domain, "", "other.example", "../../etc/passwd"} {
		if cert, err := r.TLSConfig().GetCertificate(&tls.ClientHelloInfo{ServerName: name, SupportedProtos: []string{"acme-tls/1"}}); err == nil {
			t.Errorf("a challenge for %q is answered: %v", name, cert.Leaf)
		}
	}
	without := keep(t, t.TempDir(), time.Now(), Config{})
	if cert, err := without.TLSConfig().GetCertificate(&tls.ClientHelloInfo{ServerName: domain, SupportedProtos: []string{"acme-tls/1"}}); err == nil {
		t.Errorf("a challenge without ACME is answered: %v", cert.Leaf)
	}
}

type tripper func(*http.Request) (*http.Response, error)

func (f tripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
